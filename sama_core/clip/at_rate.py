"""A clip at another frame rate: at each time the frame that is nearest, repeated or left out.

Nothing is blended. Clips of different rates that begin together stay together at one rate.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from ..errors import ClipError
from .clip_range import LAST_SECOND, ClipRange
from .pairs import SAME_RATE, STAMP_SLACK
from .picture import Picture
from .source import ClipFacts, ClipSource, check_start, frame_by_rate


class AtRate(ClipSource):
    """`source` at `fps` frames per second."""

    def __init__(self, source: ClipSource, fps: Fraction):
        self.source, self.fps, self.name = source, fps, source.name

    def facts(self) -> ClipFacts:
        """The source's, with the new rate and count. Raises ClipError as the source does."""
        facts = self.source.facts()
        count = facts.frame_count
        if count is not None:
            count = self.count_from(count)
        return replace(facts, fps=self.fps, frame_count=count)

    def digest(self) -> str:
        """The source's, and the rate."""
        return f"{self.fps} of {self.source.digest()}"

    def count_from(self, frames: int) -> int:
        """Frames at the new rate where the source has so many."""
        return frames_at(self.fps, frames, self.source.facts().fps)

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """The pictures in `clip_range`, which counts frames of the new rate.

        Raises ClipError if the start lies beyond the end, or a picture cannot be read.
        """
        number, found = clip_range.start, False
        begin = max(0, self.source.frame_at(number / self.fps) - 1)
        following = self.source.pictures(ClipRange(begin), deep)
        shown, later = next(following, None), next(following, None)
        while shown is not None and (clip_range.last is None or number <= clip_range.last):
            time = number / self.fps
            while later is not None and abs(later.time - time) < abs(shown.time - time):
                shown, later = later, next(following, None)
            if later is None and time >= self._end_of(shown) - STAMP_SLACK:
                break
            yield replace(shown, number=number, time=time, length=1 / self.fps)
            number, found = number + clip_range.stride, True
        if not found:
            check_start(self.name, clip_range.start, clip_range.start)

    def _end_of(self, last: Picture) -> Fraction:
        """When the source's last picture is over, in seconds after its first."""
        return last.time + (last.length or 1 / self.source.facts().fps)

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the frame whose time is nearest."""
        count, number = self.facts().frame_count, frame_by_rate(seconds, self.fps)
        return number if count is None else min(number, count)

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown."""
        return number / self.fps

    def is_unchanged(self) -> bool:
        """Whether the source is still the clip that was opened."""
        return self.source.is_unchanged()


def frames_at(fps: Fraction, frames: int, own: Fraction) -> int:
    """Frames at `fps` of a clip that has `frames` at its own rate."""
    return math.ceil((frames / own - STAMP_SLACK) * fps)


def count_frames(source: ClipSource) -> int:
    """Frames of a source that can be read. Raises ClipError for an unusable one.

    The index of a download that was broken off counts frames that are not there; a file that holds
    fewer than it says is decoded. So is one that does not say it, and whose times have a hole:
    damage may have cut pieces out of it, and frames behind them are not those that their numbers
    say. Then those before the damage count.
    """
    if isinstance(source, AtRate):
        return source.count_from(count_frames(source.source))
    stated, coded = source.facts().frame_count, source.frame_at(Fraction(LAST_SECOND))
    if coded >= stated if stated is not None else not _has_hole(source, coded):
        return coded if stated is None else stated
    count = 0
    try:
        for picture in source.pictures(ClipRange()):
            if picture.damaged and stated is None:
                break
            count = picture.number + 1
    except ClipError:
        if not count:
            raise
    return count


def _has_hole(source: ClipSource, count: int) -> bool:
    """Whether a clip has fewer frames than its rate and the time of its last one say."""
    if count < 2:
        return False
    due = float(source.time_of(count - 1) * source.facts().fps)
    return due > (count - 1) * (1 + SAME_RATE) + 0.5
