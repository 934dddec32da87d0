"""The object's track: a shift of the picture is measured as that shift, a missing object as lost."""

import pytest
import torch

from sama_core.shapes.gate.evaluate import held_out
from sama_core.shapes.gate.tracking import Track, distances, track_distance, tracked_slot
from sama_core.shapes.world.scene import EMPTY


def test_the_truth_has_no_distance_and_a_shifted_one_its_shift():
    """Object and background are shifted by 3 pixels: over a plain background only the object shows it."""
    batch = held_out("recolour", 0, 0, 12)
    plain = (batch.target_scenes.ground == 0) & (batch.target_scenes.present.sum(1) == 1)
    assert plain.any()
    assert track_distance(batch.target, batch).max() == 0
    shifted = track_distance(torch.roll(batch.target, 3, 3), batch)[plain]
    assert shifted.tolist() == pytest.approx([3.0] * len(shifted), abs=0.05)


def test_a_missing_object_is_lost():
    """The source of `add` has no such object: its distance is the neighbourhood's radius, 2 · 1.3 · 0.17 · 64."""
    batch = held_out("add", 0, 0, 2)
    assert track_distance(batch.source, batch).tolist() == pytest.approx([28.288] * 2, abs=0.01)


def test_what_is_followed():
    """An edit's own object; the one that stays of a `remove`, where one does; any object under a new background."""
    batch = held_out("replace", 0, 0, 8)
    assert tracked_slot(batch).equal(batch.edits.slot)
    batch = held_out("remove", 0, 0, 12)
    alone = ~batch.target_scenes.present.any(1)
    assert alone.any() and not alone.all()
    assert tracked_slot(batch).tolist() == torch.where(alone, EMPTY, 1 - batch.edits.slot).tolist()
    assert track_distance(batch.target, batch).isnan().equal(alone)
    batch = held_out("background", 0, 0, 8)
    assert batch.target_scenes.present[torch.arange(8), tracked_slot(batch)].all()


def test_distance_of_two_tracks():
    """Frames: 5 pixels apart (3, 4); lost, so the radius 9; one in which the truth hardly shows does not count."""
    true = Track(torch.tensor([[10.0, 10.0, 0.1]]), torch.zeros(1, 3, 2))
    found = Track(
        torch.tensor([[9.0, 1.9, 9.0]]), torch.tensor([[[3.0, 4.0], [0.0, 0.0], [50.0, 0.0]]])
    )
    assert distances(found, true, torch.full((1, 3), 9.0)).item() == pytest.approx(7.0)
