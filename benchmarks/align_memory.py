"""What an alignment adds to the memory of a training step, counted, and by the plan's law.

    python -m benchmarks.align_memory --json align_memory.json

As `train_memory`, at SAMA-14B's width and three blocks, of which the second is aligned: the block
behind it goes back while all that the projector keeps is there. Each point is a step with the
alignment less the same step without one. GroupNorm computes in float32, as autocast has it on a
card and not on the CPU.

    counted   projector, teacher's targets, activations
    law       the same from `sama_core/plan/align_law.py`, without headroom
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.random_models import sama_14b
from benchmarks.report import check_folder, describe_run, write_json
from benchmarks.train_memory import count_step, make_settings, request_at
from sama_core.geometry import ClipShape
from sama_core.plan.align_law import FLOAT
from sama_core.plan.train_request import HEADROOM
from sama_core.training.alignment import ARMS, relations
from sama_core.training.memory.plan_align import TeacherFeatures, align_shapes

BLOCKS, ALIGNED = 3, 2
HALF: dict[str, Any] = {"states": "bf16"}
IN_RAM: dict[str, Any] = {**HALF, "activations_in_ram": True}


class Point(NamedTuple):
    """A row of the papers' tables on a clip."""

    method: str
    clip: ClipShape
    features: tuple[int, int]
    """Frames and channels of the teacher's features."""
    table: dict[str, Any]
    cell: int = 16


SHORT, LONG, SARA = ClipShape(17, 480, 832), ClipShape(49, 480, 832), ClipShape(81, 480, 832)
POINTS = (
    Point("sara_changed", SARA, (41, 1408), HALF, 32),
    Point("sara_changed", SARA, (41, 1408), IN_RAM, 32),
    Point("sara_changed", SARA, (41, 1408), {}, 32),
    Point("trd", LONG, (25, 1408), HALF),
    Point("trd", SHORT, (9, 1408), HALF, 8),
    Point("repa", LONG, (49, 1024), HALF),
    Point("sam2videox", LONG, (49, 256), HALF),
    Point("sam2videox", LONG, (49, 256), IN_RAM),
    Point("sam2videox", LONG, (49, 256), {}),
    Point("sam2videox", SHORT, (17, 256), HALF, 8),
    Point("sam2videox_separate", SHORT, (17, 256), HALF),
    Point("mask_supervision", SHORT, (17, 256), HALF),
    Point("videorepa", SHORT, (9, 1408), HALF, 8),
)
"""The two recipes' methods in each kind of states, and others."""


def count_point(point: Point) -> dict:
    """Counted and computed bytes that an alignment adds."""
    align = replace(ARMS[point.method], cell=point.cell, block=ALIGNED)
    step = (point.clip, BLOCKS, point.table)
    with _compute_as_on_a_card():
        aligned = count_step(*step, align=align, features=point.features)
        alone = count_step(*step)
    counted = aligned["counted_bytes"] - alone["counted_bytes"]
    computed = compute_point(point)
    return {
        "method": point.method,
        "frames": point.clip.frames,
        "width": point.clip.width,
        "height": point.clip.height,
        "cell": point.cell,
        **point.table,
        "counted_bytes": counted,
        "law_bytes": computed,
        "share_of_step": round(counted / alone["counted_bytes"], 4),
        "error": round(computed / counted - 1, 4),
    }


def compute_point(point: Point) -> int:
    """The law's bytes, without headroom, and of the weights themselves alone: where blocks behind
    the aligned one go back, the projector has no gradients yet.
    """
    align = replace(ARMS[point.method], cell=point.cell, block=ALIGNED)
    config, settings = sama_14b(BLOCKS), make_settings(point.clip, point.table, align=align)
    shapes = align_shapes(settings, align, config, TeacherFeatures(*point.features))
    request = replace(request_at(point.clip, config, settings, True), align=shapes)
    activations = request.align_activations / HEADROOM
    return round(FLOAT * shapes.weights + request.align_targets + activations)


@contextmanager
def _compute_as_on_a_card() -> Iterator[None]:
    """GroupNorm in float32; and, without values, sums of pairs' weights, and one sample that counts
    towards the alignment.
    """
    real = functional.group_norm

    def in_float(states: Tensor, *args: Any) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return real(states, *args)
        with torch.autocast("cpu", enabled=False):
            return real(states.float(), *args)

    with (
        patch.object(functional, "group_norm", in_float),
        patch.object(relations, "_sums_of_weights", lambda *_: (1.0, 1.0)),
        patch.object(Tensor, "nonzero", lambda _: torch.zeros(1, 1, dtype=torch.long)),
    ):
        yield


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path)
    options = made.parse_args(arguments)
    check_folder("--json", options.json)
    torch.set_num_threads(1)
    points = []
    for point in POINTS:
        points.append(count_point(point))
        found = points[-1]
        print(
            f"{point.method}, {point.clip.frames} frames, cells of {point.cell} {point.table}: "
            f"counted {found['counted_bytes'] / 1e9:.2f} GB, law "
            f"{found['law_bytes'] / 1e9:.2f} GB ({found['error']:+.1%})",
            flush=True,
        )
    if options.json:
        write_json(options.json, {"ran": describe_run("peft", blocks=BLOCKS), "points": points})
    return 0


if __name__ == "__main__":
    sys.exit(main())
