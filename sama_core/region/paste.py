"""A source and its edit: where they differ, and pasting the edit back into the source.

Both clips have the same number of frames and the same size (`require_pair`). `paste_back` takes the
edit inside a mask and keeps the source's own pixels outside; `latent_mask` says which latent cells
such a mask touches; `changed_mask` finds the region that an edit changed:

    d = mean over RGB of |edited − source|, then over (2u + 1)² pixels and 3 frames
    changed where d > m + threshold · s,   m = median(d),  s = 1.4826 · median(|d − m|)

u is 1 pixel at 64x64 and 2 at 832x480. m and s describe what the VAE alone does to every pixel: the
median and the median absolute deviation hardly move when less than half of the clip is edited
(1.4826 makes s a standard deviation for normal noise: Rousseeuw and Croux, "Alternatives to the
median absolute deviation", 1993). The limit is kept between `FAINTEST` and `PLAINEST`, so that with
a perfect codec rounding is not a change, and an edit of the whole picture still is one. Specks
smaller than 2u + 1 pixels are removed, holes of up to 4u pixels are filled.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import RegionError, needed
from ..geometry import WAN_21, ClipShape, Lattice
from .masks import box_blur, dilate, erode, soften

DEFAULT_THRESHOLD = 8.0
"""A change must be this many times as strong as the VAE's noise."""
FAINTEST, PLAINEST = 4 / 255, 32 / 255
"""The least and the greatest limit above which a difference is a change."""
_MAD_TO_DEVIATION = 1.4826


def require_pair(source: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    """Both clips as float32 (F, H, W, 3) on the CPU; tensors of that form are not copied.

    Alpha is dropped. Raises RegionError for other shapes, different counts or sizes, and NaN or
    infinite pixels.
    """
    source, edited = _check_clip(source, "source frames"), _check_clip(edited, "edited frames")
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


def _check_clip(frames: Tensor, what: str) -> Tensor:
    """Frames (F, H, W, 3 or more) as float32 (F, H, W, 3) on the CPU."""
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
    """source + mask · (edited − source): clips (F, H, W, 3), fitted mask (F, H, W) → (F, H, W, 3).

    Where the mask is 0 the result is the source bit for bit, where it is 1 the edit bit for bit:
    those pixels are chosen, not computed. Raises RegionError as `require_pair`.
    """
    source, edited = require_pair(source, edited)
    weight = mask[..., None]
    blended = torch.where(weight == 1, edited, torch.lerp(source, edited, weight))
    return torch.where(weight == 0, source, blended)


def latent_mask(mask: Tensor, lattice: Lattice = WAN_21) -> Tensor:
    """A mask (F, H, W) over a fitted clip → float32 (1, 1, T, H/8, W/8): 1 in cells to sample.

    Wan 2.1's VAE puts 8x8 pixels into a cell; its first latent frame holds one frame, every further
    one four. A cell that the mask touches at all is sampled in full, so that nothing wanted is cut
    off; `paste_back` makes the soft edge, in pixels. Another `lattice` has other factors. Raises
    GeometryError unless F is 4k+1 and the sides are multiples of 16 (of Wan 2.1).
    """
    frames, height, width = mask.shape
    shape = ClipShape(frames, height, width, lattice).latent()
    cells = functional.max_pool2d(mask[:, None], lattice.spatial)[:, 0]
    rest = cells[1:].unflatten(0, (shape.frames - 1, lattice.temporal)).amax(1)
    return (torch.cat([cells[:1], rest]) > 0).float()[None, None]


def changed_mask(
    source: Tensor,
    edited: Tensor,
    threshold: float = DEFAULT_THRESHOLD,
    grow: int = 0,
    feather: int = 0,
) -> Tensor:
    """Where `edited` differs from `source`, both (F, H, W, 3) → float32 (F, H, W) in 0…1.

    The region is grown and feathered by so many pixels; all 0 if nothing changed. Raises
    RegionError as `require_pair`.
    """
    source, edited = require_pair(source, edited)
    unit = max(1, round(min(source.shape[1:3]) / 240))
    difference = _average_over_time(box_blur((edited - source).abs().mean(-1), unit))
    changed = (difference > change_limit(difference, threshold)).float()
    solid = dilate(erode(changed, unit), unit)
    filled = erode(dilate(solid, 2 * unit), 2 * unit)
    return soften(filled, grow, feather)


def change_limit(difference: Tensor, threshold: float) -> float:
    """The difference above which a pixel is changed; the formula is in the module's docstring."""
    middle = difference.median()
    spread = _MAD_TO_DEVIATION * (difference - middle).abs().median()
    return float((middle + threshold * spread).clamp(FAINTEST, PLAINEST))


def _average_over_time(difference: Tensor) -> Tensor:
    """Mean of each frame (F, H, W) and its two neighbours.

    The first and the last frame stand for the neighbour they lack.
    """
    before, after = (
        difference[[0, *range(len(difference) - 1)]],
        difference[[*range(1, len(difference)), -1]],
    )
    return (before + difference + after) / 3
