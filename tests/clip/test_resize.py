"""Planes resized by sparse products, beside torch's own bicubic."""

import pytest
import torch
from torch.nn import functional

from sama_core.clip.resize import COLUMNS, PlaneResizer

LARGER = [((48, 83), (108, 187)), ((48, 83), (48, 84)), ((1, 1), (7, 9)), ((130, 200), (131, 900))]
SMALLER = [((48, 83), (36, 50)), ((100, 100), (1, 1)), ((48, 200), (60, 31))]


def resize_as_torch(plane: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    planes = plane.contiguous()[None, None]
    return functional.interpolate(planes, size, mode="bicubic", antialias=True)[0, 0]


@pytest.mark.parametrize(("size", "new_size"), LARGER + SMALLER)
def test_it_is_torchs_own_to_rounding(size, new_size):
    """Values beyond 0…1 too, and one channel of a frame of three."""
    frame = torch.randn(*size, 3, generator=torch.Generator().manual_seed(1))
    resize = PlaneResizer(*size, *new_size)
    for channel in frame.unbind(-1):
        assert (resize(channel) - resize_as_torch(channel, new_size)).abs().max() < 1e-6


def test_a_plane_of_the_right_size_is_passed_on():
    plane = torch.rand(5, 7)
    assert PlaneResizer(5, 7, 5, 7)(plane) is plane


def test_no_whole_matrix_is_held_on_the_way(monkeypatch):
    """That of a side of 8192 pixels would have 256 MB, and was made 128 times."""
    sizes = []
    for name in ("eye", "zeros"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *size, make=make: sizes.append(size) or make(*size))
    PlaneResizer(500, 501, 33, 34)
    assert {size[-1] for size in sizes} == {COLUMNS, 500 % COLUMNS, 501 % COLUMNS}
