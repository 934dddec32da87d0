"""Drawn masks and noise for the tests of regions."""

import torch


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def square(frames: int, height: int, width: int, top: int, left: int, side: int) -> torch.Tensor:
    """A black mask with a white square."""
    mask = torch.zeros(frames, height, width)
    mask[:, top : top + side, left : left + side] = 1
    return mask
