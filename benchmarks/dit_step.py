"""One transformer block of ours against the reference's: time and peak memory of activations.

    OMP_NUM_THREADS=1 python -m benchmarks.dit_step --json dit_step.json [--official FOLDER]

ours       `DitBlock` as it runs without gradients
plain      the same weights through a plain restatement of the reference: rotary in complex128,
           norms and feed-forward on all tokens at once, modulation written out (official
           `DiTBlock`, `rope_apply`, `RMSNorm`, `modulate`)
official   the official code's own `DiTBlock`, where FOLDER holds a checkout of it

Also measured: the attention alone, with all queries and without the 65 semantic ones, whose result
is the mean of all values (rotary positions make them 0, so they weigh every key alike); and a whole
call of the embedded model within a run, where the text's keys and the source's tokens are computed
once, against the same model with plain blocks.

Measured   seconds of the fastest of several turns, where the variants take turns; peak bytes of the
           tensors that live at once beside weights and input, counted operation by operation
           (`live_bytes.py`)
Counted    the same peaks for SAMA-14B's block at real sizes, on the `meta` device, where attention
           is a fused kernel that holds nothing but its result, as on a GPU

Ratios are of one run.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.live_bytes import LiveBytes
from benchmarks.reference_block import (
    SEMANTIC,
    TEXT,
    block_config,
    draw_inputs,
    official_block,
    random_block,
    run_plainly,
)
from benchmarks.report import describe_run, write_json
from sama_core import embedded
from sama_core.geometry import ClipShape
from sama_core.model.attention import sdpa
from sama_core.model.blocks import DitBlock
from sama_core.model.dit import SamaDiT
from sama_core.model.once_per_run import MEMORY, OncePerRun

# name: width, heads, feed-forward, clip in latent frames and patches
SIZES = {
    "embedded model, 17 frames of 64x64": (256, 2, 1024, (5, 4, 4)),
    "Wan 1.3B's width, 9 frames of 320x192": (1536, 12, 8960, (3, 12, 20)),
    "a narrow model, 33 frames of 832x480": (256, 2, 1024, (9, 30, 52)),
}
REAL = ((33, 480, 832), (49, 480, 832), (81, 480, 832), (81, 720, 1280))
Run = Callable[[], Tensor]


def measure_peak(run: Run) -> int:
    """Most bytes of tensors that live at once while `run` runs."""
    with torch.no_grad(), LiveBytes() as live:
        run()
    return live.peak


def measure_seconds(runs: dict[str, Run], turns: int) -> dict[str, float]:
    """Seconds of each contender's fastest turn, where all take turns."""
    best = dict.fromkeys(runs, float("inf"))
    with torch.no_grad():
        for turn in range(turns + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                if turn:
                    best[name] = min(best[name], time.perf_counter() - started)
    return best


def measure(size: str, turns: int, official: Path | None) -> dict:
    """Time, peak and distance of the contenders at one of SIZES, in float32."""
    torch.manual_seed(0)
    width, heads, hidden, grid = SIZES[size]
    config = block_config(width, heads, hidden)
    block, given = random_block(config), draw_inputs(config, grid)
    runs = {"ours": lambda: block(**given), "plain": lambda: run_plainly(block, **given)}
    theirs = official_block(official, block, config) if official else None
    if theirs:
        runs["official"] = lambda: theirs(**given)
    with torch.no_grad():
        wanted = runs["plain"]()
        distance = {
            name: ((run() - wanted).norm() / wanted.norm()).item() for name, run in runs.items()
        }
    seconds, peaks = (
        measure_seconds(runs, turns),
        {name: measure_peak(run) for name, run in runs.items()},
    )
    return {
        "size": size,
        "tokens": given["x"].shape[1],
        "dtype": "float32",
        "seconds": seconds,
        "peak_bytes": peaks,
        "relative_l2_to_plain": distance,
        "time_ratio": seconds["ours"] / seconds["plain"],
        "peak_ratio": peaks["ours"] / peaks["plain"],
    }


def measure_attention(size: str, turns: int) -> dict:
    """Time of a block's self-attention with and without the semantic queries, in float32."""
    torch.manual_seed(0)
    width, heads, _, grid = SIZES[size]
    start = math.prod(grid)
    end = start + SEMANTIC
    q, k, v = torch.randn(3, 1, 2 * start + SEMANTIC, width)
    q[:, start:end] = k[:, start:end] = 0

    def mean_of_values() -> Tensor:
        out = sdpa(torch.cat([q[:, :start], q[:, end:]], dim=1), k, v, heads)
        mean = v.mean(1, keepdim=True).expand(-1, SEMANTIC, -1)
        return torch.cat([out[:, :start], mean, out[:, start:]], dim=1)

    runs = {"all queries": lambda: sdpa(q, k, v, heads), "mean of values": mean_of_values}
    distance = (
        (mean_of_values() - sdpa(q, k, v, heads)).norm() / sdpa(q, k, v, heads).norm()
    ).item()
    seconds = measure_seconds(runs, turns)
    return {
        "size": size,
        "tokens": q.shape[1],
        "seconds": seconds,
        "relative_l2": distance,
        "time_ratio": seconds["mean of values"] / seconds["all queries"],
    }


def measure_call(turns: int) -> dict:
    """A step of the embedded model on 17 frames of 64x64, with ComfyUI's 512 rows of text."""
    torch.manual_seed(0)
    model = SamaDiT.from_state_dict(
        {name: value.float() for name, value in load_file(embedded.DIT).items()}
    )
    model.requires_grad_(False)
    config, video = model.config, torch.randn(1, 16, 5, 8, 8)
    arguments = (
        video,
        torch.tensor([500.0]),
        torch.randn(1, TEXT, config.text_dim),
        video.flip(-1),
        torch.randn(1, config.semantic_tokens, config.semantic_dim),
    )

    def plain(block: DitBlock):
        return lambda args, _: {
            "img": run_plainly(block, args["img"], args["vec"], args["pe"], args["txt"])
        }

    blocks = {("double_block", index): plain(block) for index, block in enumerate(model.blocks)}
    memory = {MEMORY: OncePerRun(), "uuids": ("positive",)}
    runs = {
        "ours": lambda: model(*arguments, dict(memory))[0],
        "plain": lambda: model(*arguments, {"patches_replace": {"dit": blocks}})[0],
    }
    with torch.no_grad():
        distance = ((runs["ours"]() - runs["plain"]()).norm() / runs["plain"]().norm()).item()
    seconds = measure_seconds(runs, turns)
    return {
        "size": "a call of the embedded model, 17 frames of 64x64",
        "seconds": seconds,
        "relative_l2_to_plain": distance,
        "time_ratio": seconds["ours"] / seconds["plain"],
    }


def fuse_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, transformer_options: dict | None = None
) -> Tensor:
    """Stands for a fused kernel, which holds nothing but its result."""
    return torch.empty_like(q)


