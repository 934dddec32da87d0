"""Approximate attention on SAMA-Shapes: the error of both streams, and the edits' dB.

    python -m benchmarks.attention --json attention.json

Held-out clips (17 frames of 64x64) are edited through ComfyUI's own sampling on the CPU in float32,
with a stand-in for each back end on the model: the kernels themselves run on graphics cards only.
All edit the same clips from the same noise. What is in the file: `benchmarks/attention/__init__.py`
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.attention.back_ends import BackEnd, block_sparse, dense
from benchmarks.comfyui import find, start_here
from benchmarks.report import check_folder, check_least, write_json
from benchmarks.shapes.comfyui_sampling import CFG, FILES, Clips, Sampled, Setting
from benchmarks.shapes.report import describe_models
from sama_core import embedded
from sama_core.errors import SamaError
from sama_core.model.schedule import DEFAULT_SHIFT
from sama_core.scores.fidelity import psnr
from sama_core.shapes.gate import Settings
from sama_core.shapes.gate.clip_scores import from_bytes, is_right, to_bytes
from sama_core.shapes.gate.core_editor import clip_seed
from sama_core.shapes.gate.evaluate import check_plan, held_out_clips
from sama_core.shapes.world import EditBatch

SIGMA = 0.8
"""Where one call is compared: after the steps that ComfyUI's node keeps dense."""
LENGTH, SEMANTIC, WIDTH = 65_585, 65, 128
"""Tokens of 81 frames of 832x480, those of them that are semantic, and a head's size."""


class Edits(NamedTuple):
    """A batch as one back end edits it."""

    sampled: Sampled
    """The whole edit."""
    frames: Tensor
    """(B, F, H, W, 3) in 0..1."""
    call: Sampled
    """One call on the state of the exact edit at SIGMA."""


def edit(clips: Clips, setting: Setting, exact: Edits | None) -> Edits:
    """Edit the batch, and call the model once on the exact edit's state (its own if None)."""
    sampled = clips.sample(setting)
    state = (exact.sampled if exact else sampled).end
    call = clips.sample(setting, torch.tensor([SIGMA, SIGMA - 0.01]), state)
    return Edits(sampled, from_bytes(clips.core.decode(sampled.latents)), call)


def compare(batch: EditBatch, found: Edits, exact: Edits) -> dict[str, list[float]]:
    """The numbers of a batch, clip by clip or one for all."""
    truth = from_bytes(to_bytes(batch.target))
    video, semantic = (
        _distance(mine, theirs)
        for mine, theirs in zip(found.call.first, exact.call.first, strict=True)
    )
    return {
        "video_error": [video],
        "semantic_error": [semantic],
        "end_semantic_error": [_distance(found.sampled.semantic, exact.sampled.semantic)],
        "to_exact_db": psnr(found.frames, exact.frames).tolist(),
        "to_truth_db": psnr(found.frames, truth).tolist(),
        "exact_to_truth_db": psnr(exact.frames, truth).tolist(),
        "accuracy": [float(is_right(batch, row, found.frames[row])) for row in range(len(batch))],
    }


def _distance(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@torch.inference_mode()
def measure_edits(options: argparse.Namespace, back_ends: list[BackEnd]) -> list[dict]:
    """A row for each back end."""
    clips, numbers = Clips(DEFAULT_SHIFT), defaultdict(lambda: defaultdict(list))
    for kind in options.edits:
        batch = held_out_clips(kind, options.seed, 0, options.n)
        clips.prepare(batch, [clip_seed(options.seed, row) for row in range(options.n)])
        exact = edit(clips, Setting("exact", options.steps), None)
        for one in back_ends:
            found = edit(clips, Setting(one.name, options.steps, one.put_on), exact)
            for name, values in compare(batch, found, exact).items():
                numbers[one.name][name] += values
            print(f"{kind}: {one.name}", file=sys.stderr, flush=True)
    return [row(one, numbers[one.name]) for one in back_ends]


def row(back_end: BackEnd, numbers: dict[str, list[float]]) -> dict:
    """What the file has of a back end."""
    return {
        "back_end": back_end.name,
        "block": back_end.block,
        "method": back_end.method,
        "clips": len(numbers["to_exact_db"]),
        **{name: statistics.fmean(values) for name, values in numbers.items()},
        "to_exact_db_worst": min(numbers["to_exact_db"]),
    }


@torch.inference_mode()
def measure_semantic_rows(back_ends: list[BackEnd], seed: int) -> dict[str, float]:
    """Each dense back end's error in the semantic rows, at the length of a full clip.

    Their queries and keys are zero; the other keys and the values are random, around a mean.
    """
    generator = torch.Generator().manual_seed(seed)
    k, v = (
        torch.randn(LENGTH, WIDTH, generator=generator) + torch.randn(WIDTH, generator=generator)
        for _ in range(2)
    )
    start = LENGTH // 2 - SEMANTIC // 2
    k[start : start + SEMANTIC] = 0
    q, k, v = (x[None, None] for x in (torch.zeros(SEMANTIC, WIDTH), k, v))
    mean = v.double().mean(2, keepdim=True).expand(1, 1, SEMANTIC, WIDTH)
    return {one.name: _distance(one.attend(q, k, v).double(), mean) for one in back_ends}


def table(report: dict) -> str:
    """The report in Markdown."""
    head = (
        "| back end | error of one call: video / semantic | edit to exact, dB (worst) "
        "| to truth, dB: this / exact | right |"
    )
    lines = [
        f"| {one['back_end']} | {one['video_error']:.1%} / {one['semantic_error']:.1%} "
        f"| {one['to_exact_db']:.1f} ({one['to_exact_db_worst']:.1f}) "
        f"| {one['to_truth_db']:.1f} / {one['exact_to_truth_db']:.1f} | {one['accuracy']:.0%} |"
        for one in report["back_ends"]
    ]
    rows = [
        f"semantic rows at {LENGTH:,} tokens, {name}: {error:.1e}"
        for name, error in report["semantic_rows"].items()
    ]
    return "\n".join([head, "|---" * 5 + "|", *lines, "", *rows])


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--n", type=int, default=4, help="clips per edit (4)")
    add("--edits", nargs="+", default=["recolour", "remove"], help="kinds (recolour remove)")
    add("--steps", type=int, default=embedded.STEPS, help=f"of an edit ({embedded.STEPS})")
    add("--seed", type=int, default=0, help="decides clips and noise (0)")
    add("--threads", type=int, default=1, help="threads of torch (1)")
    add("--only", default="", help="back ends with this in their name")
    add("--json", type=Path, help="write all numbers here")
    add("--comfyui", help="ComfyUI's folder (found as run.py does)")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict:
    """What is in the file. Raises SamaError for what cannot be measured or stored."""
    check_plan(options.edits, options.n, options.n)
    check_least(options, steps=1, seed=0, threads=1)
    check_folder("--json", options.json)
    torch.set_num_threads(options.threads)
    start_here(find(options.comfyui).folder, cpu=True)
    known = dense()
    chosen = [one for one in (*known, *block_sparse()) if options.only in one.name]
    asked = {"seed": options.seed, "edits": options.edits, "clips_per_edit": options.n}
    sampling = Settings(options.steps, DEFAULT_SHIFT, CFG)
    return {
        "ran": describe_models(FILES, sampling, **asked, sigma=SIGMA, dtype="float32"),
        "back_ends": measure_edits(options, chosen),
        "semantic_rows": measure_semantic_rows(
            [one for one in known if one in chosen], options.seed
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(arguments)
    try:
        report = measure(options)
        if options.json:
            write_json(options.json, report)
    except SamaError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
