"""The sheet in the node: what is on it, sent to the browser that queued the run, as it is drawn.

    begin   the whole state: drafts without pictures, sources, notes, costs
    show    one draft's picture, and what the drafts cost so far
    finish  the whole state, with all pictures

The page finds the node by its id and by the workflow's own, because the workflow may no longer be
the one that is shown there (`web/drafts`). Other browsers get nothing: their nodes have the same
ids. Seeds are text here: JavaScript's numbers are exact up to 2⁵³ only.
"""

from collections.abc import Mapping

from ..drafts import Asked, Draft
from .node_progress import find_server

EVENT = "sama.drafts"


class DraftBoard:
    """The state of one node's sheet."""

    def __init__(
        self,
        node_id: str,
        workflow: str | None,
        asked: Asked,
        picked: Draft,
        remark: str = "",
    ):
        """`workflow` is the id that the frontend gives a workflow, None for other clients.

        `remark` says why `picked` is the pick, where nobody picked it.
        """
        self._place = {"node": str(node_id), "workflow": workflow}
        self.state: dict = {
            "drafts": [
                {
                    "seed": str(draft.seed),
                    "instruction": draft.instruction,
                    "frame": draft.frame,
                    "pick": draft.pick,
                    "image": None,
                }
                for draft in asked.drafts
            ],
            "sources": {},
            "picked": picked.pick,
            "remark": remark,
            "stage": "drawing",
            "notes": [],
            "costs": [],
        }

    def begin(self, sources: Mapping[int, dict], notes: list[str], costs: list[str]) -> None:
        """Show the empty sheet beside the source's frames."""
        shown = {str(frame): image for frame, image in sources.items()}
        self.state |= {"sources": shown, "notes": notes, "costs": costs}
        _send({**self._place, "state": self.state})

    def show(self, number: int, image: dict[str, str], costs: list[str]) -> None:
        """Show draft `number`, in the order of `Asked.drafts`."""
        self.state["drafts"][number]["image"] = image
        self.state["costs"] = costs
        _send({**self._place, "number": number, "image": image, "costs": costs})

    def finish(self) -> dict:
        """Show that all is drawn; returns the state."""
        self.state["stage"] = "done"
        _send({**self._place, "state": self.state})
        return self.state


def _send(data: dict) -> None:
    """To the client whose run this is, if it listens."""
    server = find_server()
    client = getattr(server, "client_id", None)
    if server is not None and client is not None:
        server.send_sync(EVENT, data, client)
