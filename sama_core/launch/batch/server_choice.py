"""The servers that a batch uses, as its options say, and the model files that they have."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from ... import embedded
from ...errors import needed
from ...version import SHARED_JOBS, VERSION
from ..cluster.own_python import go_on_with
from ..cluster.ray_cluster import join_cluster
from ..cluster.slots import Slot
from ..commands.models import look_in
from ..model_choice import Trio, choose_trio
from ..places import Places
from ..progress import LaunchError, Stages
from ..server.client import Client, Unreachable
from ..server.process import MODEL_FOLDERS
from ..server.workflow import listed_trio
from ..setup.comfyui_source import ComfyUI
from .scheduler import Worker
from .workers import ForeignWorker, OwnWorker

MANY = 1_000_000
"""Servers that one spread clip may keep busy."""
OTHER_FOLDERS = {"diffusion_models": ("unet",), "text_encoders": ("clip",)}
"""Older names of models folders."""


@dataclass
class Servers:
    """What a batch runs on."""

    workers: list[Worker]
    """For the scheduler."""
    clients: list[Client]
    """Of servers whose cards a dry run asks for; empty where none runs yet."""
    model: Trio
    """The files to edit with, the same on each."""


def check_servers(options: Namespace) -> None:
    """Raises LaunchError for options that exclude each other."""
    if options.ray and (options.server or options.keep):
        other = "--server" if options.server else "--keep"
        fix = f"Leave {other} out: Ray starts the servers, and they end with the command."
        raise LaunchError(needed("--ray", f"{other} too", "one of the two", fix))
    if options.ray:
        Slot.read(options.ray_slots)


@contextmanager
def open_servers(
    options: Namespace,
    comfyui: ComfyUI,
    places: Places,
    stages: Stages,
    rows: int,
    jobs: Path | None,
) -> Iterator[Servers]:
    """The servers for so many rows. What was started ends with the context. `jobs` is the folder
    where those that are started keep clips that are spread.

    Raises LaunchError if none can be used.
    """
    if options.ray:
        with _ray_servers(options, places, stages, rows, jobs) as servers:
            yield servers
        return
    asked = [ForeignWorker(url, places) for url in options.server]
    workers: list[Worker] = list({worker.name: worker for worker in asked}.values())
    clients = answering(workers, stages)
    model = same_trio(clients) if clients else local_trio(options, places)
    yield Servers(workers or [OwnWorker(comfyui, places, options.keep, stages.say)], clients, model)


@contextmanager
def _ray_servers(
    options: Namespace, places: Places, stages: Stages, rows: int, jobs: Path | None
) -> Iterator[Servers]:
    go_on_with("ray", "--ray", places)
    stages.update(f"joining the Ray cluster {options.ray}")
    slot, asked = Slot.read(options.ray_slots), on_nodes(options, places)
    variables = slot.variables | ({SHARED_JOBS: str(jobs)} if jobs else {})
    asked |= {"version": VERSION, "variables": variables}
    most = MANY if jobs else max(1, rows)
    with join_cluster(options.ray, slot, asked, places, most) as workers:
        stages.update(f"starting ComfyUI {len(workers)} times on the cluster")
        client = first_answering(list(workers))
        model = listed_trio(client)
        for worker in workers:
            worker.check = partial(require_trio, trio=model, where=client.url)
        yield Servers(list(workers), [client] * len(workers), model)


def on_nodes(options: Namespace, places: Places) -> dict[str, Any]:
    """Where the nodes of a cluster find the pack and ComfyUI, see `NodeActor`."""
    return {"pack": options.ray_pack or str(places.root), "comfyui": options.comfyui}


def first_answering(workers: list[Worker]) -> Client:
    """Connects to all at once, and returns the first that answers; the others come later.

    Raises LaunchError of the first that failed if none can be used.
    """
    failures = []
    for _, answer in _ask_all(workers):
        if isinstance(answer, Client):
            return answer
        failures.append(answer)
    raise failures[0]


def _ask_all(workers: list[Worker]) -> Iterator[tuple[int, Client | Exception]]:
    """Connects to all at once; their numbers, and what came of it, as they answer."""
    answers: Queue[tuple[int, Client | Exception]] = Queue()

    def connect(number: int, worker: Worker) -> None:
        try:
            answers.put((number, worker.connect().client))
        except Exception as failed:
            answers.put((number, failed))

    for one in enumerate(workers):
        Thread(target=connect, args=one, daemon=True).start()
    for _ in workers:
        yield answers.get()


def answering(workers: list[Worker], stages: Stages) -> list[Client]:
    """Those servers that answer, all asked at once; others may come later.

    Raises LaunchError if none answers, or one lacks the pack in this version.
    """
    clients, silent = [], []
    for _, answer in sorted(_ask_all(workers), key=lambda one: one[0]):
        if isinstance(answer, Client):
            clients.append(answer)
        elif isinstance(answer, Unreachable):
            silent.append(answer)
        else:
            raise answer
    if silent and not clients:
        raise silent[0]
    for gone in silent:
        stages.say(f"{gone} It is left out until it answers.")
    return clients


def same_trio(clients: list[Client]) -> Trio:
    """The model files that all servers list. Raises LaunchError if they list others."""
    trio = listed_trio(clients[0])
    for client in clients[1:]:
        require_trio(client, trio, clients[0].url)
    return trio


def require_trio(client: Client, trio: Trio, where: str) -> None:
    """Raises LaunchError unless a server lists the model files that the one at `where` does."""
    found = listed_trio(client)
    if found != trio:
        raise LaunchError(
            needed(
                f"server at {client.url}",
                f"the model {found.diffusion_model}",
                f"{trio.diffusion_model}, as on {where}",
                "Give both the same model files, or leave one out.",
            )
        )


def local_trio(options: Namespace, places: Places) -> Trio:
    """The model files that a server started here will list."""
    folders = look_in(Namespace(dir=None, comfyui=options.comfyui), places)
    names = {
        kind: [
            str(path.relative_to(folder / part))
            for folder in folders
            for part in (kind, *OTHER_FOLDERS.get(kind, ()))
            for path in sorted((folder / part).rglob("*"))
            if path.is_file()
        ]
        for kind in MODEL_FOLDERS
    }
    small = [file.name for file in embedded.FILES]
    return choose_trio(
        [*names["diffusion_models"], small[0]],
        [*names["text_encoders"], small[1]],
        [*names["vae"], small[2]],
    )
