"""The sheet in the node: what is on it, sent to the browser that queued the run, as it is drawn.

    begin   drafts without pictures, sources, notes, costs
    show    one draft's picture, and what the drafts cost so far
    finish  all pictures

Each sends the whole state, because the page may have missed what came before: it was loaded anew,
or the connection was lost, and then it asks how the run goes on. So each has the run's id. The page
finds the node by its id and by the workflow's own, because the workflow may no longer be the one
that is shown there (`web/drafts`). Other browsers get nothing: their nodes have the same ids. Seeds
are text here: JavaScript's numbers are exact up to 2⁵³ only.
"""

from collections.abc import Mapping
from copy import deepcopy

from ..drafts import Asked, Draft
from .node_progress import find_server, running_place

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
        run = running_place()
        self._place = {
            "node": str(node_id),
            "workflow": workflow,
            "prompt": run and run["prompt_id"],
        }
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
        self._send()

    def show(self, number: int, image: dict[str, str], costs: list[str]) -> None:
        """Show draft `number`, in the order of `Asked.drafts`."""
        self.state["drafts"][number]["image"] = image
        self.state["costs"] = costs
        self._send()

    def finish(self) -> dict:
        """Show that all is drawn; returns the state."""
        self.state["stage"] = "done"
        self._send()
        return self.state

    def _send(self) -> None:
        """To the client whose run this is, if it listens."""
        server = find_server()
        client = getattr(server, "client_id", None)
        if server is not None and client is not None:
            server.send_sync(EVENT, {**self._place, "state": deepcopy(self.state)}, client)
