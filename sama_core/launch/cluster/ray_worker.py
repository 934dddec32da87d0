"""A ComfyUI that Ray placed, as a worker of the scheduler."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import needed
from ..batch.workers import check_pack
from ..places import Places
from ..progress import LaunchError
from ..server.client import Client, Output, Unreachable
from ..server.comfy_place import Place

PLACE_SECONDS = 60.0
"""An actor that does not answer for so long has no node."""
CALL_SECONDS = 600.0
"""For what takes as long as a clip."""


@dataclass(frozen=True)
class RayPlace(Place):
    """A ComfyUI on a node, whose files its actor handles."""

    worker: "RayWorker | None" = None
    """Who asks the actor."""

    def send(self, clip: Path) -> str:
        """The node takes the clip itself where it sees it under its path; else it is uploaded."""
        assert self.worker
        state = clip.stat()
        taken = self.worker.ask(
            "take_clip", str(clip), state.st_size, state.st_mtime, seconds=CALL_SECONDS
        )
        return taken or self.client.upload(clip)

    def remove_files(self, uploaded: str | None, outputs: list[Output]) -> None:
        """Asks the actor to; nothing is waited for."""
        assert self.worker
        self.worker.tell("remove_files", uploaded, [vars(output) for output in outputs])


class RayWorker:
    """One actor. Ray starts it again when it dies, maybe on another node."""

    def __init__(self, number: int, actor: Any, places: Places):
        """`actor` is a handle of `NodeActor`."""
        self.number, self.actor, self.places = number, actor, places
        self.node = ""
        self.check: Callable[[Client], None] = lambda client: None
        """Raises LaunchError for a server that must not be used."""
        self._checked = ""
        self._closed = False
        self._starting: Any = None

    @property
    def name(self) -> str:
        """For messages and the report."""
        return f"ComfyUI {self.number}" + (f" on {self.node}" if self.node else " of the cluster")

    def connect(self) -> Place:
        """See `Worker`."""
        self.node = self.ask("tell", seconds=PLACE_SECONDS)["ip"]
        answer = self._start()
        if "error" in answer:
            raise LaunchError(answer["error"])
        client = Client(answer["url"])
        client.check()
        if client.url != self._checked:
            check_pack(client, self.places)
            self.check(client)
            self._checked = client.url
        return RayPlace(client, worker=self)

    def close(self) -> None:
        """See `Worker`. What it began ends by itself, see `RayCluster.close`."""
        if not self._closed:
            self._closed = True
            self.tell("stop")

    def ask(self, method: str, *arguments: Any, seconds: float) -> Any:
        """The actor's answer. Raises Unreachable if it is dead, or placed nowhere yet."""
        return self._answer(getattr(self.actor, method).remote(*arguments), seconds)

    def tell(self, method: str, *arguments: Any) -> None:
        """Asks for something that is not waited for."""
        import ray

        if ray.is_initialized():
            getattr(self.actor, method).remote(*arguments)

    def _start(self) -> dict[str, Any]:
        """The actor's `connect`, however long the set-up of its node takes."""
        import ray

        coming = self.actor.connect.remote()
        while not self._closed:
            if ray.wait([coming], timeout=1.0)[0]:
                return self._answer(coming, PLACE_SECONDS)
        raise LaunchError("stopped")

    def _answer(self, coming: Any, seconds: float) -> Any:
        import ray

        try:
            return ray.get(coming, timeout=seconds)
        except ray.exceptions.GetTimeoutError as late:
            raise Unreachable(
                needed(
                    self.name,
                    f"no answer for {seconds:g} s",
                    "a node with a free slot",
                    "`ray status` on the head node shows what is taken.",
                )
            ) from late
        except ray.exceptions.RayTaskError as failed:
            raise LaunchError(f"{self.name}: {_last_line(failed)}") from failed
        except ray.exceptions.RayError as dead:
            raise Unreachable(f"{self.name}: its process or node died") from dead


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
