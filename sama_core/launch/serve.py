"""`run.py serve`: the canvas in the browser with the pack loaded."""

import os
import sys
import webbrowser
from argparse import Namespace

from .environment import Environment
from .failure import LaunchError
from .models import has_trained_model
from .places import Places
from .progress import Stages
from .server import Server, check_port, free_port, prepare_base, server_options
from .untrained import NOTICE, model_folders, provide_models

USUAL_PORT = 8188
EVERYWHERE = "0.0.0.0"


def serve(options: Namespace, places: Places, stages: Stages) -> int:
    """Starts ComfyUI and waits until Ctrl-C; 1 if it ends by itself."""
    host = EVERYWHERE if options.listen else "127.0.0.1"
    if options.port is not None:
        check_port(options.port, host)
    stages.start("set-up")
    comfyui = Environment(places, stages).ready(options.comfyui)
    prepare_base(places)
    folders = model_folders(places, comfyui.folder)
    provide_models(places, folders, stages)
    stages.start("start ComfyUI")
    port = options.port or usual_or_free(host)
    database = places.base / "user" / f"comfyui-{port}.db"
    arguments = [*server_options(places, comfyui), "--database-url", f"sqlite:///{database}", "--disable-auto-launch"]
    with Server(places.python, comfyui, arguments, places.log(f"serve-{port}"), host, port) as server:
        server.wait_ready(lambda seconds: stages.update(f"{seconds:.0f} s", transient=True))
        stages.finish()
        stages.say(f"\nComfyUI with SAMA: {server.url}   (log: {server.log}; Ctrl-C stops it)")
        if not has_trained_model(folders):
            stages.say(NOTICE)
        if browser_here():
            webbrowser.open(server.url)
        return _until_stopped(server, stages)


def usual_or_free(host: str) -> int:
    """ComfyUI's usual port, or a free one if that is taken."""
    try:
        check_port(USUAL_PORT, host)
    except LaunchError:
        return free_port()
    return USUAL_PORT


def browser_here() -> bool:
    """Whether a browser can be opened: not on a machine without a screen, or where text browsers would answer."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _until_stopped(server: Server, stages: Stages) -> int:
    try:
        server.process.wait()
    except KeyboardInterrupt:
        stages.say("Stopping ComfyUI.")
        return 0
    raise server.lost()
