"""Options of the commands that edit: `edit`, and those that others share with it."""

import argparse

from ..released_files import OWN_CFG, OWN_STEPS, SAMA_14B, SAMA_SHAPES
from .commands.edit import DEFAULT_INSTRUCTION, DEFAULT_SEED, FITS, area_pixels, edit


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


def add_edit(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "edit", allow_abbrev=False, help="edit a clip as an instruction says"
    )
    command.set_defaults(run=edit)
    add = command.add_argument
    add("--video", metavar="FILE", help="the clip (default: the pack's own circle and triangle)")
    add(
        "--instruction",
        metavar="TEXT",
        default=DEFAULT_INSTRUCTION,
        help="what to change (default: %(default)s)",
    )
    add("--server", metavar="URL", help="a running ComfyUI with the pack (default: one is started)")
    add_sampling(command)
    add(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        metavar="N",
        help="the same seed gives the same edit (default: %(default)s)",
    )
    add("--lora", metavar="NAME", help="a LoRA of ComfyUI's models/loras (default: none)")
    add("--lora-strength", type=float, default=1.0, metavar="X", help="of the LoRA (default: 1)")
    add("--frames", type=int, metavar="N", help="edit the first N frames (default: all)")
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


def area(text: str) -> int:
    try:
        return area_pixels(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text}, needs WxH such as 832x480, or a number of pixels from 1024 on"
        ) from None
