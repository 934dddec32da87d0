"""Held-out clips of an object that becomes a drawing, and which drawing the last frame shows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.shapes.anchor_drawings import held_out_drawings
from sama_core.shapes.gate.clip_scores import nearest, remove_object
from sama_core.shapes.gate.evaluate import FRAMES, SIDE
from sama_core.shapes.world import EditSampler, generator_for, join, render
from sama_core.shapes.world.drawings import render_drawn
from sama_core.shapes.world.scene import REACH, Scenes, centres, sizes
from sama_core.shapes.world.wordings import drawn_instructions

FIRST_STEP = 70_000_000
"""The sampler's step of the first clip: none of the gate's."""


@dataclass(frozen=True)
class AnchorClips:
    """B clips of an object that becomes a drawing."""

    source: Tensor
    """(B, F, H, W, 3) in 0..1"""
    target: Tensor
    """The same with the drawing."""
    last: Tensor
    """(B, 10, H, W, 3): the last frame with each of the ten drawings."""
    empty: Tensor
    """(B, H, W, 3): the last frame without the object."""
    near: Tensor
    """(B, H, W) bool: the object's true place in the last frame."""
    drawing: list[int]
    """The number of each clip's own drawing."""
    words: list[str]
    """The instructions."""


def anchor_clips(seed: int, first: int, count: int) -> AnchorClips:
    """Clips `first` … `first + count − 1`; a clip does not depend on its batch."""
    drawings = torch.stack(list(held_out_drawings().values()))
    sampler = EditSampler(seed, "test", ["replace"], FRAMES, SIDE, SIDE)
    steps = [FIRST_STEP + first + row for row in range(count)]
    plans = [sampler.plan(step, 1) for step in steps]
    scenes, edits = join(plan[0] for plan in plans), join(plan[1] for plan in plans)
    words = [
        drawn_instructions(scene, edit, "test", generator_for(seed + 1, "test", step))[0]
        for (scene, edit, _), step in zip(plans, steps, strict=True)
    ]
    own = [(first + row) % len(drawings) for row in range(count)]
    size = (FRAMES, SIDE, SIDE)
    return AnchorClips(
        render(scenes, *size),
        render_drawn(scenes, edits.slot, drawings[own], *size),
        torch.stack([_last_frames(scenes[row], edits.slot[row], drawings) for row in range(count)]),
        render(remove_object(scenes, edits.slot), *size)[:, -1],
        _find_place(scenes, edits.slot),
        own,
        words,
    )


def _last_frames(scene: Scenes, slot: Tensor, drawings: Tensor) -> Tensor:
    """(10, H, W, 3): the last frame of one scene with each drawing."""
    count = len(drawings)
    many, slots = scene.repeat(count), slot.expand(count)
    return render_drawn(many, slots, drawings, FRAMES, SIDE, SIDE)[:, -1]


def _find_place(scenes: Scenes, slot: Tensor) -> Tensor:
    """(B, H, W) bool: a drawing's square, and no more than its corners, in the last frame."""
    rows, line = torch.arange(len(slot)), torch.arange(SIDE) + 0.5
    centre = centres(scenes, FRAMES, SIDE, SIDE)[rows, slot, -1] * SIDE
    radius = REACH * sizes(scenes, FRAMES)[rows, slot, -1] * SIDE
    across, down = (line - centre[:, axis, None] for axis in (0, 1))
    return across[:, None].square() + down[..., None].square() <= radius.view(-1, 1, 1).square()


def judge(clips: AnchorClips, row: int, frames: Tensor) -> dict[str, bool]:
    """What the last of `frames` (F, H, W, 3) shows at the object's place.

    of_ten       nearest, in pixels, to the own drawing of the ten
    and_source   the same among the ten and the source
    most_like    of the ten, the own drawing has the greatest cosine with it: what each changes of
                 the frame without the object, so that a faint drawing counts as a strong one
    """
    near, own = clips.near[row][None, ..., None], clips.drawing[row]
    candidates = torch.cat([clips.last[row], clips.source[row, -1:]])[:, None] * near
    found, empty = frames[-1:] * near, clips.empty[row][None] * near
    likeness = torch.cosine_similarity(
        (candidates[:-1, 0] - empty).flatten(1), (found - empty).flatten(1)
    )
    return {
        "of_ten": nearest(found, candidates[:-1]) == own,
        "and_source": nearest(found, candidates) == own,
        "most_like": int(likeness.argmax()) == own,
    }
