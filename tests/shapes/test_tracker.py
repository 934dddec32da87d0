"""The toy world's tracker: what it is told, what it remembers, and that it learns."""

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.shapes.tracker import (
    WIDTH,
    Tracker,
    draw_subjects,
    measure_overlap,
    train_tracker,
)


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    torch.manual_seed(0)
    return Tracker()


def test_features_and_masks_on_cells_of_four_pixels(tracker):
    _, clips, masks = draw_subjects(2, 3, 32, seed=0, step=0)
    features, logits = tracker(clips, masks[:, 0])
    assert features.shape == (2, 3, 8, 8, WIDTH) and logits.shape == (2, 3, 8, 8)


def test_a_feature_depends_on_what_was_before_it_alone(tracker):
    _, clips, masks = draw_subjects(2, 4, 32, seed=0, step=0)
    features = tracker(clips, masks[:, 0])[0]
    later = clips.clone()
    later[:, 2:] = 0
    changed = tracker(later, masks[:, 0])[0]
    assert torch.equal(changed[:, :2], features[:, :2])
    assert not torch.equal(changed[:, 2:], features[:, 2:])


def test_both_ways_begin_with_their_own_mask(tracker):
    _, clips, masks = draw_subjects(2, 4, 32, seed=0, step=0)
    both = tracker.track_both_ways(clips, masks[:, 0], masks[:, -1])
    other = tracker.track_both_ways(clips, masks[:, 0], 1 - masks[:, -1])
    assert torch.equal(both["forward"], other["forward"])
    assert not torch.equal(both["backward"], other["backward"])
    turned = tracker.track_both_ways(clips.flip(1), masks[:, -1], masks[:, 0])
    assert torch.equal(turned["forward"].flip(1), both["backward"])


def test_subjects_are_the_upper_objects():
    _, clips, masks = draw_subjects(16, 3, 32, seed=0, step=0)
    assert clips.shape == (16, 3, 32, 32, 3) and masks.shape == (16, 3, 32, 32)
    assert (masks.flatten(1).amax(1) > 0.99).all()
    again = draw_subjects(16, 3, 32, seed=0, step=0)
    assert torch.equal(clips, again[1]) and torch.equal(masks, again[2])
    assert not torch.equal(clips, draw_subjects(16, 3, 32, seed=0, step=1)[1])


def test_it_learns_and_the_same_arguments_give_the_same_tracker():
    losses = []
    one, other = (
        train_tracker(30, 4, 3, 32, report=lambda step, loss, overlap: losses.append(loss))
        for _ in range(2)
    )
    assert losses[: len(losses) // 2] == losses[len(losses) // 2 :]
    assert losses[len(losses) // 2 - 1] < 0.6 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_overlap_by_hand():
    logits = torch.tensor([[[1.0, 1.0, -1.0, -1.0]], [[-1.0] * 4]])
    truth = torch.tensor([[[1.0, 0.0, 1.0, 0.0]], [[0.0] * 4]])
    assert measure_overlap(logits, truth) == pytest.approx((1 / 3 + 0) / 2)


def test_sides_that_four_does_not_divide_are_refused(tracker):
    with pytest.raises(SamaError, match="frames: got 30x32, needs sides that 4 divides"):
        tracker(torch.zeros(1, 2, 32, 30, 3), torch.zeros(1, 32, 30))
