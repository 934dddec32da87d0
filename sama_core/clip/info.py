"""The record of a fitted clip: everything needed to give the original back, its times included.

Times are exact: steady rates stay steady, and where the rate varies every frame keeps its time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

from .audio import Sound
from .clip_range import ClipRange
from .colours import Colours
from .placement import Box, Fit, Placement
from .source import ClipFacts, ClipSource

CLIPPED_ABOVE = 1.5
"""Of images, where 1 is white; resampling goes a little beyond 1."""
COARSEST_CLOCK = Fraction(1, 1000)
"""Seconds by which a file's clock may round the times of a steady clip; matroska's does."""
FINEST_CLOCK, USUAL_CLOCK = 10_000_000, 90_000
"""Ticks per second. Finer clocks do not fit the 32 bits of an mp4; times are rounded to the usual
clock then.
"""


@dataclass(frozen=True)
class Timing:
    """Times of the kept frames, in seconds."""

    start: Fraction
    """From the source's first picture to the first kept frame."""
    starts: tuple[Fraction, ...]
    """When each kept frame appears, from 0 on, rising."""
    duration: Fraction
    """How long all of them play."""
    steady: bool
    """One rate throughout: frame i appears at i / fps."""

    @property
    def fps(self) -> Fraction:
        """Frames per second; on average where the rate varies."""
        return len(self.starts) / self.duration

    def ticks(self) -> tuple[Fraction, list[int]]:
        """Seconds of a tick; then the ticks at which each frame appears, and the last one ends.

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
        return Timing(
            self.start + begin,
            tuple(time - begin for time in self.starts[first : first + count]),
            ends[first + count - 1] - begin,
            self.steady,
        )


def steady_timing(start: Fraction, count: int, fps: Fraction) -> Timing:
    """`count` frames at one rate."""
    return Timing(start, tuple(number / fps for number in range(count)), count / fps, True)


def measured_timing(
    times: Sequence[Fraction], last_length: Fraction | None, fps: Fraction, stride: int = 1
) -> Timing:
    """Timing of the frames that a source shows at `times`, which rise.

    The source's rate is `fps`; every n-th of its frames was kept, n = `stride`.
    """
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


@dataclass(frozen=True)
class ClipInfo:
    """How `fit_clip` turned a range of a source into the model's frames."""

    source: ClipSource
    """The source itself, read again for borders that were cropped away, and for its sound."""
    clip_range: ClipRange
    """The range that was asked for, in frames."""
    facts: ClipFacts
    """Size, pixel shape, rotation, depth and colours of the source."""
    placement: Placement
    """Fit mode and boxes."""
    timing: Timing
    """When the kept frames are shown."""
    padded_count: int
    """Frames given to the model, 4k+1: the last one repeated."""
    interlaced: int = 0
    """How many of the kept frames are interlaced."""
    damaged: int = 0
    """In how many of them the decoder had to invent parts."""
    moved: int = 0
    """How many of them had no valid time stamp, and got a time between their neighbours."""
    audio: dict | None = field(default=None, compare=False, repr=False)
    """The range's sound in ComfyUI's AUDIO form, as it was read; None for silent clips."""
    sound_remark: str = field(default="", compare=False)
    """What the artist should know about the sound, see `Sound`."""
    sound_is_uniform: bool | None = field(default=None, compare=False)
    """Whether its packets keep one rate and layout, and can be copied; None if not checked."""

    @property
    def width(self) -> int:
        """Original frame width in pixels, as stored but upright."""
        return self.placement.picture_width

    @property
    def height(self) -> int:
        """Original frame height in pixels, as stored but upright."""
        return self.placement.picture_height

    @property
    def fps(self) -> Fraction:
        """Rate of the kept frames: source rate / stride; the average where the rate varies."""
        return self.timing.fps

    @property
    def frame_count(self) -> int:
        """Frames kept, before padding."""
        return len(self.timing.starts)

    @property
    def crop_box(self) -> Box:
        """(left, top, right, bottom) of the part of the original that was kept."""
        return self.placement.source_box

    @property
    def fitted_width(self) -> int:
        """Width of the model's frames."""
        return self.placement.width

    @property
    def fitted_height(self) -> int:
        """Height of the model's frames."""
        return self.placement.height

    @property
    def start_seconds(self) -> Fraction:
        """Time of the first kept frame in the source, for its sound."""
        return self.timing.start

    @property
    def duration_seconds(self) -> Fraction:
        """How long the kept frames play."""
        return self.timing.duration

    @property
    def colours(self) -> Colours:
        """Colour tags of the source."""
        return self.facts.colours

    def with_sound(self, sound: Sound | dict | None) -> "ClipInfo":
        """The record with the range's sound as it was read, or AUDIO of unknown origin."""
        if not isinstance(sound, Sound):
            return replace(self, audio=sound, sound_remark="", sound_is_uniform=None)
        return replace(
            self, audio=sound.audio, sound_remark=sound.remark, sound_is_uniform=sound.uniform
        )

    def part(self, first: int, count: int) -> "ClipInfo":
        """The record of `count` of the kept frames, from the `first`-th on, without padding.

        Its sound is cut, too. The counts of interlaced, damaged and moved frames stay those of the
        whole.
        """
        timing = self.timing.part(first, count)
        return replace(
            self,
            clip_range=self.clip_range.part(first, count),
            timing=timing,
            padded_count=count,
            audio=cut_audio(self.audio, timing.start - self.timing.start, timing.duration),
        )

    def remarks(self) -> list[str]:
        """What the artist should know about the source; empty if there is nothing."""
        found = []
        if cut := self.placement.describe_cut():  # a node may show the first two lines only
            found.append(
                f"{100 * self.placement.share_cut:.2g}% of the picture stays unedited: fit "
                f"'{Fit.STRETCH}' edits all of it. Fit '{self.placement.fit}' leaves {cut} as they "
                "are, and an object there is edited in part."
            )
        if self.interlaced:
            found.append(
                f"{self.interlaced} of {self.frame_count} frames are interlaced: comb lines may "
                "show. Deinterlace the clip first."
            )
        if self.damaged:
            found.append(
                f"{self.damaged} of {self.frame_count} frames are damaged, and were patched up "
                "while decoding. Export the file again if it shows."
            )
        if self.moved:
            found.append(
                f"{self.moved} of {self.frame_count} frames have no time stamp of their own "
                "(missing, equal or falling): they are shown between their neighbours."
            )
        found += self._remark_on_pixels()
        if not self.timing.steady:
            found.append("The frame rate varies: every frame keeps its own time.")
        if self.sound_remark:
            found.append(self.sound_remark)
        return found

    def _remark_on_pixels(self) -> Iterator[str]:
        if self.facts.alpha:
            yield "The clip has transparency: it was laid on black, and the result is opaque."
        if self.facts.brightest > CLIPPED_ABOVE:
            yield (
                f"Pixels reach {self.facts.brightest:.4g}, where 1 is white: what is brighter is "
                "cut off. Divide images that go to 255 by 255."
            )
        if self.colours.hdr:
            yield (
                f"The clip is HDR ({self.colours.hdr}): the model sees it paler than a screen "
                "shows it."
            )
        if self.facts.pixel_aspect != 1:
            aspect = float(self.facts.pixel_aspect)
            yield f"The clip has pixels {aspect:.4g} times as wide as high."


def cut_audio(audio: dict | None, start: Fraction, duration: Fraction) -> dict | None:
    """A part of ComfyUI AUDIO, in seconds; None stays None."""
    if not audio:
        return None
    rate = audio["sample_rate"]
    first = round(start * rate)
    return {
        "waveform": audio["waveform"][..., first : first + round(duration * rate)],
        "sample_rate": rate,
    }
