"""A ComfyUI to edit on: the user's, one that was left running, or one that is started."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..places import Places
from ..progress import Stages
from ..setup.comfyui_source import ComfyUI
from .client import Client, Lost, Output
from .kept import find_kept, start_kept
from .process import Server, job_folder, job_options, prepare_base, server_options
from .unfinished import keep_result, keep_results, remove_old

START = "start ComfyUI"
"""Name of a stage."""


@dataclass(frozen=True)
class Place:
    """A ComfyUI to edit on."""

    client: Client
    """The connection to it."""
    server: Server | None = None
    """Its process, if it ends with this command."""
    folder: Path | None = None
    """Folder of its input and output, if they are ours."""

    def send(self, clip: Path) -> str:
        """Brings a clip into the server's input folder; its name there. Raises LaunchError."""
        return self.client.upload(clip)

    def keep_result(self, output: Output, unfinished: Path) -> str:
        """Keeps a result that could not be written: a sentence that says where it is, or nothing.

        `unfinished` is the folder for it, if the server's own goes with the command.
        """
        if self.folder is None:
            return ""
        return keep_result(self._path(output), unfinished)

    def keep_results(self, prefix: str, unfinished: Path) -> list[str]:
        """As `keep_result`, for whatever has been saved with this prefix of its name."""
        if self.folder is None:
            return []
        return keep_results(self.folder / "output", unfinished, prefix)

    def _path(self, output: Output) -> Path:
        """A file of the server, where its folders are ours."""
        assert self.folder
        return self.folder / output.type / output.subfolder / output.filename

    def remove_files(self, uploaded: str | None, outputs: list[Output]) -> None:
        """Removes what one edit left in folders of ours; elsewhere nothing."""
        if self.folder is None:
            return
        for path in (
            *([self.folder / "input" / uploaded] if uploaded else []),
            *map(self._path, outputs),
        ):
            if self.folder.resolve() in path.resolve().parents:
                with contextlib.suppress(OSError):
                    path.unlink()


@contextmanager
def connect(url: str) -> Iterator[Place]:
    """The user's running ComfyUI; it keeps running afterwards."""
    yield Place(Client(url))


@contextmanager
def own_place(
    comfyui: ComfyUI,
    places: Places,
    stages: Stages,
    keep: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Place]:
    """The server that an earlier command left running, or a new one; `keep` leaves it running.

    `meanwhile` is called while a new one starts; it is stopped if that raises.
    """
    kept = find_kept(places, comfyui, stages.say)
    if kept is None and not keep:
        with start_server(comfyui, places, stages, meanwhile) as place:
            yield place
        return
    if kept is None:
        stages.start(START)
        kept = start_kept(comfyui, places, stages, meanwhile)
    else:
        meanwhile()
    stages.say(
        f"ComfyUI at {kept.url} keeps running for the next command (log: {kept.log}); "
        "`python3 run.py serve --stop` ends it."
    )
    # Two commands that send the same clip have a file each: the one that is done removes its own.
    mine = uuid.uuid4().hex[:12]
    try:
        yield Place(Client(kept.url, mine), folder=Path(kept.folder))
    except Lost as lost:
        if kept.answers():
            raise
        raise Lost(
            f"ComfyUI at {kept.url}, which was left running, ended in the middle of the edit. Run "
            f"the same command again.\n  Whole log: {kept.log}"
        ) from lost
    finally:
        shutil.rmtree(Path(kept.folder) / "input" / mine, ignore_errors=True)


@contextmanager
def start_server(
    comfyui: ComfyUI,
    places: Places,
    stages: Stages,
    meanwhile: Callable[[], None] = lambda: None,
    host: str = "127.0.0.1",
    variables: Mapping[str, str] | None = None,
) -> Iterator[Place]:
    """A ComfyUI that runs only for this command and is always stopped afterwards.

    `meanwhile` is called while it starts; `host` and `variables` as for `Server`. A finished edit
    that nobody fetched, as at Ctrl-C, is kept, and told.
    """
    prepare_base(places)
    with job_folder(places, stages.say) as folder, _unfetched_kept(folder, places.edits, stages):
        stages.start(START)
        remove_old(places.edits, stages.say)
        arguments = server_options(places, comfyui) + job_options(folder, places.edits)
        log = places.log(f"comfyui-{folder.name}")
        with Server(places.python, comfyui, arguments, log, host, variables=variables) as server:
            meanwhile()
            server.wait_ready(lambda seconds: stages.update(f"{seconds:.0f} s", transient=True))
            yield Place(Client(server.url), server, folder)
            is_well = server.alive()
        if is_well:
            log.unlink(missing_ok=True)


@contextmanager
def _unfetched_kept(folder: Path, edits: Path, stages: Stages) -> Iterator[None]:
    """Keeps what a server has finished in the folder of a job, and nobody fetched by its end."""
    try:
        yield
    finally:
        for kept in keep_results(folder / "output", edits):
            stages.say(f"\n{kept}")