def count(frames: int, height: int, width: int, dtype: torch.dtype) -> dict:
    """Peaks of SAMA-14B's block for a real clip, counted on `meta`."""
    config = block_config(5120, 40, 13824)
    block = DitBlock(config, nn, fuse_attention, "meta", dtype).requires_grad_(False)
    given = draw_inputs(config, ClipShape(frames, height, width).latent().grid(), "meta", dtype)
    ours, plain = (
        measure_peak(lambda: block(**given)),
        measure_peak(lambda: run_plainly(block, **given)),
    )
    return {
        "clip": f"{frames} frames of {width}x{height}",
        "tokens": given["x"].shape[1],
        "dtype": str(dtype).removeprefix("torch."),
        "peak_bytes": {"ours": ours, "plain": plain},
        "peak_ratio": ours / plain,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--official", type=Path, help="a checkout of the official SAMA code")
    made.add_argument("--turns", type=int, default=5)
    made.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    made.add_argument("--json", type=Path)
    options = made.parse_args(arguments)
    torch.set_num_threads(1)
    report = {
        "ran": describe_run(turns=options.turns, seed=0),
        "measured": [measure(size, options.turns, options.official) for size in options.sizes],
        "semantic_queries": [measure_attention(size, options.turns) for size in options.sizes],
        "call": measure_call(options.turns),
        "counted": [
            count(*clip, dtype) for dtype in (torch.bfloat16, torch.float32) for clip in REAL
        ],
    }
    for row in report["measured"]:
        print(
            f"{row['size']:42} {row['tokens']:6} tokens  time {row['time_ratio']:.2f}  "
            f"peak {row['peak_ratio']:.2f}"
        )
    for row in report["semantic_queries"]:
        print(
            f"{row['size']:42} {row['tokens']:6} tokens  attention without semantic queries "
            f"{row['time_ratio']:.2f}"
        )
    print(f"{report['call']['size']:56} time {report['call']['time_ratio']:.2f}")
    for row in report["counted"]:
        print(
            f"{row['clip']:26} {row['dtype']:9} {row['peak_bytes']['ours'] / 2**30:6.2f} GiB of "
            f"{row['peak_bytes']['plain'] / 2**30:6.2f}  peak {row['peak_ratio']:.2f}"
        )
    if options.json:
        write_json(options.json, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
