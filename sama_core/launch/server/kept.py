"""The server that `--keep` leaves running: its record, how it is known again, and its end.

The record is `kept_server.json` in the places' folder for everything but the environment. The
server tells the record's id by the pack's route: so a record of a server that has ended, or an
address that another program has by now, is noticed. Only the process of that id is ever ended.
"""

import contextlib
import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import needed
from ...version import VERSION
from ...weights.write import whole_file
from ..places import Places
from ..progress import LaunchError, Stages
from ..setup.comfyui_source import ComfyUI
from ..setup.steps import only_one
from .client import LOOK_SECONDS, Client, Silent, Unreachable
from .process import (
    STOP_SECONDS,
    Server,
    job_options,
    make_folders,
    prepare_base,
    server_options,
)
from .unfinished import keep_results, remove_old

RECORD, LOCK = "kept_server.json", "kept_server.lock"


@dataclass(frozen=True)
class Kept:
    """The record of one server."""

    url: str
    """Its address."""
    pid: int
    """Number of its process."""
    id: str
    """What it tells by the pack's route."""
    version: str
    """The pack's version when it was started."""
    comfyui: str
    """Folder of its ComfyUI."""
    folder: str
    """Folder of its input and output."""
    log: str
    """Its log."""

    def answers(self) -> bool:
        """Whether the server at the address is the one of the record.

        Raises Unreachable while it cannot be known: something there does not answer in time, and a
        process of the record's number runs.
        """
        client = Client(self.url)
        try:
            client.check(LOOK_SECONDS)
            return (client.pack() or {}).get("id") == self.id
        except Silent as silent:
            if not _is_running(self.pid):
                return False
            raise Unreachable(
                needed(
                    f"ComfyUI at {self.url}, which was left running",
                    f"no answer within {LOOK_SECONDS:g} s",
                    "one that answers",
                    "It may be busy: run the same command again in a while, or end its process, "
                    f"number {self.pid}.",
                )
            ) from silent
        except LaunchError:
            return False


def read_record(places: Places) -> Kept | None:
    """The record; None where there is none, or it cannot be read."""
    try:
        return Kept(**json.loads(_record(places).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def find_kept(places: Places, comfyui: ComfyUI, say: Callable[[str], None]) -> Kept | None:
    """The server that was left running, if it is usable; a stale record is removed.

    One with another version of the pack is ended. Raises LaunchError if it runs another ComfyUI
    than the one that is asked for, and Unreachable if it is too busy to answer.
    """
    kept = read_record(places)
    if kept is None:
        return None
    if not kept.answers():
        _clear(places, kept, say)
        return None
    if kept.version != VERSION:
        say(f"The ComfyUI left running has the pack {kept.version}, not {VERSION}: it is ended.")
        stop_kept(places, say)
        return None
    if Path(kept.comfyui) != comfyui.folder:
        raise LaunchError(
            needed(
                f"ComfyUI at {kept.url}, which was left running",
                kept.comfyui,
                str(comfyui.folder),
                "End it with `python3 run.py serve --stop`.",
            )
        )
    return kept


def start_kept(
    comfyui: ComfyUI,
    places: Places,
    stages: Stages,
    meanwhile: Callable[[], None] = lambda: None,
) -> Kept:
    """Starts a server that goes on running, and writes its record; calls `meanwhile` beside it.

    One that another command has just started is taken instead. Raises LaunchError if it does not
    start; then none is left.
    """

    def wait() -> None:
        stages.say("Another command is starting ComfyUI; waiting for it.")

    with only_one(places.runtime / LOCK, wait):
        kept = find_kept(places, comfyui, stages.say)
        if kept is not None:
            meanwhile()
            return kept
        return _start(comfyui, places, stages, meanwhile)


def _start(comfyui: ComfyUI, places: Places, stages: Stages, meanwhile: Callable[[], None]) -> Kept:
    prepare_base(places)
    mark = uuid.uuid4().hex
    folder = places.runtime / "kept" / mark[:12]
    make_folders(folder)
    log = places.log("comfyui-kept")
    remove_old(places.edits, stages.say)
    options = server_options(places, comfyui) + job_options(folder, places.edits)
    try:
        with Server(places.python, comfyui, options, log, kept_id=mark) as server:
            meanwhile()
            server.wait_ready(lambda seconds: stages.update(f"{seconds:.0f} s", transient=True))
            process = server.process
            kept = Kept(
                server.url,
                process.pid if process else 0,
                mark,
                VERSION,
                str(comfyui.folder),
                str(folder),
                str(log),
            )
            with whole_file(_record(places)) as partial:
                partial.write_text(json.dumps(asdict(kept)), encoding="utf-8")
            server.let_go()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return kept


def stop_kept(places: Places, say: Callable[[str], None] = print) -> str | None:
    """Ends the server that was left running and returns its address; None if there is none. Says
    where finished edits are that nobody fetched.

    Raises Unreachable if it is too busy to answer, and LaunchError if it is another user's.
    """
    kept = read_record(places)
    if kept is None or not kept.answers():
        if kept:
            _clear(places, kept, say)
        return None
    _end(kept)
    _clear(places, kept, say)
    return kept.url


def _end(kept: Kept) -> None:
    """Asks the process to end, and kills it if it still answers after a while."""
    with contextlib.suppress(ProcessLookupError), _others_told(kept):
        os.kill(kept.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(Unreachable):
                if not kept.answers():
                    return
            time.sleep(0.1)
        os.kill(kept.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def _is_running(pid: int) -> bool:
    """Whether a process of this number runs; True where a system has no way to ask."""
    if os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
    return True


@contextlib.contextmanager
def _others_told(kept: Kept) -> Iterator[None]:
    try:
        yield
    except PermissionError as refused:
        raise LaunchError(
            needed(
                f"ComfyUI at {kept.url}, which was left running",
                f"a process of another user, number {kept.pid}",
                "one of yours",
                "Let that user end it.",
            )
        ) from refused


def _clear(places: Places, kept: Kept, say: Callable[[str], None]) -> None:
    """Removes the record and the server's folder; finished edits in it that nobody fetched are
    kept, and told.
    """
    _record(places).unlink(missing_ok=True)
    folder = Path(kept.folder)
    if folder.parent == places.runtime / "kept":
        for told in keep_results(folder / "output", places.edits):
            say(told)
        shutil.rmtree(folder, ignore_errors=True)


def _record(places: Places) -> Path:
    return places.runtime / RECORD
