"""The motion pretexts: how stage 0 perturbs a source clip. `PretextMix` draws one of them.

none                 the source is the clip itself
cube inpainting      one run of frames is black, and the model completes it
speed perturbation   the source plays too fast, and the model restores normal speed
tube shuffle         space-time blocks ("tubes") change places, and the model restores their order

Every operator is a pure function of frames (F, H, W, C) or a batch (B, F, H, W, C), any dtype, and
an explicit generator. Source: SAMA §3.3 and App. C; release `MaskRandomFrames`,
`SpeedChangeFrames`, `TimeWarpFrames`, `SwapFourBlocks`.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise, product

import torch
from torch import Generator, Tensor

from ...errors import SamaError, needed
from ...geometry import WAN_21, Lattice

NONE_TAG = ""
"""Unverified: the paper gives a tag for the three pretexts only; nothing is put before the caption
here."""

CUBE_TAG = "[Complete the missing regions in the video.]"
MASK_RATIO = 0.3
"""Share of the frames that are black (App. C)."""

SPEED_TAG = "[Restore the video to normal playback speed.]"
"""Fig. 9 of the paper shows a longer one: "[… speed while maintaining temporal coherence.]"."""
SPEED = 2.0
"""How many times as fast the source plays (App. C)."""

TUBE_TAG = "[Restore the correct spatio-temporal order of the video segments.]"
SPLITS = (2, 2, 2)
"""Tubes along frames, rows and columns (App. C). The released default is 4 x 4 x 4."""

Tube = tuple[slice, slice, slice]
"""Where a tube lies: frames, rows, columns."""


def each_clip(frames: Tensor, perturb: Callable[[Tensor], Tensor]) -> Tensor:
    """`perturb` on a clip (F, H, W, C), or on each clip of a batch (B, F, H, W, C) in order, with
    its own decisions.

    Raises SamaError for any other number of axes.
    """
    if frames.ndim == 4:
        return perturb(frames)
    if frames.ndim != 5:
        raise SamaError(
            needed(
                "frames",
                f"shape {tuple(frames.shape)}",
                "(F, H, W, C), or (B, F, H, W, C) for a batch",
                "Move the colour channels last and keep the frame axis.",
            )
        )
    return torch.stack([perturb(clip) for clip in frames]) if len(frames) else frames.clone()


def none(frames: Tensor, generator: Generator | None = None) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C), copied; draws nothing.

    Unverified: that the source of these samples is the target itself. The paper does not say, and
    the framework SAMA was trained in does so where a sample has no source.
    """
    return each_clip(frames, Tensor.clone)


def cube_inpainting(frames: Tensor, generator: Generator, ratio: float = MASK_RATIO) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C) with one run of whole frames set to 0, same shape."""
    return each_clip(
        frames, lambda clip: blacken(clip, draw_masked_frames(len(clip), generator, ratio))
    )


def draw_masked_frames(frames: int, generator: Generator, ratio: float = MASK_RATIO) -> range:
    """The frames to black out: round(ratio · frames) in a row, with a uniformly drawn start.

    Frame 0 is never masked, so at most frames - 1 are. Python rounds halves to even: 15 of 49, 24
    of 81, 5 of 17. When nothing is to be masked (an image, a ratio near 0) the range is empty and
    nothing is drawn.
    """
    count = min(round(frames * ratio), frames - 1)
    if count <= 0:
        return range(0)
    start = int(torch.randint(1, frames - count + 1, (1,), generator=generator))
    return range(start, start + count)


def blacken(clip: Tensor, masked: range) -> Tensor:
    """A copy of `clip` (F, H, W, C) with the frames `masked` set to 0."""
    clip = clip.clone()
    clip[masked.start : masked.stop] = 0
    return clip


def speed_perturbation(
    frames: Tensor,
    generator: Generator | None = None,
    speed: float = SPEED,
    time_warp: bool = False,
    lattice: Lattice = WAN_21,
) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C) at `speed` times their pace, the same shape; draws
    nothing.

    Which frames are shown, for 17 frames at 2x ("." repeats the last one shown):

        resample    0 2 4 6 8 . . . . . . . . . . . .      the default: released operator, padded
        time warp   0 2 4 6 8 10 12 14 16 . . . . . . . .  `time_warp=True`, `TimeWarpFrames`

    Resampling keeps round(n/2) frames and drops those beyond 4k+1, so a clip's end is not shown: 49
    frames show the first 41, 17 frames the first 9, and 9 frames or fewer show frame 0 alone. For
    short clips use the time warp. Deviation: the released operator alternates between 0.5x and 2x;
    the paper trains 2x only. Unverified: the padding back to F. The training code is not released;
    its pipeline pads a short source with copies of its last frame, and cuts a long one, before
    encoding it. Raises SamaError unless `speed` is above 0.
    """

    def perturb(clip: Tensor) -> Tensor:
        indices = (
            time_warp_indices(len(clip), speed)
            if time_warp
            else resample_indices(len(clip), speed, lattice)
        )
        return clip[fit_length(indices, len(clip)).to(clip.device)]

    return each_clip(frames, perturb)


