"""Joining a Ray cluster: one actor with a ComfyUI for each slot, ended with the command."""

import importlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ...errors import needed
from ..places import Places
from ..progress import LaunchError
from . import node_actor
from .ray_worker import RayWorker
from .slots import Slot

LOCAL = "local"
"""The address that asks for a cluster of this machine alone, for as long as the command runs."""
STOP_SECONDS = 20.0
CONNECT_SECONDS = 5.0
THREADS = 4
"""Calls that an actor answers at a time."""


@contextmanager
def join_cluster(
    address: str, slot: Slot, asked: dict[str, Any], places: Places, most: int
) -> Iterator[list[RayWorker]]:
    """The workers of a cluster, at most `most`; `asked` is what `NodeActor` gets.

    Their ComfyUIs start when they are connected to. Leaving ends them, and the tie to the cluster.
    Raises LaunchError without such a cluster, or without a slot in it.
    """
    with _own_signals():
        ray = _import_ray(address)
        folder = _connect(ray, address)
    try:
        count = min(slot.fit_into(ray.nodes()), most)
        ray.cloudpickle.register_pickle_by_value(node_actor)
        kind = ray.remote(node_actor.NodeActor).options(
            max_restarts=-1, max_concurrency=THREADS, **slot.options
        )
        actors = [kind.remote(asked) for _ in range(count)]
        workers = [RayWorker(number, actor, places) for number, actor in enumerate(actors, 1)]
        try:
            yield workers
        finally:
            _end(ray, workers)
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Puts back what this command does when it is asked to end: Ray would end it at once, with
    everything left as it is.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _import_ray(address: str) -> Any:
    # Ray reports nothing to anybody.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:
        # Else Ray would leave a token in the user's home.
        os.environ.setdefault("RAY_AUTH_TOKEN", uuid.uuid4().hex * 2)
    return importlib.import_module("ray")


def _connect(ray: Any, address: str) -> str | None:
    """Joins; the folder of a cluster that was started for it, which is ours to remove."""
    quiet: dict[str, Any] = {
        "namespace": f"sama-{uuid.uuid4().hex}",
        "log_to_driver": False,
        "logging_level": "error",
    }
    if address == LOCAL:
        folder = tempfile.mkdtemp(prefix="sama-ray-")
        ray.init(address=LOCAL, include_dashboard=False, _temp_dir=folder, **quiet)
        return folder
    try:
        _require_answer(address)
        ray.init(address=address, **quiet)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as failed:
        reason = " ".join(str(failed).split()) or type(failed).__name__
        raise LaunchError(
            needed(
                f"--ray {address}",
                reason[:300],
                "a Ray cluster that this machine is a node of",
                "Start it here with `ray start --head`, or join it with `ray start --address "
                "HEAD:6379`, by the Python of .venv; or give --ray local for this machine alone.",
            )
        ) from failed
    return None


def _require_answer(address: str) -> None:
    """Raises OSError if nothing listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _end(ray: Any, workers: list[RayWorker]) -> None:
    """Ends all ComfyUIs at once, and then the actors."""
    with suppress(Exception):
        ending = [worker.actor.stop.remote() for worker in workers]
        ray.wait(ending, num_returns=len(ending), timeout=STOP_SECONDS)
    for worker in workers:
        with suppress(Exception):
            ray.kill(worker.actor)
