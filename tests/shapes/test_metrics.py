"""Choosing the nearest clip, 8-bit frames and intervals, with literal expectations."""

import math

import pytest
import torch

from sama_core.shapes.gate.clip_scores import from_bytes, nearest, saved_bytes, to_bytes, wilson


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
