"""Can a flow be learned at all? A few clips of experiment B, by heart, with the alignment alone.

    OMP_NUM_THREADS=1 python -m benchmarks.shapes.alignment_overfit --json overfit.json

The teacher is the scene's exact flow; the embedded model and the projector are free. If the share
of moving object cells that point right stays at 0, the alignment is broken; if it rises, a run that
ends at 0 was too short.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.report import check_folder, check_least, describe_run, finish_measuring
from benchmarks.shapes.alignment_arms import EXPERIMENTS
from benchmarks.shapes.alignment_run import Plan, make_config
from benchmarks.shapes.flow_agreement import draw_clips, find_flow, project, share_right
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.training.objectives.noising import stream

CLIPS_SEED = 5000
"""Of the clips; no run of an experiment has them."""
NOISES = 4
"""Draws of noise and timestep that are repeated."""
RATE, PROJECTOR_RATE = 3e-4, 1e-3


def measure(options: argparse.Namespace) -> dict:
    """Train for `options.steps` steps on `options.clips` clips; divergence and share on the way.

    Raises SamaError for a number that is too small, RuntimeSetupError for a missing folder.
    """
    check_folder("--json", options.json)
    check_least(options, clips=1, steps=1, every=1)
    with tempfile.TemporaryDirectory() as work:
        run = open_run(Path(work), options.clips)
        rows = learn(run, options.clips, options.steps, options.every)
    return {"ran": describe_run(clips=options.clips, clips_seed=CLIPS_SEED), "rows": rows}


def open_run(work: Path, clips: int) -> ShapesRun:
    """The embedded model with the projector of experiment B's fused flow, taught by the scene."""
    align = replace(EXPERIMENTS["B"].arms["lgf_fusion"], teacher="scene", fusion="forward")
    config = make_config("B", "lgf_fusion", 0, Plan(work, changes={"clip_pairs": clips}))
    return ShapesRun.of(replace(config, align=align))


def learn(run: ShapesRun, count: int, steps: int, every: int) -> list[dict]:
    """The alignment's loss and the share of cells that point right, every `every` steps."""
    aligner, clips = run.trainee.aligner, draw_clips(run, CLIPS_SEED, count)
    free = [weight for weight in run.trainee.dit.parameters() if weight.requires_grad]
    projectors = list(aligner.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": free, "lr": RATE}, {"params": projectors, "lr": PROJECTOR_RATE}],
        weight_decay=0.0,
    )
    run.trainee.train()
    rows = []
    for step in range(steps):
        streams = [stream("overfit", step % NOISES, row) for row in range(count)]
        student = project(run, clips.batch, streams)
        loss = aligner.losses({"flow": clips.flow}, torch.full((count,), 0.5)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*free, *projectors], 1.0)
        optimizer.step()
        if step % every == 0 or step == steps - 1:
            flow = find_flow(run, student.detach())
            share, cells = share_right(flow, clips.flow, clips.objects)
            row = {"step": step, "divergence": loss.item(), "share": share, "cells": cells}
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--clips", type=int, default=8, help="clips to learn; 8")
    made.add_argument("--steps", type=int, default=300, help="optimizer steps; 300")
    made.add_argument("--every", type=int, default=50, help="steps between two rows; 50")
    made.add_argument("--json", type=Path, help="write the report here too")
    options = made.parse_args(arguments)
    return finish_measuring(lambda: measure(options), options.json)


if __name__ == "__main__":
    sys.exit(main())
