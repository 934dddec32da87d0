"""Peak memory of one DiT call's activations, counted tensor by tensor, beside what
`sama_core.model.memory_law` predicts.

    OMP_NUM_THREADS=1 python -m benchmarks.memory_law --json memory_law.json --plot cost.png

Counted on the `meta` device with SAMA-14B's width and two blocks (more blocks hold no more), the
semantic modules and the patch embedding in float32 as in ComfyUI, attention as a fused kernel; and
on this CPU with the embedded model and real attention. `--plot` draws memory and operations against
tokens: points counted, lines from the law.
"""

import argparse
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.dit_step import fuse_attention
from benchmarks.live_bytes import LiveBytes
from benchmarks.random_models import sama_14b
from benchmarks.report import describe_run, save_plot, write_json
from sama_core import embedded
from sama_core.geometry import ClipShape, LatentShape
from sama_core.model.attention import sdpa
from sama_core.model.dit import SamaDiT
from sama_core.model.memory_law import activation_bytes, sequence_tokens
from sama_core.plan.request import forward_flops

WIDE = sama_14b(2)
TEXT = 512
SIZES = ((640, 384), (832, 480), (1280, 720))
FRAMES = (1, 17, 33, 49, 81, 121)
SMALL = ((17, 64, 64), (33, 64, 64), (17, 128, 128), (81, 128, 192))


def measure_peak(
    model: SamaDiT, latent: LatentShape, batch: int, device: str, dtype: torch.dtype
) -> int:
    """Bytes that live at once in one call, its inputs left out."""
    config = model.config

    def make_empty(*shape: int) -> Tensor:
        return torch.empty(batch, *shape, device=device, dtype=dtype)

    video = make_empty(16, latent.frames, latent.height, latent.width)
    arguments = (
        video,
        torch.full((batch,), 500.0, device=device),
        make_empty(TEXT, config.text_dim),
        video,
        make_empty(config.semantic_tokens, config.semantic_dim),
    )
    with torch.no_grad(), LiveBytes() as live:
        model(*arguments)
    return live.peak


def measure_point(
    model: SamaDiT, clip: ClipShape, batch: int, device: str, dtype: torch.dtype
) -> dict:
    """Counted and predicted peak of one call at a clip\'s size."""
    latent = clip.latent()
    counted = measure_peak(model, latent, batch, device, dtype)
    law = activation_bytes(model.config, latent, batch, dtype.itemsize)
    return {
        "model_width": model.config.dim,
        "frames": clip.frames,
        "width": clip.width,
        "height": clip.height,
        "tokens": sequence_tokens(model.config, latent),
        "batch": batch,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device,
        "counted_bytes": counted,
        "law_bytes": law,
        "error": law / counted - 1,
    }


def measure_all() -> list[dict]:
    """All counted points."""
    found = []
    for dtype, batch in ((torch.bfloat16, 1), (torch.bfloat16, 2), (torch.float32, 1)):
        wide = SamaDiT(
            WIDE, device="meta", dtype=dtype, head_dtype=torch.float32, attention=fuse_attention
        )
        found += [
            measure_point(wide, ClipShape(frames, height, width), batch, "meta", dtype)
            for (width, height), frames in product(SIZES, FRAMES)
        ]
    weights = load_file(embedded.DIT)
    small = SamaDiT.from_state_dict(
        {name: value.float() for name, value in weights.items()}, attention=sdpa
    )
    return found + [
        measure_point(small, ClipShape(*clip), 1, "cpu", torch.float32) for clip in SMALL
    ]


def _clip(row: dict) -> str:
    return f"{row['frames']} frames of {row['width']}x{row['height']}"


def plot(rows: list[dict], path: Path) -> None:
    """Memory of activations and operations of one call against tokens, SAMA-14B in bf16."""
    from matplotlib.figure import Figure

    rows = sorted(
        (row for row in rows if row["dtype"] == "bfloat16" and row["batch"] == 1),
        key=lambda row: row["tokens"],
    )
    tokens = [row["tokens"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    memory, work = figure.subplots(1, 2)
    memory.plot(tokens, [row["law_bytes"] / 2**30 for row in rows], label="law", linewidth=1)
    memory.plot(
        tokens, [row["counted_bytes"] / 2**30 for row in rows], "o", label="counted", markersize=3
    )
    memory.set(xlabel="tokens", ylabel="GiB", title="activations of one call, bf16, batch 1")
    memory.legend()
    whole = replace(WIDE, num_layers=40)
    parts = [
        forward_flops(whole, ClipShape(row["frames"], row["height"], row["width"]).latent())
        for row in rows
    ]
    work.stackplot(
        tokens,
        [part.linear / 1e15 for part in parts],
        [part.attention / 1e15 for part in parts],
        labels=["linear layers", "attention"],
        alpha=0.6,
    )
    work.set(xlabel="tokens", ylabel="PFLOP", title="operations of one call, computed")
    work.legend(loc="upper left")
    save_plot(figure, path)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path)
    made.add_argument("--plot", type=Path)
    options = made.parse_args(arguments)
    torch.set_num_threads(1)
    rows = measure_all()
    for row in rows:
        print(
            f"{row['model_width']:5} {_clip(row):26} {row['tokens']:7} tokens  x{row['batch']} "
            f"{row['dtype']:9}"
            f"{row['counted_bytes'] / 2**20:9.1f} MiB  law {row['error']:+.1%}"
        )
    worst = max(rows, key=lambda row: abs(row["error"]))
    print(f"worst: {worst['error']:+.1%}, {_clip(worst)}, width {worst['model_width']}")
    if options.json:
        write_json(options.json, {"ran": describe_run(), "points": rows})
    if options.plot:
        plot(rows, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
