"""Clips with planted motion for the tests of scores."""

import torch
from torch.nn import functional


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(height, width, 3) of smooth blobs, a few pixels wide."""
    coarse = torch.rand(
        1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed)
    )
    return (
        functional.interpolate(coarse, (height, width), mode="bicubic")
        .clamp(0, 1)[0]
        .movedim(0, -1)
    )


def panned(frames: int, x: int, y: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    """(frames, size, size, 3): a picture whose content moves by (x, y) pixels a frame."""
    picture, middle = texture(4 * size, 4 * size, seed), 3 * size // 2
    corners = [(middle - y * t, middle - x * t) for t in range(frames)]
    return torch.stack([picture[top : top + size, left : left + size] for top, left in corners])


def half_mask(frames: int, size: int = 64) -> torch.Tensor:
    """White on the left half."""
    mask = torch.zeros(frames, size, size)
    mask[:, :, : size // 2] = 1
    return mask
