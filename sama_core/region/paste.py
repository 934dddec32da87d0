"""Source and edit of each other: as many frames, of one size, and nothing that is no number.

The edit inside the mask, the source's own pixels outside of it.

The latent cells that a mask over pixels touches.

Wan 2.1's VAE puts 8x8 pixels into a cell; its first latent frame holds one frame, every further one four. A cell with
any mask in it is sampled in full, so that nothing wanted is cut off; the soft edge is made in pixels, by `paste_back`.

The region that an edit changed, found by comparing it with the source.

    d = mean over RGB of |edited − source|, then over (2u + 1)² pixels and 3 frames
    changed where d > m + threshold · s,   m = median(d),  s = 1.4826 · median(|d − m|)

u is 1 pixel at 64x64 and 2 at 832x480. m and s describe what the VAE alone does to every pixel: median and median
absolute deviation are not moved by an edit of less than half the clip (1.4826 makes s a normal deviation: Rousseeuw
and Croux, "Alternatives to the median absolute deviation", 1993). The limit is kept between `FAINTEST` and `PLAINEST`,
so that a perfect codec does not make rounding a change, and an edit of the whole picture still is one. Specks under
2u + 1 pixels are dropped, holes up to 4u pixels filled.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import RegionError, needed
from ..geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR, ClipShape
from .masks import box_blur, dilate, erode, soften


def require_pair(source: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    """Both clips as float32 (F, H, W, 3) on the CPU, the very tensors where they are that already.

    Raises RegionError for other shapes, different counts or sizes, and NaN or infinite pixels.
    """
    source, edited = _clip(source, "source frames"), _clip(edited, "edited frames")
    if len(source) != len(edited):
        raise RegionError(
            needed(
                "edited frames",
                len(edited),
                f"{len(source)}, as many as the source frames",
                "Connect the source and the edit of one clip, both with or both without padding.",
            )
        )
    if source.shape != edited.shape:
        got, want = (f"{clip.shape[2]}x{clip.shape[1]}" for clip in (edited, source))
        raise RegionError(
            needed(
                "edited frames",
                got,
                f"{want}, the source frames' size",
                "Connect both before resizing, or resize both alike.",
            )
        )
    return source, edited


def _clip(frames: Tensor, what: str) -> Tensor:
    if frames.ndim != 4 or frames.shape[-1] < 3 or 0 in frames.shape:
        raise RegionError(
            needed(
                what,
                f"shape {list(frames.shape)}",
                "frames of a clip (frames, height, width, 3)",
                "Connect an IMAGE.",
            )
        )
    frames = frames[..., :3].to("cpu", torch.float32)
    if not torch.isfinite(frames).all():
        raise RegionError(
            needed(
                what,
                "pixels that are no numbers (NaN or infinite)",
                "finite pixels",
                "The model or the VAE failed: try the VAE in bf16 or fp32.",
            )
        )
    return frames


def paste_back(source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """source + mask · (edited − source), for clips (F, H, W, 3) and a fitted mask (F, H, W) → (F, H, W, 3).

    Where the mask is 0 the result is the source bit for bit, where it is 1 the edit bit for bit: they are chosen
    there, not computed. Raises RegionError if the clips are not of one size and length.
    """
    source, edited = require_pair(source, edited)
    weight = mask[..., None]
    blended = torch.where(weight == 1, edited, torch.lerp(source, edited, weight))
    return torch.where(weight == 0, source, blended)


def latent_mask(mask: Tensor) -> Tensor:
    """A mask (F, H, W) over a fitted clip → float32 (1, 1, T, H/8, W/8), 1 in the cells to sample, else 0.

    Raises GeometryError unless F is 4k+1 and the sides are multiples of 16.
    """
    shape = ClipShape(*mask.shape).latent()
    cells = functional.max_pool2d(mask[:, None], SPATIAL_FACTOR)[:, 0]
    rest = cells[1:].unflatten(0, (shape.frames - 1, TEMPORAL_FACTOR)).amax(1)
    return (torch.cat([cells[:1], rest]) > 0).float()[None, None]


DEFAULT_THRESHOLD = 8.0


FAINTEST, PLAINEST = 4 / 255, 32 / 255


_MAD_TO_DEVIATION = 1.4826


def changed_mask(
    source: Tensor,
    edited: Tensor,
    threshold: float = DEFAULT_THRESHOLD,
    grow: int = 0,
    feather: int = 0,
) -> Tensor:
    """Where `edited` differs from `source`, both (F, H, W, 3) → float32 (F, H, W), grown and feathered.

    All 0 if nothing changed. Raises RegionError if the clips are not of one size and length.
    """
    source, edited = require_pair(source, edited)
    unit = max(1, round(min(source.shape[1:3]) / 240))
    difference = _over_time(box_blur((edited - source).abs().mean(-1), unit))
    changed = (difference > change_limit(difference, threshold)).float()
    solid = dilate(erode(changed, unit), unit)
    filled = erode(dilate(solid, 2 * unit), 2 * unit)
    return soften(filled, grow, feather)


def change_limit(difference: Tensor, threshold: float) -> float:
    """The least difference that is a change, see the module's docstring."""
    middle = difference.median()
    spread = _MAD_TO_DEVIATION * (difference - middle).abs().median()
    return float((middle + threshold * spread).clamp(FAINTEST, PLAINEST))


def _over_time(difference: Tensor) -> Tensor:
    """Mean of each frame (F, H, W) and its two neighbours; the first and the last frame are their own."""
    before, after = (
        difference[[0, *range(len(difference) - 1)]],
        difference[[*range(1, len(difference)), -1]],
    )
    return (before + difference + after) / 3
