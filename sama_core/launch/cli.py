"""The command line: `edit`, `serve`, `models`, `test`."""

import argparse
import signal
import sys
from collections.abc import Sequence

from .. import embedded
from .edit import DEFAULT_INSTRUCTION, RELEASE_CFG, RELEASE_STEPS, area_pixels, edit
from .failure import LaunchError
from .models_command import models
from .places import Places
from .progress import Stages
from .serve import serve
from .testing import test

STOPPED = "Stopped. Nothing was left half-written; the same command starts again."


def main(argv: Sequence[str] | None = None, places: Places | None = None) -> int:
    """Runs one command; 0 if it did its work, 1 with a sentence on standard error if not."""
    options, rest = parser().parse_known_args(argv)
    if options.command == "test":
        options.pytest_args = rest
    elif rest:
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    for name in ("SIGTERM", "SIGHUP"):
        # What is ignored on purpose (nohup) stays ignored.
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), _stop)
    stages = Stages()
    try:
        return options.run(options, places or Places(), stages)
    except LaunchError as error:
        return _end(stages, str(error))
    except KeyboardInterrupt:
        return _end(stages, STOPPED)
    except OSError as error:
        return _end(stages, f"{error.filename or 'a file'}: {error.strerror or error}. Check that this folder is "
                            "writable and has room (about 4 GB), and run the same command again.")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    whole = argparse.ArgumentParser(prog="run.py", description="SAMA: edit a video by an instruction, in ComfyUI.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="edit | serve | models | test")
    _add_edit(commands)
    _add_serve(commands)
    _add_models(commands)
    runs_tests = commands.add_parser("test", allow_abbrev=False, help="run all tests; further arguments go to pytest")
    runs_tests.set_defaults(run=test)
    for command in commands.choices.values():
        command.add_argument("--comfyui", metavar="DIR", help="your own ComfyUI's folder (default: COMFYUI_PATH, or "
                             "the one this pack lies in, or one that is fetched)")
    return whole


def _add_edit(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("edit", allow_abbrev=False, help="edit a clip as an instruction says")
    command.set_defaults(run=edit)
    add = command.add_argument
    add("--video", metavar="FILE", help="the clip (default: the pack's own, a blue circle)")
    add("--instruction", metavar="TEXT", default=DEFAULT_INSTRUCTION, help="what to change (default: %(default)s)")
    add("--server", metavar="URL", help="a running ComfyUI with the pack (default: one is started)")
    add("--steps", type=int, metavar="N", help=f"sampling steps (default: {RELEASE_STEPS} with SAMA-14B, "
        f"{embedded.STEPS} with SAMA-Shapes)")
    add("--seed", type=int, metavar="N", help="the same seed gives the same edit (default: the workflow's)")
    add("--cfg", type=float, metavar="X", help=f"guidance strength (default: {RELEASE_CFG:g} with SAMA-14B, "
        f"{embedded.CFG:g} with SAMA-Shapes)")
    add("--frames", type=int, metavar="N", help="edit the first N frames (default: all)")
    add("--area", type=_area, metavar="WxH", help="working area, WxH or pixels (default: the model's own)")
    add("--out", metavar="FILE", help="the result (default: <clip>_sama.mp4 here; an existing file is kept)")
    add("--picture", metavar="FILE", help="also write a PNG: five source frames above the same five of the edit")


def _add_serve(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("serve", allow_abbrev=False, help="open ComfyUI with the pack in the browser")
    command.set_defaults(run=serve)
    command.add_argument("--port", type=int, metavar="N", help="port (default: 8188, or a free one)")
    command.add_argument("--listen", action="store_true", help="answer other machines too, not only this one")


def _add_models(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("models", allow_abbrev=False, help="list the model files, or download them")
    command.set_defaults(run=models)
    command.add_argument("--download", action="store_true", help="fetch what is missing (about 36 GB)")
    command.add_argument("--dir", metavar="DIR", help="the models folder (default: ComfyUI's)")


def _area(text: str) -> int:
    try:
        return area_pixels(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text}, needs WxH such as 832x480, or a number of pixels from 1024 on"
                                         ) from None


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _end(stages: Stages, sentence: str) -> int:
    stages.finish()
    print(f"\n{sentence}", file=sys.stderr, flush=True)
    return 1
