"""`run.py serve`: ComfyUI with the pack, opened in the browser."""

import json
import os
import shutil
import sys
import webbrowser
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

from ... import embedded
from ...folders.file_lock import open_locked, remove_locked
from ...weights.write import whole_file
from ..places import PACK_NAME, Places
from ..progress import LaunchError, Stages
from ..server.client import Client
from ..server.kept import stop_kept
from ..server.ports import EVERYWHERE, LOCAL, check_port, claim_port, free_port
from ..server.process import Server, prepare_base, server_options
from ..server.workflow import listed_trio
from ..setup.comfyui_source import ComfyUI
from ..setup.environment import Environment

USUAL_PORT = 8188
TRIES = 20
"""Free ports that other programs may take just when they were found."""
FIRST_WORKFLOW = "1 Edit a video"
SEEN_BEFORE = "Comfy.TutorialCompleted"
"""The frontend's setting that tells that somebody has worked here; it restores what was open."""
PREVIEW = ["--preview-method", "auto"]
"""ComfyUI starts without live previews. Its own setting in the browser still comes before this."""


def serve(options: Namespace, places: Places, stages: Stages) -> int:
    """Starts ComfyUI and waits until Ctrl-C. Raises LaunchError if ComfyUI ends by itself.

    With `--stop` it only ends the one that another command left running.
    """
    if options.stop:
        url = stop_kept(places, stages.say)
        stages.say(f"Ended ComfyUI at {url}." if url else "No ComfyUI was left running.")
        return 0
    host = EVERYWHERE if options.listen else LOCAL
    if options.port:
        check_port(options.port, host)
    stages.start("set-up")
    comfyui = Environment(places, stages).ready(options.comfyui)
    prepare_base(places)
    provide_clips(places)
    stages.start("start ComfyUI")
    with ExitStack() as claims:
        port = claims.enter_context(take_port(options.port, host))
        name = str(port)
        if port not in (options.port, USUAL_PORT):  # nobody comes back to it
            name = claims.enter_context(take_name(places.runtime))
        return run(port, host, name, comfyui, places, stages)


def run(port: int, host: str, name: str, comfyui: ComfyUI, places: Places, stages: Stages) -> int:
    """Serves on a port until Ctrl-C, from the start of ComfyUI on: 0 then, whether it was ready or
    not. Raises LaunchError if ComfyUI ends by itself.

    `name` is that of the server's database and log, which no other server has meanwhile.
    """
    database = places.base / "user" / f"comfyui-{name}.db"
    arguments = [
        *server_options(places, comfyui),
        "--database-url",
        f"sqlite:///{database}",
        "--disable-auto-launch",
        *PREVIEW,
    ]
    log = places.log(f"serve-{name}")
    try:
        with Server(places.python, comfyui, arguments, log, host, port) as server:
            try:
                _open(server, places, stages)
                server.wait()
            except KeyboardInterrupt:
                stages.finish()
                stages.say("Stopping ComfyUI.")
                raise
            raise server.connection_error()
    except KeyboardInterrupt:  # also a second one, while ComfyUI ends
        return 0


def _open(server: Server, places: Places, stages: Stages) -> None:
    """Waits until ComfyUI answers, says where it is, and opens it in the browser."""
    server.wait_ready(lambda seconds: stages.update(f"{seconds:.0f} s", transient=True))
    stages.finish()
    address = first_page(server.url, places)
    stages.say(f"\nComfyUI with SAMA: {address}   (log: {server.log}; Ctrl-C stops it)")
    trio = listed_trio(Client(server.url))
    if trio.small:
        stages.say(trio.notice())
    if browser_here():
        webbrowser.open(address)


def provide_clips(places: Places) -> None:
    """Copies the example workflows' clips into the input folder of the base directory."""
    for clip in embedded.CLIPS:
        target = places.base / "input" / clip.name
        if not target.exists():
            with whole_file(target) as partial:
                shutil.copyfile(clip, partial)


def first_page(url: str, places: Places) -> str:
    """The address to open: ComfyUI's own, but with the first workflow when nobody has worked here.

    `web/launch/open_template.js` reads it.
    """
    try:
        settings = places.base / "user" / "default" / "comfy.settings.json"
        if json.loads(settings.read_text(encoding="utf-8"))[SEEN_BEFORE]:
            return url
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return f"{url}/?template={quote(FIRST_WORKFLOW)}&source={PACK_NAME}"


@contextmanager
def take_port(given: int | None, host: str) -> Iterator[int]:
    """The port that was `given`, 0 for any free one; without it ComfyUI's usual one, or a free one
    if another program, or another `run.py serve`, has that. It is ours until the context ends.

    Raises LaunchError if the given one cannot be had.
    """
    with ExitStack() as claims:
        for number in range(TRIES):
            port = free_port(host) if number or given == 0 else given or USUAL_PORT
            try:
                claims.enter_context(claim_port(port, host))
                break
            except LaunchError:
                if given or number == TRIES - 1:
                    raise
        yield port


@contextmanager
def take_name(folder: Path) -> Iterator[str]:
    """A name for what a server on a free port leaves: the first of free-1, free-2 … that no other
    one has, so that the next server uses the same files. It is ours until the context ends; a lock
    in `folder` stands for it.
    """
    for number in count(1):
        lock = folder / f"serve-free-{number}.lock"
        claim = open_locked(lock, wait=False)
        if claim:
            try:
                yield f"free-{number}"
            finally:
                remove_locked(claim, lock)
            return


def browser_here() -> bool:
    """Whether a browser can be opened: not without a screen, where it would be a text browser."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
