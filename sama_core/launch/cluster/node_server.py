"""On a node of a cluster: set-up where it is missing, one ComfyUI, and the clips the node sees."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ..batch.workers import StartedWorker
from ..places import Places
from ..progress import LaunchError, Stages
from ..server.client import Output
from ..server.comfy_place import Place, start_server
from ..setup.comfyui_source import find_comfyui, places_of
from ..setup.environment import Environment

LOOPBACK = "127.0.0.1"
CLOCKS = 2.0
"""Seconds by which the time of a file's change may differ: some disks keep no more."""


@dataclass(frozen=True)
class GivenPlaces(Places):
    """Places where the set-up is another's: nothing is installed."""

    interpreter: str = ""
    """Python with everything that ComfyUI needs."""
    folder: str = ""
    """For everything else."""

    @property
    def python(self) -> Path:
        """The interpreter."""
        return Path(self.interpreter)

    @property
    def runtime(self) -> Path:
        """The folder."""
        return Path(self.folder)


class NodeServer:
    """What a `NodeActor` does once the pack is found. Safe to be called from several threads."""

    def __init__(self, asked: dict[str, Any], ip: str):
        """`asked`: `pack`, `comfyui` (a folder, or None), `variables` of its environment, and
        `python` and `runtime` where these are set up already; `ip` is the node's address.
        """
        self.asked, self.ip = asked, ip
        self._worker = StartedWorker("ComfyUI", self._start, lambda text: None)
        self._lock = Lock()
        self._place: Place | None = None

    def connect(self) -> dict[str, Any]:
        """`url` of the ComfyUI, or `error`."""
        try:
            with self._lock:
                self._place = self._worker.connect()
        except LaunchError as failed:
            return {"error": f"node {self.ip}: {failed}"}
        port = self._place.client.url.rpartition(":")[2]
        return {"url": f"http://{self.ip}:{port}"}

    def take_clip(self, path: str, size: int, changed: float) -> str | None:
        """Copies the file at `path` into the input folder and returns its name there.

        None where the node has no such file, or another one: of another size or time of change.
        """
        place, source = self._place, Path(path)
        if place is None or place.folder is None:
            return None
        with contextlib.suppress(OSError):
            found = source.stat()
            if found.st_size != size or abs(found.st_mtime - changed) > CLOCKS:
                return None
            target = place.folder / "input" / f"{uuid.uuid4().hex}{source.suffix}"
            shutil.copyfile(source, target)
            return target.name if target.stat().st_size == size else None
        return None

    def remove_files(self, uploaded: str | None, outputs: list[dict[str, str]]) -> None:
        """See `Place.remove_files`."""
        if self._place is not None:
            self._place.remove_files(uploaded, [Output(**output) for output in outputs])

    def stop(self) -> None:
        """Ends the ComfyUI."""
        self._worker.close()

    @contextmanager
    def _start(self, stages: Stages) -> Iterator[Place]:
        places, comfyui = self._ready(stages)
        host = LOOPBACK if self.ip == LOOPBACK else f"{LOOPBACK},{self.ip}"
        # Ray sets this for its own Python: to 1 where the actor asks for no processors.
        os.environ.pop("OMP_NUM_THREADS", None)
        with start_server(
            comfyui, places, stages, host=host, variables=self.asked["variables"]
        ) as place:
            yield place

    def _ready(self, stages: Stages) -> tuple[Places, Any]:
        pack, asked = Path(self.asked["pack"]), self.asked["comfyui"]
        if self.asked.get("python"):
            given = GivenPlaces(
                pack, pack, interpreter=self.asked["python"], folder=self.asked["runtime"]
            )
            return given, find_comfyui(given, asked)
        places = places_of(Places(pack, pack), asked)
        return places, Environment(places, stages).ready(asked)