def resample_indices(frames: int, speed: float = SPEED, lattice: Lattice = WAN_21) -> Tensor:
    """Source frame of each of the round(frames / speed) new frames, cut to 4k+1 of them: (4k+1,)
    int64.

    At 2x 49 frames give 21 and 81 give 37; another `lattice` has another factor than 4. Python
    rounds halves to even, here and in the frame number.
    """
    _check_speed(speed)
    if frames < 2:
        return torch.arange(frames)
    count = max(1, round(frames / speed))
    count = lattice.frames_of(lattice.latents_of(count))
    return torch.tensor([min(round(index * speed), frames - 1) for index in range(count)])


def time_warp_indices(frames: int, speed: float = SPEED) -> Tensor:
    """Source frame of each of `frames` new frames, copies of the last at the end: (frames,)."""
    _check_speed(speed)
    last = frames - 1
    if last < 1:
        return torch.arange(frames)
    return torch.tensor([round(min(index / last * speed, 1.0) * last) for index in range(frames)])


def fit_length(indices: Tensor, frames: int) -> Tensor:
    """`indices` (n,) cut to `frames`, or filled up with copies of the last one: (frames,)."""
    missing = frames - len(indices)
    return indices[:frames] if missing <= 0 else torch.cat([indices, indices[-1:].expand(missing)])


def _check_speed(speed: float) -> None:
    if not speed > 0:
        raise SamaError(needed("speed", speed, "more than 0", f"Use {SPEED}, the paper's."))


def tube_shuffle(
    frames: Tensor,
    generator: Generator,
    splits: tuple[int, int, int] = SPLITS,
    keep_last_frame: bool = True,
) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C) with their tubes in random order; the same shape.

    A tube only moves to a place of its own shape. That is a trap for clips of 4k+1 frames: 49
    frames split 25/24, so the two halves never trade places and nothing moves across the middle of
    the clip. `keep_last_frame` leaves the last frame where it is and splits the even rest, 24/24.
    Odd heights and widths set the same trap in space; sizes that the VAE takes are even.
    Unverified: that the authors set `keep_last_frame`. The released default is off.

    All orders are equally likely, so one in 8! leaves 2 x 2 x 2 equal tubes in place. An axis
    shorter than its number of splits leaves the clip as it is, without a draw: images are never
    shuffled.
    """

    def perturb(clip: Tensor) -> Tensor:
        frames, height, width = clip.shape[:3]
        tubes = tubes_of((frames, height, width), splits, keep_last_frame)
        return move_tubes(clip, tubes, shuffle_tubes(tubes, generator))

    return each_clip(frames, perturb)


def tubes_of(
    size: tuple[int, int, int], splits: tuple[int, int, int] = SPLITS, keep_last_frame: bool = True
) -> list[Tube]:
    """The tubes of a clip of `size` (F, H, W), frames outermost; none if an axis is too short."""
    frames, height, width = size
    if keep_last_frame and frames > 1:
        frames -= 1
    axes = list(zip((frames, height, width), splits, strict=True))
    if any(length < parts for length, parts in axes):
        return []
    times, rows, columns = (_split(length, parts) for length, parts in axes)
    return list(product(times, rows, columns))


def shuffle_tubes(tubes: list[Tube], generator: Generator) -> list[int]:
    """For each place the tube that goes there; one draw per group of tubes of one shape."""
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


def move_tubes(clip: Tensor, tubes: list[Tube], order: list[int]) -> Tensor:
    """A copy of `clip` (F, H, W, C) with tube `order[i]` at place i; other frames stay."""
    out = clip.clone()
    for place, index in enumerate(order):
        out[tubes[place]] = clip[tubes[index]]
    return out


def _split(length: int, parts: int) -> list[slice]:
    """`parts` neighbouring slices of nearly equal length, the longer ones first."""
    sizes = (length // parts + (index < length % parts) for index in range(parts))
    return [slice(start, stop) for start, stop in pairwise(accumulate(sizes, initial=0))]
