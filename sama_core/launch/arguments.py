"""What the command line takes: all commands and their options."""

import argparse

from ..convert.formats import FORMATS
from ..released_files import SAMA_14B, SAMA_SHAPES
from ..weights.names import WEIGHT_DTYPES
from .commands.convert import convert
from .commands.models import models
from .commands.plan import area_or_size, plan
from .commands.serve import serve
from .commands.test import test
from .commands.train import train
from .edit_arguments import GOES_ON, add_batch, add_edit, add_sampling


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    whole = argparse.ArgumentParser(
        prog="run.py", description="SAMA: edit a video by an instruction, in ComfyUI."
    )
    commands = whole.add_subparsers(
        dest="command",
        required=True,
        metavar="edit | batch | serve | models | plan | convert | train | test",
    )
    add_edit(commands)
    add_batch(commands)
    _add_serve(commands)
    _add_models(commands)
    _add_plan(commands)
    _add_convert(commands)
    _add_train(commands)
    runs_tests = commands.add_parser(
        "test",
        allow_abbrev=False,
        help="check the code and run all tests; further arguments go to pytest",
        usage="%(prog)s [-h] [--checks] [--comfyui DIR] [FILE ...] [-k WORDS] [pytest's options]",
        description="Without FILE it checks the code and runs all tests. With test files or "
        "folders it runs these alone. FILE, -k WORDS (tests whose names contain the words) and "
        "every option that is not listed here go to pytest.",
    )
    runs_tests.set_defaults(run=test)
    runs_tests.add_argument(
        "--checks", action="store_true", help="run the checks of the code alone, without the tests"
    )
    for command in commands.choices.values():
        command.add_argument(
            "--comfyui",
            metavar="DIR",
            help="your own ComfyUI's folder (default: COMFYUI_PATH, or "
            "the one this pack lies in, or one that is fetched)",
        )
    return whole


def _add_serve(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "serve", allow_abbrev=False, help="open ComfyUI with the pack in the browser"
    )
    command.set_defaults(run=serve)
    command.add_argument(
        "--port", type=int, metavar="N", help="port (default: 8188, or a free one; 0: a free one)"
    )
    command.add_argument(
        "--listen", action="store_true", help="accept other machines too, not only this one"
    )
    command.add_argument(
        "--stop",
        action="store_true",
        help="start nothing: end the ComfyUI that edit or batch left running with --keep",
    )


def _add_models(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "models", allow_abbrev=False, help="list the model files, or download them"
    )
    command.set_defaults(run=models)
    command.add_argument(
        "--download", action="store_true", help="fetch what is missing (about 36 GB)"
    )
    command.add_argument("--dir", metavar="DIR", help="the models folder (default: ComfyUI's)")


def _add_plan(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "plan", allow_abbrev=False, help="compute memory, time and what fits, before a download"
    )
    command.set_defaults(run=plan)
    add = command.add_argument
    add(
        "--model",
        metavar="FILE",
        help="a SAMA model, safetensors or GGUF: a path, or a name in "
        "models/diffusion_models (default: SAMA-14B as released)",
    )
    add(
        "--base",
        metavar="FILE",
        help="base Wan 2.1 T2V shards; needed if --model FILE is a delta file",
    )
    add(
        "--weight-dtype",
        choices=WEIGHT_DTYPES,
        default=WEIGHT_DTYPES[0],
        help="how the loader stores it (default: %(default)s)",
    )
    add("--video", metavar="FILE", help="the clip (default: --frames and --area alone)")
    add(
        "--frames",
        type=int,
        metavar="N",
        help=f"frames (default: the clip's, or {SAMA_14B.frames}; "
        f"{SAMA_SHAPES.frames} with SAMA-Shapes)",
    )
    add(
        "--area",
        type=area_or_size,
        metavar="WxH",
        help="working area, WxH or pixels (default: the model's own)",
    )
    add_sampling(command)
    _add_machine(command)
    _add_time(command)
    add(
        "--train",
        nargs="+",
        metavar=("RECIPE", "setting=value"),
        help="plan a training instead of an edit: card memory, RAM, disk, time",
    )
    add(
        "--calibrate",
        action="store_true",
        help="time the model on this machine first, and keep the result",
    )


def _add_time(command: argparse.ArgumentParser) -> None:
    """The time that there is for an edit."""
    add = command.add_argument
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="the best edit that is finished in so many minutes, and two quicker ones: frames, "
        "size, steps, LoRA and weights, as settings to copy",
    )
    add(
        "--no-step-lora",
        action="store_true",
        help="with --minutes: without a step-distilled LoRA",
    )


def _add_machine(command: argparse.ArgumentParser) -> None:
    """Card and RAM; without them those that are here."""
    add = command.add_argument
    add(
        "--vram",
        type=float,
        metavar="GB",
        help="plan for a card with this much memory (default: the card here)",
    )
    add(
        "--card",
        metavar="NAME",
        help='its name, for the time, such as "RTX 4090"; without --vram with the memory that '
        "it is sold with",
    )
    add(
        "--ram",
        type=float,
        metavar="GB",
        help="plan for this much RAM (default: what is free here)",
    )


def _add_convert(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "convert",
        allow_abbrev=False,
        help="write a smaller file of a SAMA model",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {made.name:11} {made.says}" for made in FORMATS.values()),
    )
    command.set_defaults(run=convert, after_a_stop=GOES_ON)
    add = command.add_argument
    add(
        "file",
        metavar="FILE",
        help="the full SAMA file or a delta file: a path, or a name in models/diffusion_models",
    )
    add(
        "--format",
        metavar="NAME",
        default="fp8_scaled",
        help="one of the formats below (default: %(default)s)",
    )
    add(
        "--base",
        metavar="FILE",
        help="base Wan 2.1 T2V shards, for a delta file: any one of them, or their folder",
    )
    add(
        "--out",
        metavar="FILE",
        help="the result, or a folder for it (default: beside FILE, named after it)",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace an earlier result of the same name (default: it is kept; other files are "
        "always kept)",
    )
    add(
        "--verify",
        action="store_true",
        help="convert nothing: compare FILE, an earlier result, with the checksum in it",
    )


def _add_train(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "train",
        allow_abbrev=False,
        help="train a model or a LoRA as a recipe says",
        usage="%(prog)s [-h] [--comfyui DIR] [TASK] RECIPE [setting=value ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="TASK is one of python -m sama_core.training, without one: train.\n"
        "Stop it with Ctrl-C: the same command continues from the last checkpoint.",
    )
    command.set_defaults(run=train)
    command.add_argument(
        "words",
        nargs="+",
        metavar="RECIPE",
        help="a TOML file of settings, and settings in place of its own, such as steps=200",
    )
