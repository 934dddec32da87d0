"""Planted motion is found, and an edit that moves otherwise does not follow."""

import math

import pytest
import torch

from sama_core.scores import measure
from sama_core.scores.motion import block_motion, shrink, shrink_factor, travel_gap

from .conftest import panned


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, -4), (5, 2)])
def test_block_motion_finds_a_planted_shift(shift):
    motion = block_motion(panned(3, *shift))
    assert motion.distinct.all() and motion.found[:, 1:-1, 1:-1].all()
    assert (motion.vectors - torch.tensor(shift))[:, 1:-1, 1:-1].abs().max() < 0.3


def test_block_motion_over_several_frames():
    motion = block_motion(panned(4, 2, -1), gap=3)
    assert motion.vectors.shape == (1, 8, 8, 2) and motion.gap == 3
    assert (motion.vectors - torch.tensor([6.0, -3.0]))[:, 1:-1, 1:-1].abs().max() < 0.3


def test_flat_blocks_and_sliding_edges_tell_no_motion():
    stripes = (torch.arange(64) // 8 % 2).float().view(1, 1, 64, 1).expand(2, 64, 64, 3)
    assert not block_motion(stripes).distinct.any()
    assert not block_motion(torch.full((2, 64, 64, 3), 0.5)).distinct.any()


def test_shrunk_pixels_count_as_what_they_are():
    """480 pixels are shrunk 4 times: a shift of 8 pixels is 2 shrunk ones, and reported as 8."""
    assert (shrink_factor(480, 832), shrink_factor(64, 64), shrink_factor(129, 129)) == (4, 1, 2)
    assert shrink(torch.zeros(1, 480, 832, 3)).shape == (1, 120, 208, 3)
    source = panned(2, 8, 0, size=256)
    still = source[:1].expand_as(source)
    found = measure(source, still).motion
    assert shrink_factor(256, 256) == 2
    assert found.pixels == pytest.approx(8.0, abs=0.5)


def test_a_still_edit_of_a_moving_clip_does_not_follow():
    source = panned(4, 3, 4)
    found = measure(source, source[:1].expand_as(source)).motion
    assert found.follow == pytest.approx(0.1, abs=0.02), "|w − v| = 5 = |v|, half a pixel is unsure"
    assert found.pixels == pytest.approx(5.0, abs=0.2)
    assert found.frames[1:].tolist() == pytest.approx([5.0] * 3, abs=0.3)


def test_slow_motion_is_measured_over_more_frames():
    """One pixel a frame: over four frames at a time."""
    source = panned(9, 1, 0)
    assert travel_gap(block_motion(source), 9) == 4
    assert travel_gap(block_motion(source[:3]), 3) == 2
    assert travel_gap(block_motion(panned(9, 0, 0)), 9) == 8
    found = measure(source, source[:1].expand_as(source)).motion
    assert found.follow == pytest.approx(0.125, abs=0.03)
    assert found.pixels == pytest.approx(1.0, abs=0.1)
    assert found.frames.isnan().tolist() == [True] * 4 + [False] * 5


def test_half_the_speed_follows_by_three_quarters():
    """|w − v| = 2, of which half a pixel is unsure; |w| + |v| = 6."""
    found = measure(panned(4, 4, 0), panned(4, 2, 0)).motion
    assert found.follow == pytest.approx(0.75, abs=0.03)
    assert found.pixels == pytest.approx(2.0, abs=0.2)


def test_other_colours_with_the_same_motion_follow():
    assert measure(panned(4, 3, 1), 1 - panned(4, 3, 1) * 0.8).motion.follow > 0.97


def test_nothing_to_follow():
    """Flat frames have no motion to compare; a still picture is followed by a still picture."""
    flat = torch.full((3, 64, 64, 3), 0.5)
    assert math.isnan(measure(flat, flat + 0.1).motion.follow)
    still = panned(3, 0, 0)
    assert measure(still, still * 0.9).motion.follow == 1.0
