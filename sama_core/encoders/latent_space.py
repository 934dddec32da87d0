"""From frames to the latents of the DiT and back: Wan's normalisation, and the VAE in tiles.

The DiT's latents are (z − mean) / deviation per channel, with constants of Wan 2.1.

Large frames go through the VAE in overlapping tiles, as in the SAMA release. Sizes and strides are
in latent units. Tiles start at 0, stride, 2·stride, …; a start is skipped if the tile before it
already reaches the end. A tile's weight is the smaller of its row ramp and its column ramp,
(i + 1) / border on inner edges; the result is the weighted mean.
Source: release `wan_video_vae.py` (`tiled_encode`, `tiled_decode`, `build_mask`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry import WAN_21, Lattice
from .vae import WanVae
from .vae_layout import WAN_MEAN, WAN_STD


class LatentSpace:
    """A VAE with Wan 2.1's normalisation, on the VAE's device; the VAE keeps its own dtype."""

    lattice = WAN_21
    """How this VAE and the patches of its DiT divide a clip."""

    def __init__(self, vae: WanVae):
        """`vae` is neither moved nor changed; call its `skip_idle` first for speed."""
        self.vae, weight = vae, next(vae.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.mean, self.deviation = (
            torch.tensor(values, device=self.device).view(-1, 1, 1, 1)
            for values in (WAN_MEAN, WAN_STD)
        )

    def encode(self, clips: Tensor) -> Tensor:
        """(B, F, H, W, 3) in 0..1 → normalised (B, 16, T, H/8, W/8) float32."""
        signed = (clips.movedim(-1, 1) * 2 - 1).to(self.device, self.dtype)
        return (self.vae.encode(signed).float() - self.mean) / self.deviation

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised (B, 16, T, H/8, W/8) → (B, F, H, W, 3) in about 0..1, not clamped."""
        raw = (latents * self.deviation + self.mean).to(self.dtype)
        return self.vae.decode(raw).movedim(1, -1) / 2 + 0.5


class Tiles(NamedTuple):
    """How a latent is cut into tiles."""

    size: tuple[int, int] = (30, 52)
    """Height and width in latent units."""
    stride: tuple[int, int] = (15, 26)
    """Distance of tile starts in latent units, (height, width)."""


def _starts(length: int, size: int, stride: int) -> Iterator[int]:
    for start in range(0, length, stride):
        if start == 0 or start - stride + size < length:
            yield start


def tile_boxes(height: int, width: int, tiles: Tiles) -> list[tuple[int, int, int, int]]:
    """`(top, bottom, left, right)` of a latent's tiles, row by row; ends may exceed the latent."""
    return [
        (top, top + tiles.size[0], left, left + tiles.size[1])
        for top in _starts(height, tiles.size[0], tiles.stride[0])
        for left in _starts(width, tiles.size[1], tiles.stride[1])
    ]


def _ramp(length: int, first: bool, last: bool, border: int) -> Tensor:
    """(length,) weights: 1, but rising and falling over `border` values at inner edges."""
    weight = torch.ones(length)
    rise = (torch.arange(border) + 1) / border
    if not first:
        weight[:border] = rise
    if not last:
        weight[length - border :] = rise.flip(0)
    return weight


def blend_tiles(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    tiles: Tiles,
    encode: bool,
    lattice: Lattice = WAN_21,
) -> Tensor:
    """Apply `fn` to tiles of `x` and blend the results.

    With `encode`, x (B, 3, F, H, W) holds pixels and `fn` gives latents; otherwise x
    (B, C, T, H/8, W/8) holds latents and `fn` gives pixels. `tiles` counts latent units in both;
    `lattice` says how many pixels that is.
    """
    factor_in, factor_out = (lattice.spatial, 1) if encode else (1, lattice.spatial)
    latent_height, latent_width = x.shape[3] // factor_in, x.shape[4] // factor_in
    borders = [
        (size - stride) * factor_out for size, stride in zip(tiles.size, tiles.stride, strict=True)
    ]
    values: Tensor | None = None
    weights: Tensor | None = None
    for top, bottom, left, right in tile_boxes(latent_height, latent_width, tiles):
        part = fn(
            x[..., top * factor_in : bottom * factor_in, left * factor_in : right * factor_in]
        )
        rows = _ramp(part.shape[3], top == 0, bottom >= latent_height, borders[0])
        columns = _ramp(part.shape[4], left == 0, right >= latent_width, borders[1])
        mask = torch.minimum(rows[:, None], columns[None, :]).to(part)
        if values is None or weights is None:
            size = (latent_height * factor_out, latent_width * factor_out)
            values = part.new_zeros(*part.shape[:3], *size)
            weights = part.new_zeros(*size)
        window = (
            ...,
            slice(top * factor_out, top * factor_out + part.shape[3]),
            slice(left * factor_out, left * factor_out + part.shape[4]),
        )
        values[window] += part * mask
        weights[window] += mask
    assert values is not None and weights is not None, "a latent has at least one tile"
    return values / weights
