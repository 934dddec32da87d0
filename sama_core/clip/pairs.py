"""Two clips beside each other: which frame of the edit is shown with which of the source.

rates equal within `SAME_RATE`   frame by frame, also where their stamps drift apart
rates differ                     by time: the faster clip gives the frames, the other one what it
                                 shows then

Both end with the shorter one. A frame of each clip is in memory at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .clip_range import ClipRange
from .info import measured_timing
from .picture import Picture
from .sound_pieces import SoundPieces
from .source import ClipSource

SAME_RATE = 0.002
"""Rates that differ by less, such as 23.976 and 24, count as the same."""
ASPECT_SLACK = 0.02
"""Aspect ratios that differ by more, relatively, are not those of a clip and its edit."""
STAMP_SLACK = Fraction(1, 500)
"""Seconds by which clocks of files round."""

Size = tuple[float, float]
"""Width and height as shown."""


def differ_in_shape(one: Size, other: Size) -> bool:
    """Whether two sizes are not those of a clip and its edit: one crop would not fit both."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) > ASPECT_SLACK


Sound = Callable[[Fraction, Fraction], SoundPieces | None]
"""`sound(start, duration)`, in seconds of the source's clock; None where nothing is heard."""


@dataclass(frozen=True)
class Take:
    """A range of a clip, and its sound."""

    source: ClipSource
    """Its frames."""
    clip_range: ClipRange = field(default_factory=ClipRange)
    """Those that are compared."""
    sound: Sound = lambda start, duration: None
    """What is heard from a time of the source on."""

    @property
    def fps(self) -> Fraction:
        """Frames per second, on average."""
        return self.source.facts().fps / self.clip_range.stride

    @property
    def is_whole(self) -> bool:
        """Whether no frame of the range is left out."""
        return self.clip_range.stride == 1

    @property
    def frame_count(self) -> int | None:
        """Frames in the range; None where only decoding would tell."""
        return self.clip_range.count_in(self.source.facts().frame_count)

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) in square pixels."""
        facts = self.source.facts()
        return max(1, round(facts.width * facts.pixel_aspect)), facts.height

    def pictures(self) -> Iterator[Picture]:
        """The frames, in 8 bits. Raises ClipError as their source does."""
        return self.source.pictures(self.clip_range)


class Pair(NamedTuple):
    """Two frames that are compared; uint8 (H, W, 3), each of its clip's size."""

    time: Fraction
    """Seconds after the first pair."""
    edit: np.ndarray
    """Of the edit."""
    source: np.ndarray
    """Of the source."""


class Pairs:
    """The pairs of two takes, in order; once all were read, what there is to say about them."""

    def __init__(self, edit: Take, source: Take):
        self.edit, self.source = edit, source
        ratio = float(edit.fps / source.fps)
        self.by_time = abs(ratio - 1) > SAME_RATE
        self._edit_leads = self.by_time and ratio > 1
        self.times: list[Fraction] = []
        """Of the pairs that were read, rising from 0."""
        self.in_step = True
        """Whether frame i was shown with frame i in all of them, also where rates differ."""
        self.longer: str | None = None
        """Which clip, "edit" or "source", has frames after the last pair."""
        self._last_length: Fraction | None = None
        self.starts = {"edit": Fraction(0), "source": Fraction(0)}
        """Time of each clip's first frame on its source's clock."""

    @property
    def fps(self) -> Fraction:
        """Of the pairs."""
        return self.edit.fps if self._edit_leads else self.source.fps

    @property
    def duration(self) -> Fraction:
        """Seconds that the pairs which were read play, see `measured_timing`."""
        if not self.times:
            return Fraction(0)
        return measured_timing(self.times, self._last_length, self.fps).duration

    @property
    def most(self) -> int:
        """How many pairs there will be at most, as far as the clips say; 0 where they do not."""
        takes = (self.edit, self.source)
        known = [(count, take.fps) for take in takes if (count := take.frame_count)]
        if self.by_time:
            return round(min((count / fps for count, fps in known), default=0) * self.fps)
        return min((count for count, _ in known), default=0)

    def __iter__(self) -> Iterator[Pair]:
        self.times, self.in_step, self.longer = [], True, None
        names = ("edit", "source") if self._edit_leads else ("source", "edit")
        lead, other = (_Reader(getattr(self, name)) for name in names)
        while True:
            picture = lead.advance()
            follows = picture is not None and (
                other.show(lead.time) if self.by_time else other.advance() is not None
            )
            if picture is None or not follows:
                break
            assert other.picture is not None
            frames = dict(zip(names, (picture.pixels, other.picture.pixels), strict=True))
            self.times.append(lead.time)
            self._last_length = picture.length if getattr(self, names[0]).is_whole else None
            self.in_step &= lead.count == other.count
            yield Pair(lead.time, frames["edit"], frames["source"])
        self.starts = dict(zip(names, (lead.start, other.start), strict=True))
        if picture is not None:
            self.longer = names[0]
        elif other.has_more(lead.time + 1 / self.fps if self.by_time else None):
            self.longer = names[1]


class _Reader:
    """Reads the pictures of a take; times count from its first one."""

    def __init__(self, take: Take):
        self._pictures = take.pictures()
        self._length = 1 / take.fps
        self._next: Picture | None = None
        self.picture: Picture | None = None
        self.count = 0
        self.start = Fraction(0)
        self.time = Fraction(0)
        self._began = False

    def advance(self) -> Picture | None:
        """The next picture; None after the last one."""
        following = self._peek()
        self._next = None
        if following is not None:
            self.picture, self.time = following, following.time - self.start
            self.count += 1
        return following

    def show(self, time: Fraction) -> bool:
        """Advance to the picture that is on screen at `time`; False where the take is over."""
        while (following := self._peek()) is not None and (
            self.picture is None or following.time - self.start <= time + STAMP_SLACK
        ):
            self.advance()
        return following is not None or time + STAMP_SLACK < self.time + self._length

    def has_more(self, end: Fraction | None) -> bool:
        """Whether pictures are left, or with `end` any that is shown after it."""
        if end is None:
            return self._peek() is not None
        following = self._peek()
        return following is not None and following.time - self.start >= end

    def _peek(self) -> Picture | None:
        if self._next is None:
            self._next = next(self._pictures, None)
            if self._next is not None and not self._began:
                self.start, self._began = self._next.time, True
        return self._next
