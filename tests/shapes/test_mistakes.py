"""What an edit looks like: the nearest candidate by its kind, and the objects in a picture."""

import math

import pytest
import torch

from sama_core.shapes.gate.clip_scores import is_right, to_bytes
from sama_core.shapes.gate.evaluate import held_out_clips
from sama_core.shapes.gate.mistakes import (
    LEAST_AREA,
    MISTAKES,
    EditOutcome,
    count_mistakes,
    count_objects,
    count_parts,
    find_nearest,
    judge_edits,
)
from sama_core.shapes.world import KINDS, render, wrong_scenes
from sama_core.shapes.world.edits import sort_wrong_scenes
from sama_core.shapes.world.scene import EMPTY

from .conftest import one_scene, same

EXPECTED = {
    "recolour": {"colour": 7, "object": 1},
    "add": {"colour": 7, "shape": 5, "place": 4},
    "replace": {"shape": 4, "object": 1},
    "remove": {"colour": 7, "shape": 5, "object": 2},
    "background": {"colour": 7, "ground": 4},
    "style": {"style": 3},
}
"""Kind of edit → kind of mistake → most candidates: those that contrast, and that are no source."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_wrong_edit_is_named_by_what_is_wrong(kind):
    batch = held_out_clips(kind, 0, 0, 6, frames=1)
    for row in range(len(batch)):
        wrong = sort_wrong_scenes(batch.source_scenes[row], batch.edits[row])
        assert same(wrong_scenes(batch.source_scenes[row], batch.edits[row]), batch.wrong(row))
        assert find_nearest(batch, row, batch.target[row]) == "truth"
        assert find_nearest(batch, row, batch.source[row]) == "source"
        for name, scenes in wrong.items():
            assert name in MISTAKES and len(scenes) <= EXPECTED[kind][name]
            assert {find_nearest(batch, row, clip) for clip in render(scenes, 1)} == {name}


def test_add_has_all_its_mistakes():
    """Of 8 shapes' colours those that contrast, all 5 other shapes, all 4 other places."""
    batch = held_out_clips("add", 0, 0, 4, frames=1)
    for row in range(4):
        wrong = sort_wrong_scenes(batch.source_scenes[row], batch.edits[row])
        assert list(wrong) == ["colour", "shape", "place"]
        assert (len(wrong["shape"]), len(wrong["place"])) == (5, 4)


def test_outcomes_of_truth_and_source():
    batch = held_out_clips("add", 0, 0, 6, frames=1)
    for outcome in judge_edits(batch, to_bytes(batch.target)):
        assert outcome.right and outcome.counted == 1.0 and min(outcome.whole, outcome.kept) > 55
    for row, outcome in enumerate(judge_edits(batch, to_bytes(batch.source))):
        assert outcome.nearest == "source" and outcome.counted == 0.0
        assert outcome.right == is_right(batch, row, batch.source[row])
        assert outcome.kept > 55 > outcome.whole


def test_objects_are_counted_in_the_picture():
    """None, one, two apart, two that touch (one part); a ring is one part, its hole included."""
    lone = one_scene("circle")
    slots = torch.tensor([[0, 0]])
    both = lone.replace(shape=slots, radius=torch.full((1, 2), 0.15))
    apart = both.replace(place=torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]))
    touching = both.replace(place=torch.tensor([[[0.4, 0.5], [0.6, 0.5]]]))
    empty = lone.replace(shape=torch.full((1, 2), EMPTY))
    for scene, count in ((empty, 0), (lone, 1), (one_scene("ring"), 1), (apart, 2), (touching, 1)):
        assert count_objects(render(scene, 2), scene).tolist() == [[count, count]]


def test_small_parts_do_not_count():
    """A row of LEAST_AREA pixels, one of a pixel less, and a diagonal, which is connected."""
    masks = torch.zeros(3, 64, 64, dtype=torch.bool)
    masks[0, 3, :LEAST_AREA] = True
    masks[1, 3, : LEAST_AREA - 1] = True
    masks[2] = torch.eye(64, dtype=torch.bool)
    assert count_parts(masks).tolist() == [1, 0, 1]
    masks[0, 9:11, :40] = True
    assert count_parts(masks).tolist() == [2, 0, 1]


def test_shares_of_mistakes_add_up():
    outcomes = [
        EditOutcome(nearest, 1.0, 30.0, math.nan)
        for nearest in ("truth", "truth", "place", "source")
    ]
    shares = count_mistakes(outcomes)
    assert sum(shares.values()) == 1.0
    assert (shares["truth"], shares["place"], shares["source"], shares["colour"]) == (
        0.5,
        0.25,
        0.25,
        0,
    )
