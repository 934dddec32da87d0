"""The servers of a batch by this command's own means: addresses, and one that is started here."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from ..places import Places
from ..progress import LaunchError, Stages
from ..server.client import Client
from ..server.comfy_place import Place, own_place
from ..server.edit_graph import require_nodes, require_version
from ..server.workflow import load_workflow
from ..setup.comfyui_source import ComfyUI


class ForeignWorker:
    """A ComfyUI at an address; it goes on running."""

    def __init__(self, url: str, places: Places):
        """Raises LaunchError if `url` is no address."""
        self.name = Client(url).url
        self.places = places

    def connect(self) -> Place:
        """See `Worker`."""
        place = Place(Client(self.name))
        place.client.check()
        check_pack(place.client, self.places)
        return place

    def close(self) -> None:
        """Nothing was started."""


class StartedWorker:
    """A ComfyUI that is started here, and again when it has died."""

    def __init__(
        self,
        name: str,
        start: Callable[[Stages], AbstractContextManager[Place]],
        say: Callable[[str], None] = print,
    ):
        """`start(stages)` gives a running one, and ends it; `say` shows a line."""
        self.name, self._start = name, start
        self._stages = QuietStages(say)
        self._life = ExitStack()
        self._place: Place | None = None

    def connect(self) -> Place:
        """See `Worker`."""
        if self._place is None or not self._is_alive(self._place):
            self._life.close()
            self._place = self._life.enter_context(self._start(self._stages))
        client = Client(self._place.client.url, self._place.client.uploads)
        return Place(client, self._place.server, self._place.folder)

    def close(self) -> None:
        """Ends the server, if it is not kept; a start that is under way is given up."""
        self._stages.stopped = True
        self._life.close()

    def _is_alive(self, place: Place) -> bool:
        return place.server.alive() if place.server else place.client.is_reached()


class OwnWorker(StartedWorker):
    """A ComfyUI that is started here, or one that was left running."""

    def __init__(
        self, comfyui: ComfyUI, places: Places, keep: bool, say: Callable[[str], None] = print
    ):
        """`keep` leaves it running; `say` shows a line."""
        super().__init__(
            "the ComfyUI of run.py",
            lambda stages: own_place(comfyui, places, stages, keep),
            say,
        )


class QuietStages(Stages):
    """Stages of which only lasting lines are shown; they measure times, and can be stopped."""

    def __init__(self, say: Callable[[str], None] = lambda text: None):
        """`say` gets the lasting lines."""
        super().__init__(io.StringIO())
        self.stopped = False
        self._say = say

    def say(self, text: str) -> None:
        """Hands a line on."""
        self._say(text)

    def start(self, name: str, text: str = "") -> None:
        """Begins a stage. Raises LaunchError if the work is to stop."""
        self._raise_if_stopped()
        super().start(name, text)

    def update(self, text: str, transient: bool = False) -> None:
        """Shows nothing. Raises LaunchError if the work is to stop."""
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self.stopped:
            raise LaunchError("stopped")


def check_pack(client: Client, places: Places) -> None:
    """Raises LaunchError unless the server has the pack, in this version."""
    if client.pack() is None:
        require_nodes(client, load_workflow(places.root))
    require_version(client)
