"""Options of the commands that edit: `edit`, and those that others share with it."""

import argparse
from collections.abc import Callable

from ..released_files import OWN_CFG, OWN_STEPS, SAMA_14B, SAMA_SHAPES
from ..weights.names import WEIGHT_DTYPES
from .cluster.slots import USUAL
from .commands.batch import batch
from .commands.edit import DEFAULT_INSTRUCTION, DEFAULT_SEED, FITS, area_pixels, edit

GOES_ON = "goes on with what is finished"
"""What a command that was stopped does when it is given again."""


def add_sampling(command: argparse.ArgumentParser) -> None:
    """Steps and cfg; without them the model's own."""
    command.add_argument(
        "--steps",
        type=int,
        metavar="N",
        default=OWN_STEPS,
        help=f"sampling steps (default: the model's own, {SAMA_14B.steps} for SAMA-14B, "
        f"{SAMA_SHAPES.steps} for SAMA-Shapes)",
    )
    command.add_argument(
        "--cfg",
        type=float,
        metavar="X",
        default=OWN_CFG,
        help=f"guidance strength (default: the model's own, {SAMA_14B.cfg:g} for SAMA-14B, "
        f"{SAMA_SHAPES.cfg:g} for SAMA-Shapes)",
    )


def add_keep(add: Callable) -> None:
    """Whether a server that is started goes on running."""
    add(
        "--keep",
        action="store_true",
        help="leave the ComfyUI that is started running for the next command; run.py serve --stop "
        "ends it",
    )


def add_ray(add: Callable) -> None:
    """A Ray cluster in the place of servers."""
    add(
        "--ray",
        metavar="ADDRESS",
        help="run ComfyUI on every card of a Ray cluster that this machine is a node of: "
        "HEAD:6379, auto, or local for this machine alone; needs the package ray",
    )
    add(
        "--ray-slots",
        metavar="WHAT:N",
        default=USUAL,
        help="what each ComfyUI takes of its node: gpu:N, or cpu:N for one without a card "
        "(default: %(default)s)",
    )
    add(
        "--ray-pack",
        metavar="DIR",
        help="the pack's folder on the nodes (default: the same path as here)",
    )


def add_spread(add: Callable) -> None:
    """One long clip on all servers at once."""
    add(
        "--spread",
        action="store_true",
        help="edit each clip in segments on all servers at once; SOURCE may be one clip. Servers "
        "that you start need SAMA_SHARED_JOBS set to a folder that all of them see; with --ray it "
        "is in --out",
    )
    add(
        "--segment-frames",
        type=int,
        metavar="N",
        help="with --spread: frames that the model sees at once (default: 81)",
    )


def add_clip_settings(add: Callable) -> None:
    """How the picture is fitted, where it may change, a LoRA, and the form of the weights."""
    add(
        "--mask",
        metavar="FILE",
        help="a picture, or a video as long as the clip: only what is white may change",
    )
    add("--lora", metavar="NAME", help="a LoRA of ComfyUI's models/loras (default: none)")
    add("--lora-strength", type=float, default=1.0, metavar="X", help="of the LoRA (default: 1)")
    add(
        "--weight-dtype",
        choices=WEIGHT_DTYPES,
        default=WEIGHT_DTYPES[0],
        help="how the model's weights are stored; fp8 takes half of the memory of bf16 (default: "
        "as they are in their file)",
    )
    add(
        "--area",
        type=area,
        metavar="WxH",
        help="working area, WxH or pixels (default: the model's own)",
    )
    add(
        "--fit",
        choices=FITS,
        metavar="FIT",
        help="how the picture is fitted to the model: 'crop to bucket' leaves the sides that stand "
        "out unedited, letterbox, stretch, 'keep size' (default: the workflow's, crop to bucket)",
    )


def add_seed(add: Callable) -> None:
    """The seed."""
    add(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help="the same seed gives the same edit (default: %(default)s)",
    )


def add_edit(commands: argparse._SubParsersAction) -> None:
    """The command `edit`."""
    command = commands.add_parser(
        "edit", allow_abbrev=False, help="edit a clip as an instruction says"
    )
    command.set_defaults(run=edit, after_a_stop=GOES_ON)
    add = command.add_argument
    add("--video", metavar="FILE", help="the clip (default: the pack's own circle and triangle)")
    add(
        "--instruction",
        metavar="TEXT",
        default=DEFAULT_INSTRUCTION,
        help="what to change (default: %(default)s)",
    )
    add(
        "--server",
        metavar="URL",
        help="a running ComfyUI with the pack (default: the one that --keep left, or one is "
        "started)",
    )
    add_keep(add)
    add_sampling(command)
    add_seed(add)
    add("--frames", type=int, metavar="N", help="edit the first N frames (default: all)")
    add_clip_settings(add)
    add(
        "--out",
        metavar="FILE",
        help="the result (default: <clip>_sama_seed<N>.mp4 here; an existing file is kept)",
    )
    add(
        "--picture",
        metavar="FILE",
        help="also write a PNG: five source frames above the same five of the edit",
    )


def add_batch(commands: argparse._SubParsersAction) -> None:
    """The command `batch`."""
    command = commands.add_parser(
        "batch",
        allow_abbrev=False,
        help="edit the clips of a folder or a table, on one or more servers",
        epilog="Started again, it does what is missing. Columns of a table: clip, instruction, "
        "seed, steps, cfg, frames (the first so many), area, fit, lora, lora_strength, "
        "weight_dtype, mask, fps.",
    )
    command.set_defaults(run=batch, after_a_stop=GOES_ON)
    add = command.add_argument
    add("source", metavar="SOURCE", help="a folder of clips, or a CSV or JSONL file with a column "
        "clip; with --spread also one clip")  # fmt: skip
    add("--instruction", metavar="TEXT", help="what to change, where a table does not say it")
    add("--out", metavar="DIR", help="where results go (default: SOURCE's name with _sama)")
    add(
        "--server",
        metavar="URL",
        action="append",
        default=[],
        help="a running ComfyUI with the pack; give it several times for several at once "
        "(default: the one that --keep left, or one is started)",
    )
    add_keep(add)
    add_ray(add)
    add_sampling(command)
    add_seed(add)
    add("--first", dest="frames", type=int, metavar="N", help="edit the first N frames of each")
    add_clip_settings(add)
    add("--fps", metavar="N", help="numbered PNG, TIFF or EXR frames in a folder are a clip, too")
    add(
        "--frames",
        "--frames-out",
        dest="as_frames",
        action="store_true",
        help="write 16-bit PNG frames with the source's names and numbers, no video",
    )
    add_spread(add)
    add("--dry-run", action="store_true", help="say what would be done and how long it would take")


def area(text: str) -> int:
    """Pixels of an area given as `832x480` or as a number; an argument's type."""
    try:
        return area_pixels(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text}, needs WxH such as 832x480, or a number of pixels from 1024 on"
        ) from None
