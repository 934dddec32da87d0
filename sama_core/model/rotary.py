"""Rotary positions: Wan's 3-D table for video tokens, zero for semantic tokens.

Video tokens at grid position (t, h, w) rotate each pair of query and key channels by an angle;
source and target share the same grid, starting at (0, 0, 0). Of the K/2 pairs of a head,
K/2 − 2·⌊K/6⌋ belong to time, ⌊K/6⌋ to height and ⌊K/6⌋ to width (22, 21, 21 for K = 128).

Semantic tokens are multiplied by zero, not rotated by zero: their queries and keys vanish, so
every semantic query attends uniformly and every semantic key has logit 0. The released weights
were trained so; an identity rotation is a different model (SAMA release, `torch.zeros` factors).
"""

from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10_000.0
"""Base of the rotation rates, as in Wan 2.1."""


class RotaryTable(NamedTuple):
    """Cosine and sine factors, each (N, K/2) float32; both zero for semantic tokens."""

    cos: Tensor
    """(N, K/2) factors of the even channels' own part."""
    sin: Tensor
    """(N, K/2) factors of the other channel of each pair."""

    def rotate(self, x: Tensor) -> Tensor:
        """Rotate adjacent channel pairs of `x` (B, N, heads, K) → the same shape and dtype.

        Computed in float32, or in x's dtype if that is wider.
        """
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        even, odd = exact.unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = self.cos[:, None, :], self.sin[:, None, :]
        return (
            torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
            .flatten(-2)
            .to(x.dtype)
        )


class GridScale(NamedTuple):
    """ComfyUI's RoPE options: position · scale + shift."""

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factor per axis (t, h, w)."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Offset per axis (t, h, w), in token positions."""


UNSCALED = GridScale()
"""Positions as they were trained."""


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Channel pairs of a head of size K given to (time, height, width)."""
    side = head_dim // 6
    return head_dim // 2 - 2 * side, side, side


def _axis_angles(
    length: int, pairs: int, scale: float, shift: float, device: torch.device
) -> Tensor:
    exact = torch.float32 if device.type == "mps" else torch.float64
    positions = torch.arange(length, device=device, dtype=exact) * scale + shift
    rates = THETA ** (-torch.arange(pairs, device=device, dtype=exact) / pairs)
    return torch.outer(positions, rates)


def grid_table(
    grid: tuple[int, int, int], head_dim: int, device: torch.device, options: GridScale = UNSCALED
) -> RotaryTable:
    """Table of a video segment whose token grid is `(frames, height, width)`, in t-h-w order."""
    angles = [
        _axis_angles(length, pairs, scale, shift, device)
        for length, pairs, scale, shift in zip(
            grid, axis_pairs(head_dim), options.scale, options.shift, strict=True
        )
    ]
    return RotaryTable(
        _over_grid([each.cos().float() for each in angles], grid),
        _over_grid([each.sin().float() for each in angles], grid),
    )


def _over_grid(axes: list[Tensor], grid: tuple[int, int, int]) -> Tensor:
    """(T, a), (H, b), (W, c) → (T·H·W, a + b + c)."""
    time, height, width = axes
    return torch.cat(
        [
            time[:, None, None].expand(*grid, -1),
            height[None, :, None].expand(*grid, -1),
            width[None, None, :].expand(*grid, -1),
        ],
        dim=-1,
    ).flatten(0, 2)


def sequence_table(video: RotaryTable, source: bool, semantic_tokens: int) -> RotaryTable:
    """Table of the whole sequence: the video's grid for source and target, zeros between them."""

    def whole(part: Tensor) -> Tensor:
        zero = part.new_zeros(semantic_tokens, part.shape[-1])
        return torch.cat([part, zero, part] if source else [zero, part])

    return RotaryTable(whole(video.cos), whole(video.sin))
