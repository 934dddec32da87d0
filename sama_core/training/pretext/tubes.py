"""Tube shuffle: space-time blocks ("tubes") change places, and the model restores their order.

A tube only moves to a place of its own shape. That is a trap for clips of 4k+1 frames: 49 frames split 25/24, so
the two halves never trade places and nothing moves across the middle of the clip. `keep_last_frame` leaves the
last frame where it is and splits the even rest, 24/24. It is on by default. Odd heights and widths set the same
trap in space; sizes that the VAE takes are even.

Unverified: that the authors set it. The released default is off, and 4 x 4 x 4.
Source: SAMA §3.3 and App. C (2 x 2 x 2 tubes, random permutation); release `SwapFourBlocks`.
"""

from itertools import accumulate, pairwise, product

import torch
from torch import Generator, Tensor

from .clips import each_clip

TAG = "[Restore the correct spatio-temporal order of the video segments.]"
SPLITS = (2, 2, 2)

Tube = tuple[slice, slice, slice]
"""Where a tube lies: frames, rows, columns."""


def tube_shuffle(
    frames: Tensor,
    generator: Generator,
    splits: tuple[int, int, int] = SPLITS,
    keep_last_frame: bool = True,
) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C) with their tubes in random order; the same shape.

    All orders are equally likely, so one in 8! leaves 2 x 2 x 2 equal tubes in place. An axis shorter than its
    number of splits leaves the clip as it is, without a draw: images are never shuffled.
    """

    def perturb(clip: Tensor) -> Tensor:
        tubes = tubes_of(tuple(clip.shape[:3]), splits, keep_last_frame)
        return moved(clip, tubes, shuffled(tubes, generator))

    return each_clip(frames, perturb)


def tubes_of(
    size: tuple[int, int, int], splits: tuple[int, int, int] = SPLITS, keep_last_frame: bool = True
) -> list[Tube]:
    """The tubes of a clip of `size` (F, H, W), frames outermost; empty where an axis is shorter than its splits."""
    frames, height, width = size
    if keep_last_frame and frames > 1:
        frames -= 1
    axes = list(zip((frames, height, width), splits, strict=True))
    if any(length < parts for length, parts in axes):
        return []
    return list(product(*(_split(length, parts) for length, parts in axes)))


def shuffled(tubes: list[Tube], generator: Generator) -> list[int]:
    """For each place the tube that goes there; one draw per group of two or more tubes of one shape."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, tube in enumerate(tubes):
        groups.setdefault(tuple(part.stop - part.start for part in tube), []).append(index)
    order = list(range(len(tubes)))
    for places in groups.values():
        if len(places) > 1:
            drawn = torch.randperm(len(places), generator=generator).tolist()
            for place, index in zip(places, drawn, strict=True):
                order[place] = places[index]
    return order


def moved(clip: Tensor, tubes: list[Tube], order: list[int]) -> Tensor:
    """A copy of `clip` (F, H, W, C) with tube `order[i]` at place i; frames outside the tubes stay."""
    out = clip.clone()
    for place, index in enumerate(order):
        out[tubes[place]] = clip[tubes[index]]
    return out


def _split(length: int, parts: int) -> list[slice]:
    """`parts` neighbouring slices of nearly equal length, the longer ones first."""
    sizes = (length // parts + (index < length % parts) for index in range(parts))
    return [slice(start, stop) for start, stop in pairwise(accumulate(sizes, initial=0))]
