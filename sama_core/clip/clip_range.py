"""Which frames of a source are wanted: by number, or in seconds."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral, Real

from ..errors import ClipError, needed

LAST_FRAME = 2**31 - 1
"""Frame numbers, limits and strides go up to this: a year at 60 frames per second."""
LAST_SECOND = LAST_FRAME // 60
"""Times in seconds go up to this."""


@dataclass(frozen=True)
class ClipRange:
    """Which frames of a source are wanted. Raises ClipError for values without a meaning."""

    start: int = 0
    """First frame, counted from 0."""
    frames: int = 0
    """How many frames, after the stride; 0 means to the end. A shorter source gives what it has."""
    stride: int = 1
    """Take every n-th frame."""

    def __post_init__(self):
        for what, value, least in (
            ("start frame", self.start, 0),
            ("frame limit", self.frames, 0),
            ("frame stride", self.stride, 1),
        ):
            if not isinstance(value, Integral):
                raise ClipError(needed(what, brief(value), "a whole number", f"Set it to {least}."))
            if value < least:
                raise ClipError(needed(what, value, f"{least} or more", f"Set it to {least}."))
            if value > LAST_FRAME:
                raise ClipError(
                    needed(what, brief(value), f"at most {LAST_FRAME}", f"Set it to {least}.")
                )

    @property
    def last(self) -> int | None:
        """Number of the last frame wanted, None for "to the end"."""
        return self.start + (self.frames - 1) * self.stride if self.frames else None

    def keeps(self, number: int) -> bool:
        """Whether frame `number` is one of the wanted ones."""
        ends = self.last is not None and number > self.last
        return number >= self.start and not ends and (number - self.start) % self.stride == 0

    def count_in(self, frame_count: int | None) -> int | None:
        """How many of `frame_count` frames of a source this range takes; None if unknown."""
        if frame_count is None:
            return None
        available = max(0, -(-(frame_count - self.start) // self.stride))
        return min(self.frames, available) if self.frames else available

    def part(self, first: int, count: int) -> "ClipRange":
        """`count` of the frames of this range, from its `first`-th on."""
        return replace(self, start=self.start + first * self.stride, frames=count)


@dataclass(frozen=True)
class Seconds:
    """A range in seconds after the first frame; 0 leaves that part to frame numbers.

    Raises ClipError below 0.
    """

    start: float | Fraction = 0
    """When the range begins."""
    duration: float | Fraction = 0
    """How long it lasts."""
    every: float | Fraction = 0
    """Time from one wanted frame to the next."""

    def __post_init__(self):
        for what, value in (
            ("start", self.start),
            ("duration", self.duration),
            ("interval", self.every),
        ):
            if not isinstance(value, Real) or not 0 <= value < math.inf:
                raise ClipError(
                    needed(f"{what} in seconds", brief(value), "0 or more", "Set it to 0.")
                )
            if value > LAST_SECOND:
                raise ClipError(
                    needed(
                        f"{what} in seconds", brief(value), f"at most {LAST_SECOND}", "Set it to 0."
                    )
                )


def brief(value: object) -> str:
    """A number of any size in a few digits; anything else as Python writes it, cut off."""
    if not isinstance(value, Real):
        return repr(value)[:40]
    try:
        return f"{float(value):.6g}"
    except OverflowError:
        return "a number of more than 300 digits"


def check_one_start(clip_range: ClipRange, seconds: Seconds) -> None:
    """Raises ClipError where both say where to begin."""
    if seconds.start and clip_range.start:
        raise ClipError(
            needed(
                "start",
                f"frame {clip_range.start} and {float(seconds.start):g} s",
                "one of the two",
                "Set start or start_seconds to 0.",
            )
        )
