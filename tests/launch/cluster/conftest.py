"""A batch on a Ray cluster of this machine: two nodes with one processor each."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from sama_core.launch.batch import row_work, server_choice
from sama_core.launch.cli import main
from sama_core.launch.server.client import Unreachable
from sama_core.launch.server.ports import free_port
from sama_core.launch.setup.environment import Environment

from ...harness.comfy_home import comfy_source

START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1")
ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
}
os.environ.update(ENV)  # before Ray is imported, which remembers it
LONGEST = 120
"""Seconds for what a process does at once, also on a busy machine."""


@dataclass
class Cluster:
    """Two nodes; the second can be killed."""

    address: str
    head: psutil.Process
    second: psutil.Process

    def is_on_second(self, process: psutil.Process) -> bool:
        return self.second in process.parents()

    def kill_second(self) -> None:
        """All of it, as if its power failed."""
        for process in [self.second, *self.second.children(recursive=True)]:
            kill(process)


def kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        head = ("--head", f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}")
        alone = ("--include-dashboard=false", "--node-ip-address=127.0.0.1")
        nodes = []
        try:
            nodes.append(start((*head, *alone), Path(folder)))
            nodes.append(start((f"--address={address}", alone[1]), Path(folder)))
            yield Cluster(address, *nodes)
        finally:
            for node in nodes:
                if node.is_running():
                    for process in [*node.children(recursive=True), node]:
                        kill(process)
                    node.wait(LONGEST)


def start(arguments: tuple[str, ...], folder: Path) -> psutil.Process:
    log = folder / f"start{len(arguments)}.log"
    with log.open("wb") as file:
        node = subprocess.Popen(
            [*START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    until = time.monotonic() + LONGEST
    while "Ray runtime started" not in log.read_text():
        assert node.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    return psutil.Process(node.pid)


@pytest.fixture
def on_cluster(cluster, places, tmp_path, monkeypatch, capsys):
    """A function that runs `batch` with the set-up of the tests, here and on the nodes; nothing
    that it started is left then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Environment, "ready", lambda self, asked=None: comfy_source())

    def on_nodes(options, places):
        return {
            "pack": options.ray_pack or str(places.root),
            "comfyui": str(comfy_source().folder),
            "python": sys.executable,
            "runtime": str(places.runtime),
        }

    monkeypatch.setattr(server_choice, "on_nodes", on_nodes)

    def command(*arguments: str) -> tuple[int, str, str]:
        given = ("--ray", cluster.address, "--ray-slots", "cpu:1")
        code = main(["batch", *arguments, *given], places)
        until = time.monotonic() + LONGEST  # one whose actor was killed ends by itself
        while left := [one for one, line in processes() if str(places.runtime) in line]:
            assert time.monotonic() < until, left
            time.sleep(0.05)
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def both_started(monkeypatch) -> None:
    """Work begins when both nodes' ComfyUIs answer, not with the first."""

    def connect(worker):
        until = time.monotonic() + LONGEST
        while True:
            try:
                return worker.connect().client
            except Unreachable:  # a process of Ray that begins late
                if time.monotonic() > until:
                    raise

    def connect_all(workers):
        with ThreadPoolExecutor(len(workers)) as pool:
            clients = list(pool.map(connect, workers))
        return clients[0]

    monkeypatch.setattr(server_choice, "first_answering", connect_all)


def processes() -> Iterator[tuple[psutil.Process, list[str]]]:
    """Those that a ComfyUI may be among, with their command lines; other tests end theirs."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "comfy_main.py" in " ".join(line):
                yield process, line


def comfyui_at(url: str) -> psutil.Process:
    port = url.rpartition(":")[2]
    return next(one for one, line in processes() if port in line)


@dataclass
class Deaths:
    """What is killed in the middle of an edit, and whose."""

    awaited: list[tuple[str, Callable[[psutil.Process], bool], Callable]] = field(
        default_factory=list
    )
    died: list[str] = field(default_factory=list)

    def queue(self, name: str, whose: Callable, how: Callable[[psutil.Process], None]) -> None:
        """Next time that a ComfyUI of this kind has an edit queued, `how(its process)`."""
        self.awaited.append((name, whose, how))

    def see(self, url: str) -> None:
        comfyui = comfyui_at(url)
        for one in self.awaited:
            if one[1](comfyui):
                self.awaited.remove(one)
                one[2](comfyui)
                self.died.append(one[0])
                return


@pytest.fixture
def deaths(monkeypatch) -> Deaths:
    found, run_graph = Deaths(), row_work.run_graph

    def run(client, graph, stages, server, queued):
        def then(prompt_id: str) -> None:
            queued(prompt_id)
            found.see(client.url)

        return run_graph(client, graph, stages, server, then)

    monkeypatch.setattr(row_work, "run_graph", run)
    return found
