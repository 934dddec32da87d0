"""Speed perturbation: the source plays too fast, and the model restores normal speed.

Which frames are shown, for 17 frames at 2x ("." repeats the last one shown):

    resample    0 2 4 6 8 . . . . . . . . . . . .     the default: released operator, then the pipeline's padding
    time warp   0 2 4 6 8 10 12 14 16 . . . . . . . .  `time_warp=True`: released `TimeWarpFrames` and `keep_length`

Resampling keeps round(n/2) frames and drops those beyond 4k+1, so a clip's end is not shown: 49 frames show the
first 41, 17 frames the first 9, and 9 frames or fewer show frame 0 alone. Short clips want the time warp.
Source: SAMA §3.3 and App. C (2x); release `SpeedChangeFrames`, `TimeWarpFrames`, `_fix_length_and_resize`.
"""

import torch
from torch import Generator, Tensor

from ...errors import SamaError, needed
from ...geometry import TEMPORAL_FACTOR
from .clips import each_clip

TAG = "[Restore the video to normal playback speed.]"
"""Fig. 9 of the paper shows a longer one: "[… speed while maintaining temporal coherence.]"."""
SPEED = 2.0


def speed_perturbation(
    frames: Tensor,
    generator: Generator | None = None,
    speed: float = SPEED,
    time_warp: bool = False,
) -> Tensor:
    """Frames (F, H, W, C) or (B, F, H, W, C) at `speed` times their pace, the same shape; draws nothing.

    Deviation: the released operator alternates between 0.5x and 2x; the paper trains 2x only.
    Unverified: the padding back to F. The training code is not released; its pipeline pads a short source with copies
    of its last frame, and cuts a long one, before encoding it.
    Raises SamaError unless `speed` is above 0.
    """

    def perturb(clip: Tensor) -> Tensor:
        indices = (
            time_warp_indices(len(clip), speed) if time_warp else resample_indices(len(clip), speed)
        )
        return clip[fit_length(indices, len(clip)).to(clip.device)]

    return each_clip(frames, perturb)


def resample_indices(frames: int, speed: float = SPEED) -> Tensor:
    """Source frame of each of the round(frames / speed) new frames, cut to 4k+1 of them: (4k+1,) int64.

    At 2x 49 frames give 21 and 81 give 37. Python rounds halves to even, here and in the frame number.
    """
    _check(speed)
    if frames < 2:
        return torch.arange(frames)
    count = max(1, round(frames / speed))
    count -= (count - 1) % TEMPORAL_FACTOR
    return torch.tensor([min(round(index * speed), frames - 1) for index in range(count)])


def time_warp_indices(frames: int, speed: float = SPEED) -> Tensor:
    """Source frame of each of `frames` new frames, standing still once the last one is reached: (frames,) int64."""
    _check(speed)
    last = frames - 1
    if last < 1:
        return torch.arange(frames)
    return torch.tensor([round(min(index / last * speed, 1.0) * last) for index in range(frames)])


def fit_length(indices: Tensor, frames: int) -> Tensor:
    """`indices` (n,) cut to `frames`, or filled up with copies of the last one: (frames,)."""
    missing = frames - len(indices)
    return indices[:frames] if missing <= 0 else torch.cat([indices, indices[-1:].expand(missing)])


def _check(speed: float) -> None:
    if not speed > 0:
        raise SamaError(needed("speed", speed, "more than 0", f"Use {SPEED}, the paper's."))
