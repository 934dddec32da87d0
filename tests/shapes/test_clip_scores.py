"""Scores of a clip: nearest clips, regions, bytes and intervals, and the object's track."""

import math

import pytest
import torch

from sama_core.shapes.gate.clip_scores import (
    Track,
    from_bytes,
    is_right,
    nearest,
    regions,
    saved_bytes,
    score_batch,
    to_bytes,
    track_distance,
    track_distances,
    tracked_slot,
    wilson,
)
from sama_core.shapes.gate.evaluate import held_out_clips
from sama_core.shapes.world import KINDS, render
from sama_core.shapes.world.scene import EMPTY


@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_of_truth_source_and_wrong_edits(kind):
    """The truth is right; the source and every wrong edit are not."""
    batch = held_out_clips(kind, 0, 0, 2)
    for row in range(2):
        assert is_right(batch, row, batch.target[row])
        assert not is_right(batch, row, batch.source[row])
        assert not any(is_right(batch, row, wrong) for wrong in render(batch.wrong(row)))


def test_scores_of_a_perfect_and_an_idle_editor():
    """The truth reaches the limit of 8-bit rounding; the source has the numbers of the copy."""
    batch = held_out_clips("recolour", 0, 0, 2)
    truth, source = to_bytes(batch.target), to_bytes(batch.source)
    for scores in score_batch(batch, truth, truth):
        assert scores.right and scores.output == scores.ceiling and scores.track < 0.05
        assert min(scores.output.values()) > 55
    for scores in score_batch(batch, source, truth):
        assert not scores.right and scores.output == scores.copy
        assert scores.copy["edit"] < scores.copy["whole"] < scores.copy["kept"]


def test_regions_part_the_clip_and_a_style_keeps_nothing():
    batch = held_out_clips("remove", 0, 0, 2)
    areas = regions(batch)
    assert (areas["edit"] ^ areas["kept"]).all() and areas["edit"].any() and areas["whole"].all()
    outside = areas["kept"][..., None] & ((batch.source - batch.target).abs() > 0.01)
    assert not outside.any()
    assert regions(held_out_clips("style", 0, 0, 2))["edit"].all()


def test_nearest_is_by_mean_squared_error():
    clip = torch.full((1, 1, 1, 3), 0.4)
    assert (
        nearest(clip, torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1, 1).expand(3, 1, 1, 1, 3)) == 1
    )


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (180, 200, 0.85059, 0.93433),
        (1, 1, 0.20654, 1.0),
    ],
)
def test_wilson_interval(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-5)


def test_bytes_are_rounded_in_and_truncated_out():
    frames = torch.tensor([-0.1, 0.5 / 255, 0.7 / 255, 1.0, 1.2])
    assert to_bytes(frames).tolist() == [0, 0, 1, 255, 255]
    assert saved_bytes(frames).tolist() == [0, 0, 0, 255, 255]
    assert math.isclose(from_bytes(torch.tensor(51, dtype=torch.uint8)).item(), 0.2, rel_tol=1e-6)


def test_the_truth_has_no_distance_and_a_shifted_one_its_shift():
    """All is shifted by 3 pixels: over a plain background only the object shows it."""
    batch = held_out_clips("recolour", 0, 0, 12)
    plain = (batch.target_scenes.ground == 0) & (batch.target_scenes.present.sum(1) == 1)
    assert plain.any()
    assert track_distance(batch.target, batch).max() == 0
    shifted = track_distance(torch.roll(batch.target, 3, 3), batch)[plain]
    assert shifted.tolist() == pytest.approx([3.0] * len(shifted), abs=0.05)


def test_a_missing_object_is_lost():
    """The source of `add` has no such object: its distance is the radius, 2 · 1.3 · 0.17 · 64."""
    batch = held_out_clips("add", 0, 0, 2)
    assert track_distance(batch.source, batch).tolist() == pytest.approx([28.288] * 2, abs=0.01)


def test_what_is_followed():
    """The edited object; after `remove` the one that stays; any under a new background."""
    batch = held_out_clips("replace", 0, 0, 8)
    assert tracked_slot(batch).equal(batch.edits.slot)
    batch = held_out_clips("remove", 0, 0, 12)
    alone = ~batch.target_scenes.present.any(1)
    assert alone.any() and not alone.all()
    assert tracked_slot(batch).tolist() == torch.where(alone, EMPTY, 1 - batch.edits.slot).tolist()
    assert track_distance(batch.target, batch).isnan().equal(alone)
    batch = held_out_clips("background", 0, 0, 8)
    assert batch.target_scenes.present[torch.arange(8), tracked_slot(batch)].all()


def test_distance_of_two_tracks():
    """Frames: 5 pixels apart (3, 4); lost, so the radius 9; hardly visible, so not counted."""
    true = Track(torch.tensor([[10.0, 10.0, 0.1]]), torch.zeros(1, 3, 2))
    found = Track(
        torch.tensor([[9.0, 1.9, 9.0]]), torch.tensor([[[3.0, 4.0], [0.0, 0.0], [50.0, 0.0]]])
    )
    assert track_distances(found, true, torch.full((1, 3), 9.0)).item() == pytest.approx(7.0)
