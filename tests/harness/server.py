"""A real ComfyUI server process with the pack linked into its custom_nodes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comfyui import running_server as start_server
from sama_core.launch.places import Places
from sama_core.launch.server.client import Client
from sama_core.launch.server.process import Server

from .comfy_home import comfy_source


@dataclass(frozen=True)
class TestPlaces(Places):
    """The launcher's places with the base directory and the logs in a folder of the test's own."""

    __test__ = False

    folder: Path = Path()
    """The test's own."""

    @property
    def runtime(self) -> Path:
        """The folder."""
        return self.folder


class ComfyServer:
    """A running server: `url`, `base` (its base directory), `client` (the launcher's), `log`."""

    def __init__(self, process: Server, base: Path):
        self.process = process
        self.base = base
        self.url = process.url
        self.client = Client(process.url)

    @property
    def log(self) -> str:
        """Everything the server has printed so far."""
        return self.process.log.read_text(encoding="utf-8", errors="replace")

    def run(self, prompt: dict, timeout: float = 400) -> dict:
        """Queue an API-format graph and return its history entry (`outputs`, `status`) when it has
        ended.

        Raises launch.client.Refused (with the node errors as `body`) when the server does not take
        it.
        """
        return self.wait(self.client.queue(prompt), timeout)

    def wait(self, prompt_id: str, timeout: float = 400) -> dict:
        """The history entry of a queued graph.

        Raises AssertionError with the log's end when it takes too long.
        """
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            assert self.process.alive(), f"the server ended:\n{self.log[-3000:]}"
            entry = self.client.history(prompt_id)
            if entry is not None:
                return entry
            time.sleep(0.05)
        raise AssertionError(
            f"graph {prompt_id} did not end within {timeout} s:\n{self.log[-3000:]}"
        )

    def wait_idle(self, timeout: float = 400) -> None:
        """Wait until no graph runs. Raises AssertionError when that takes too long."""
        until = time.monotonic() + timeout
        while self.client._json("/queue")["queue_running"]:
            assert time.monotonic() < until, f"it still works:\n{self.log[-3000:]}"
            time.sleep(0.05)

    def save_settings(self, **settings: object) -> None:
        """Set frontend settings (dots written as `__`), as its settings dialog would."""
        body = {name.replace("__", "."): value for name, value in settings.items()}
        self.client._request(
            "/settings", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )


@contextmanager
def running_server(folder: Path, *options: str) -> Iterator[ComfyServer]:
    """A server with base directory `folder/base`, on the CPU and on a free port; stopped whatever
    happens.

    Raises AssertionError when the pack or one of ComfyUI's own nodes fails to import.
    """
    places = TestPlaces(folder=folder)
    database = f"sqlite:///{places.base / 'user' / 'comfyui.db'}"
    arguments = ("--database-url", database, *options)
    with start_server(places, comfy_source(), *arguments) as process:
        server = ComfyServer(process, places.base)
        assert "IMPORT FAILED" not in server.log, server.log
        yield server
