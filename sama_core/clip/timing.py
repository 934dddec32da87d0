"""When the kept frames are shown, exactly: steady rates stay steady, variable ones keep every time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

# Times of a steady clip lie off the ideal by the rounding of the file's clock; matroska counts milliseconds.
COARSEST_CLOCK = Fraction(1, 1000)
# Ticks per second. Finer clocks do not fit the 32 bits of an mp4; times are rounded to the usual one then.
FINEST_CLOCK, USUAL_CLOCK = 10_000_000, 90_000


@dataclass(frozen=True)
class Timing:
    """Times of the kept frames, in seconds."""

    start: Fraction
    "From the source's first picture to the first kept frame."
    starts: tuple[Fraction, ...]
    "When each kept frame appears, from 0 on, rising."
    duration: Fraction
    "How long all of them play."
    steady: bool
    "One rate throughout: frame i appears at i / fps."

    @property
    def fps(self) -> Fraction:
        """Frames per second; on average where the rate varies."""
        return len(self.starts) / self.duration

    def ticks(self) -> tuple[Fraction, list[int]]:
        """Length of a tick in seconds; then the ticks at which each frame appears, and the last one ends.

        Exact, unless a tick would have to be too short for an mp4.
        """
        if self.steady and self.fps.numerator <= FINEST_CLOCK:
            return 1 / self.fps, list(range(len(self.starts) + 1))
        times = (*self.starts, self.duration)
        clock = math.lcm(*(time.denominator for time in times))
        clock = clock if clock <= FINEST_CLOCK else USUAL_CLOCK
        ticks = [round(time * clock) for time in times]
        for number in range(1, len(ticks)):
            ticks[number] = max(ticks[number], ticks[number - 1] + 1)
        return Fraction(1, clock), ticks

    def part(self, first: int, count: int) -> "Timing":
        """The timing of `count` of the frames, from the `first`-th on."""
        ends = (*self.starts[1:], self.duration)
        begin = self.starts[first]
        return Timing(self.start + begin, tuple(time - begin for time in self.starts[first:first + count]),
                      ends[first + count - 1] - begin, self.steady)


def steady_timing(start: Fraction, count: int, fps: Fraction) -> Timing:
    """`count` frames at one rate."""
    return Timing(start, tuple(number / fps for number in range(count)), count / fps, True)


def measured_timing(times: Sequence[Fraction], last_length: Fraction | None, fps: Fraction, stride: int = 1) -> Timing:
    """Timing of kept frames that the source shows at `times`, which rise; its rate is `fps`, every n-th was kept."""
    starts = [time - times[0] for time in times]
    rate = _steady_rate(starts, fps / stride)
    if rate:
        return steady_timing(times[0], len(times), rate)
    last = last_length if last_length and stride == 1 else starts[-1] - starts[-2]
    return Timing(times[0], tuple(starts), starts[-1] + last, False)


def _steady_rate(starts: Sequence[Fraction], stated: Fraction) -> Fraction | None:
    """The one rate that all times agree with; None if the rate varies."""
    tick = Fraction(1, math.lcm(*(time.denominator for time in starts)))
    slack = min(tick, COARSEST_CLOCK)
    if all(abs(time - number / stated) <= slack for number, time in enumerate(starts)):
        return stated
    steps = {later - earlier for earlier, later in pairwise(starts)}
    return 1 / steps.pop() if len(steps) == 1 else None
