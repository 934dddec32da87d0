"""Where flows of tracker and student point, beside the scene's exact flow: experiment B.

a share, of the object cells that move by a cell of CELL pixels or more; see `compare_flows`
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.shapes.alignment_arms import CELL, EVALUATION_SEED
from benchmarks.shapes.alignment_scores import draw_hidden
from sama_core.shapes.gate.hidden_frames import compare_flows
from sama_core.shapes.scene_features import scene_features
from sama_core.shapes.tracker import Tracker, draw_subjects, measure_overlap
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.world import Movement, Scenes, render
from sama_core.shapes.world.render import coverage
from sama_core.training.alignment import fuse, local_gram_flow
from sama_core.training.alignment.projector import match_frames
from sama_core.training.objective import TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.pretext.operators import CUBE_TAG

TRACKED_CLIPS = 48
"""Clips that a tracker is measured on."""
AGREEMENT_CLIPS = 32
"""Clips on which a student's flow is compared with the exact one."""


@dataclass(frozen=True)
class HiddenClips:
    """Clips with hidden frames as the trainer sees them, and what is true of them."""

    batch: TrainBatch
    flow: Tensor
    """(B, F−1, h, w, window²): the scene's exact one, as the aligner's settings make it."""
    objects: Tensor
    """(B, F−1, h, w) bool: cells that an object fills by half or more."""


def draw_clips(run: ShapesRun, seed: int, count: int) -> HiddenClips:
    """`count` clips of `draw_hidden` for a run whose alignment is a flow."""
    config, encoder, settings = run.config, run.data.encoder, run.trainee.aligner.config
    area = (config.frames, config.height, config.width)
    scenes, hidden = draw_hidden(seed, 0, count, config.movement)
    truth = render(scenes, *area)
    source = truth * ~hidden[..., None, None, None]
    batch = TrainBatch(
        encoder.latents(truth).float(),
        encoder.latents(source).float(),
        encoder.tokens.rows([CUBE_TAG] * count, config.text_length),
        None,
        [],
    )
    features = scene_features(scenes, *area, CELL)[0]
    exact = local_gram_flow(features, settings.window, settings.border)
    return HiddenClips(batch, exact, find_object_cells(scenes, area))


def find_object_cells(scenes: Scenes, area: tuple[int, int, int]) -> Tensor:
    """(B, F−1, h, w) bool: cells that an object fills by half or more."""
    seen = coverage(scenes, *area).amax(1)[:, :-1]
    return functional.avg_pool2d(seen, CELL) >= 0.5


def share_right(flow: Tensor, exact: Tensor, objects: Tensor) -> tuple[float, float]:
    """The share of `compare_flows` over all clips' cells together, and the number of cells."""
    share, cells = compare_flows(flow, exact, objects)
    counted = float(cells.sum())
    return float((share.nan_to_num() * cells).sum()) / counted, counted


@torch.no_grad()
def measure_tracker(tracker: Tracker, movement: Movement, frames: int = 17) -> dict[str, float]:
    """How good a teacher is, on held-out clips of this movement.

    "overlap": of its last mask with the true one. "forward", "backward" and "fused": the share of
    moving object cells where its flow points right.
    """
    size = 64
    scenes, clips, masks = draw_subjects(
        TRACKED_CLIPS, frames, size, EVALUATION_SEED, 0, "test", movement
    )
    both = tracker.track_both_ways(clips, masks[:, 0], masks[:, -1])
    flows = {name: local_gram_flow(features) for name, features in both.items()}
    flows["fused"] = fuse(flows["forward"], flows["backward"])
    exact = local_gram_flow(scene_features(scenes, frames, size, size, CELL)[0])
    objects = find_object_cells(scenes, (frames, size, size))
    last = tracker(clips, masks[:, 0])[1][:, -1]
    truth = functional.avg_pool2d(masks[:, -1], CELL)
    return {
        "overlap": measure_overlap(last, truth),
        **{name: share_right(flow, exact, objects)[0] for name, flow in flows.items()},
    }


def measure_agreement(run: ShapesRun, seed: int) -> dict[str, float] | None:
    """How often the projected flow points where an object's points go.

    On held-out clips with the noise of training; the reference is the scene's exact flow, the same
    for every arm. "share" of "cells". None for an arm without a flow. With separate projectors the
    forward one counts.
    """
    aligner = run.trainee.aligner
    if aligner is None or aligner.config.relation != "flow":
        return None
    clips = draw_clips(run, EVALUATION_SEED + seed, AGREEMENT_CLIPS)
    streams = [stream("agreement", row) for row in range(AGREEMENT_CLIPS)]
    student = project(run, clips.batch, streams).detach()
    share, cells = share_right(find_flow(run, student), clips.flow, clips.objects)
    return {"share": share, "cells": cells}


def find_flow(run: ShapesRun, student: Tensor) -> Tensor:
    """The flow of a projector's output, on as many frames as the clip has."""
    settings = run.trainee.aligner.config
    frames = match_frames(student, run.config.frames)
    return local_gram_flow(frames, settings.window, settings.border)


def project(run: ShapesRun, batch: TrainBatch, streams: list[torch.Generator]) -> Tensor:
    """The first projector's output for a batch, noised from `streams` as in training."""
    taken: list[Tensor] = []
    hook = run.trainee.aligner.projectors[0].register_forward_hook(
        lambda module, given, result: taken.append(result)
    )
    objective = run.objective.alone
    inputs = objective.prepare(batch.target_latents, None, streams)
    objective.predict(run.trainee, inputs, batch.text, batch.source_latents)
    hook.remove()
    return taken[0]
