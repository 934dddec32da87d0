"""Times the model on this machine: `python -m sama_core.plan.calibrate FOLDER`.

It writes one calibration file into FOLDER. On a graphics card two blocks of SAMA-14B's shape are
timed in bfloat16, with random weights made on the card; the seconds of all forty blocks follow from
the number of operations. On a CPU SAMA-Shapes, the model inside the pack, is timed in float32; that
says nothing about SAMA-14B on this CPU.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from .. import embedded
from ..errors import SamaError
from ..geometry import ClipShape
from ..model.dit import SamaDiT
from ..model.memory_law import TEXT_ROWS, sequence_tokens
from ..version import VERSION
from ..weights.write import whole_file
from .machine import processor
from .request import forward_flops
from .weight_bytes import RELEASED_CONFIG

CARD_CLIPS = (ClipShape(17, 480, 832), ClipShape(33, 480, 832), ClipShape(81, 480, 832))
"""Clips that are timed on a card, smallest first."""
CPU_CLIPS = (
    ClipShape(9, 64, 64),
    ClipShape(17, 64, 64),
    ClipShape(17, 128, 128),
    ClipShape(33, 128, 128),
)
"""Clips that are timed on a CPU, smallest first."""
RUNS = 5
"""Timed calls for each clip, after one that is not counted."""
BLOCKS_ON_CARD = 2
"""Blocks of the model that is timed on a card."""


def calibrate(
    folder: Path,
    clips: Iterable[ClipShape] | None = None,
    runs: int = RUNS,
    say: Callable[[str], None] = print,
) -> Path:
    """Measures, writes a file named after the device, and returns its path.

    `clips` are those to time (default: the ones above), `runs` the calls for each, `say` takes
    lines about the progress. Clips that do not fit into memory are left out; raises SamaError if
    none fits.
    """
    card = torch.cuda.is_available()
    device = torch.device("cuda" if card else "cpu")
    name = torch.cuda.get_device_name(device) if card else processor()
    model, what = _card_model(device) if card else _cpu_model()
    points = _measure(model, clips or (CARD_CLIPS if card else CPU_CLIPS), device, runs, say)
    if not points:
        raise SamaError(
            "Calibration: no clip fitted into the card's memory. "
            "Close what else uses it, and try again."
        )
    calibration = {
        "card": name,
        "kind": "card" if card else "CPU",
        "threads": None if card else torch.get_num_threads(),
        "date": datetime.date.today().isoformat(),
        "versions": {"torch": torch.__version__, "comfyui": _comfyui_version(), "pack": VERSION},
        "model": {"name": what, "width": model.config.dim, "blocks": model.config.num_layers},
        "points": points,
    }
    filename = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return _write(folder / f"{filename}.json", calibration)


def _measure(
    model: SamaDiT,
    clips: Iterable[ClipShape],
    device: torch.device,
    runs: int,
    say: Callable[[str], None],
) -> list[dict]:
    points = []
    for clip in clips:
        size = f"{clip.frames} frames of {clip.width}x{clip.height}"
        try:
            point = _measure_clip(model, clip, device, runs)
        except torch.OutOfMemoryError:
            say(f"{size}: more than this card can hold, left out")
            continue
        points.append(point)
        say(f"{size}: {min(point['seconds']):.3g} to {max(point['seconds']):.3g} s a call")
    return points


def _card_model(device: torch.device) -> tuple[SamaDiT, str]:
    config = dataclasses.replace(RELEASED_CONFIG, num_layers=BLOCKS_ON_CARD)
    model = SamaDiT(config, device=device, dtype=torch.bfloat16)
    generator = torch.Generator(device).manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02, generator=generator)
    return model.eval(), f"{BLOCKS_ON_CARD} blocks of SAMA-14B"


def _cpu_model() -> tuple[SamaDiT, str]:
    from safetensors.torch import load_file

    from ..weights.checkpoint import plan_checkpoint

    heads = plan_checkpoint(embedded.DIT).config.num_heads
    weights = {key: value.float() for key, value in load_file(embedded.DIT).items()}
    return SamaDiT.from_state_dict(weights, heads).eval(), "SAMA-Shapes"


def _measure_clip(model: SamaDiT, clip: ClipShape, device: torch.device, runs: int) -> dict:
    latent, config = clip.latent(), model.config
    dtype = next(model.parameters()).dtype
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    size = (1, config.in_dim, latent.frames, latent.height, latent.width)
    inputs = (
        draw(*size),
        torch.tensor([500.0], device=device),
        draw(1, TEXT_ROWS, config.text_dim),
        draw(*size),
        draw(1, config.semantic_tokens, config.semantic_dim),
    )
    # The first call is not counted: it warms up.
    seconds = [_time_call(model, inputs, device) for _ in range(runs + 1)][1:]
    flops = forward_flops(config, latent)
    return {
        "tokens": sequence_tokens(config, latent),
        "attention_flops": flops.attention,
        "linear_flops": flops.linear,
        "dtype": str(dtype).removeprefix("torch."),
        "seconds": [round(value, 6) for value in seconds],
    }


def _time_call(model: SamaDiT, inputs: tuple, device: torch.device) -> float:
    with torch.inference_mode():
        began = _now(device)
        model(*inputs)
        return _now(device) - began


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _comfyui_version() -> str | None:
    """Known only where this runs inside ComfyUI; the timing itself does not use it."""
    try:
        return importlib.metadata.version("comfyui")
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get("comfyui_version"), "__version__", None)


def _write(path: Path, calibration: dict) -> Path:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(calibration, indent=1) + "\n", encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> None:
    """The command of this module. Exits with the error's text if it fails."""
    parser = argparse.ArgumentParser(
        "python -m sama_core.plan.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where the calibration is written")
    try:
        print(f"Written: {calibrate(parser.parse_args(arguments).folder).name}")
    except SamaError as failed:
        sys.exit(str(failed))


if __name__ == "__main__":
    main()
