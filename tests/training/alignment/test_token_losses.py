"""Losses of single tokens against values worked out by hand."""

import math

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.training.alignment import token_cosine, token_distance


def test_cosine_of_equal_opposite_and_orthogonal_tokens():
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).view(1, 1, 3, 2)
    student = torch.tensor([[5.0, 0.0], [-2.0, 0.0], [0.0, 3.0]]).view(1, 1, 3, 2)
    assert token_cosine(student, teacher).tolist() == [pytest.approx((0 + 2 + 1) / 3)]


def test_neighbouring_frames_count_by_their_distance():
    """Frames of two orthogonal directions: 0, 1, 0. Student and teacher are alike."""
    frames = torch.eye(2)[[0, 1, 0]].view(1, 3, 1, 2)
    near = math.exp(-1)
    # of 3 own pairs none differ, of 4 neighbouring ones all do
    assert token_cosine(frames, frames).item() == 0
    assert token_cosine(frames, frames, neighbours=1).item() == pytest.approx(
        4 * near / (3 + 4 * near)
    )
    far = math.exp(-2)
    expected = 4 * near / (3 + 4 * near + 2 * far)
    for neighbours in (2, 9):
        found = token_cosine(frames, frames, neighbours=neighbours).item()
        assert found == pytest.approx(expected)


def test_distance_is_the_mean_square():
    student = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert token_distance(student, torch.zeros(1, 1, 2, 2)).tolist() == [(1 + 4 + 9 + 16) / 4]


@pytest.mark.parametrize("loss", [token_cosine, token_distance])
def test_another_width_is_refused(loss):
    with pytest.raises(SamaError, match=r"teacher tokens: got shape \(1, 2, 3, 5\)"):
        loss(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 5))
