"""Where frames come from: a video file or a batch of images, behind one small interface.

A source streams: it decodes what a `ClipRange` asks for, one frame at a time, and can be read again
later, which is how restoring puts cropped borders back.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from numbers import Rational, Real
from typing import Protocol

import av
import numpy as np

from ..errors import ClipError, needed
from .audio import Sound, audible_track, read_sound
from .clip_range import LAST_SECOND, ClipRange, brief
from .colours import UNTAGGED, Colours, colours_of
from .decode import (
    HIGHEST_FPS,
    Stream,
    display_name,
    frame_rate,
    numbered_pictures,
    opened,
    picture_stream,
    pixel_aspect,
    stamp_of,
    stamps_until,
    states_rate,
    unusable,
)
from .picture import Orientations, Picture, bits_of, pixels_of, see_through
from .stamps import Clock, origin_of
from .unchanged import Seen, is_unchanged, look


@dataclass(frozen=True)
class ClipFacts:
    """What is known about a source before its frames are read."""

    width: int
    "Pixels as stored, but upright (after rotation)."
    height: int
    "Pixels as stored, but upright."
    fps: Fraction
    "Frames per second, on average."
    frame_count: int | None
    "Frames in the source; None where only decoding all of it would tell."
    has_audio: bool
    "Whether there is sound that can be decoded."
    pixel_aspect: Fraction = Fraction(1)
    "Width / height of a pixel as shown; anything but 1 means that the picture is shown wider or narrower than stored."
    rotation: int = 0
    "Degrees counterclockwise by which stored pictures were turned upright: 0, 90, 180 or 270."
    mirrored: bool = False
    "Whether top and bottom of stored pictures were swapped before that."
    bit_depth: int = 8
    "Bits per colour component."
    alpha: bool = False
    "Whether the first picture is transparent somewhere."
    colours: Colours = UNTAGGED
    "The colour tags."


class ClipSource(Protocol):
    """What fitting and restoring need of a source."""

    def facts(self) -> ClipFacts: ...

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]: ...

    def frame_at(self, seconds: Fraction) -> int: ...

    def time_of(self, number: int) -> Fraction: ...

    def audio(
        self, start_seconds: float | Fraction, duration_seconds: float | Fraction
    ) -> dict | None: ...


@dataclass(frozen=True)
class _Opening:
    """What a file and its first frames tell."""

    facts: ClipFacts
    clock: Clock
    states_lengths: bool
    "Whether the lengths of frames are the file's own, not guessed."
    seen: Seen
    "The file as it was then."


class FileSource:
    """A video file: a path, or a BytesIO as ComfyUI's `VideoInput.get_stream_source()` may give."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.name = display_name(stream)
        self._orientations = Orientations()

    @property
    def origin(self) -> Fraction:
        """When frame 0 is shown, in seconds on the file's own clock: what sound is counted from, as pictures are.

        0 where the file has no time stamps. Raises ClipError if the file is not a usable video.
        """
        return self._clock.origin or Fraction(0)

    def facts(self) -> ClipFacts:
        """Size, rate and sound; decodes a few frames. Raises ClipError if the file is not a usable video."""
        return self._opening.facts

    def is_unchanged(self) -> bool:
        """Whether the file is still the clip that was opened, and not another in its place."""
        return is_unchanged(self.stream, self.name, self._opening.seen)

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """The pictures in `clip_range`, in 16 bits if `deep`. Decoding stops after the last one.

        Raises ClipError if the start lies beyond the end, the data is damaged or the size changes.
        """
        facts, seen = self.facts(), 0
        for number, frame, time, moved in self._decoded(clip_range.start):
            seen = number + 1
            if clip_range.keeps(number):
                orientation = self._orientations.of(frame)
                size = orientation.size(frame.width, frame.height)
                if size != (facts.width, facts.height):
                    raise _size_change(self.name, number, size, facts)
                stated = self._opening.states_lengths and frame.duration and frame.time_base
                length = frame.duration * frame.time_base if stated else None
                yield Picture(
                    number,
                    pixels_of(frame, deep, orientation),
                    time,
                    length,
                    bool(frame.interlaced_frame),
                    frame.is_corrupt,
                    moved,
                )
            if number == clip_range.last:
                return
        check_start(self.name, clip_range.start, seen)

    def frames(self, clip_range: ClipRange) -> Iterator[np.ndarray]:
        """The frames in `clip_range`, uint8 (H, W, 3) RGB, upright; as `pictures`."""
        return (picture.pixels for picture in self.pictures(clip_range))

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the frame whose time after the first one is nearest; the frame count if that is over."""
        fps, times = self.facts().fps, [time for _, time, _ in self._shown(seconds)]
        following = bisect_left(times, seconds)
        at = times[following] if following < len(times) else times[-1] + 1 / fps
        return (
            following - 1
            if following and seconds - times[following - 1] <= at - seconds
            else following
        )

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown. Raises ClipError beyond the end."""
        return next(self.pictures(ClipRange(number, 1))).time if number else Fraction(0)

    def trimmed(self, start: float, length: float) -> tuple[int, int | None]:
        """Numbers of the first frame that ComfyUI's Trim Video keeps, and of the first one behind; None to the end.

        `start` and `length` are its seconds; it compares them with the file's own clock, in whole ticks, and a length
        of 0 is all the rest. Raises ClipError if it keeps no frame.
        """
        if not all(isinstance(time, Real) and abs(time) <= LAST_SECOND for time in (start, length)):
            raise _no_trim(self.name, start, length)
        begin, end = (self._clock.ticked(time) - self.origin for time in (start, start + length))
        # A frame whose time was moved is kept where its own stamp is in the part.
        times = [
            min(time, stamp) if moved and stamp is not None else time
            for stamp, time, moved in self._shown(end if length else begin)
        ]
        first = next((number for number, time in enumerate(times) if time >= begin), len(times))
        behind = (
            next((number for number, time in enumerate(times) if time >= end), len(times))
            if length
            else None
        )
        if first >= (len(times) if behind is None else behind):
            raise _no_trim(self.name, start, length)
        return first, behind

    def audio(
        self, start_seconds: float | Fraction, duration_seconds: float | Fraction
    ) -> dict | None:
        """The sound of a range, as AUDIO; see `read_sound`."""
        return self.sound(start_seconds, duration_seconds).audio

    def sound(
        self,
        start_seconds: float | Fraction,
        duration_seconds: float | Fraction,
        wait: Callable[[], None] = lambda: None,
    ) -> Sound:
        """The sound of a range, and what there is to say about it; see `read_sound`."""
        return read_sound(
            self.stream, self.name, self.origin, start_seconds, duration_seconds, wait
        )

    @property
    def _clock(self) -> Clock:
        return self._opening.clock

    @cached_property
    def _opening(self) -> _Opening:
        decoded = (frame for _, frame in numbered_pictures(self.stream, self.name, 0))
        frame = next(decoded, None)
        if frame is None:
            raise _no_frames(self.name)
        orientation = self._orientations.of(frame)
        with opened(self.stream, self.name) as container:
            stream = picture_stream(container, self.name)
            rate = frame_rate(container, stream)
            facts = ClipFacts(
                *orientation.size(frame.width, frame.height),
                rate,
                _stated_frame_count(container, stream),
                audible_track(container) is not None,
                pixel_aspect(stream, orientation.quarter_turns),
                90 * orientation.quarter_turns,
                orientation.mirrored,
                bits_of(frame),
                see_through(frame),
                colours_of(frame, stream.codec_context),
            )
            states_lengths = states_rate(stream)
        origin = origin_of((stamp_of(picture) for picture in chain([frame], decoded)), 1 / rate)
        return _Opening(
            facts,
            Clock(origin, None if origin is None else frame.time_base, 1 / rate),
            states_lengths,
            look(self.stream, self.name),
        )

    def _decoded(self, start: int) -> Iterator[tuple[int, av.VideoFrame, Fraction, bool]]:
        """Numbered frames from `start` or before it on, their times after frame 0, and whether those were moved."""
        numbered = numbered_pictures(self.stream, self.name, start)
        first = next(numbered, None)
        if first is None:
            return
        stamped = ((item, stamp_of(item[1])) for item in chain([first], numbered))
        for (number, frame), time, moved in self._clock.times(stamped, from_first=first[0] == 0):
            yield number, frame, time, moved

    def _shown(self, until: Fraction) -> Iterator[tuple[Fraction | None, Fraction, bool]]:
        """Of each frame to `until` and one more at least: stamp and time after frame 0, and whether that was moved."""
        origin = self.origin
        stamps = stamps_until(self.stream, self.name, until + origin)
        for stamp, time, moved in self._clock.times((stamp, stamp) for stamp in stamps):
            yield None if stamp is None else stamp - origin, time, moved
            if time >= until:
                return


def _rate(fps: Fraction | float) -> Fraction:
    """Frames per second as an exact number: 23.976 typed by hand is one of few digits, not of a float's 50."""
    rate = Fraction(0)
    if isinstance(fps, Real) and 0 < fps <= HIGHEST_FPS:
        rate = (
            Fraction(fps)
            if isinstance(fps, Rational)
            else Fraction(float(fps)).limit_denominator(1001)
        )
    if not rate:
        raise ClipError(
            needed(
                "frame rate",
                brief(fps),
                f"more than 0 and at most {HIGHEST_FPS} frames per second",
                "Set fps to 24.",
            )
        )
    return rate


def _by_rate(seconds: Fraction, fps: Fraction) -> int:
    """Frames shown before `seconds`, to the nearest frame, at one rate."""
    return max(0, -((1 - 2 * seconds * fps) // 2))


def _stated_frame_count(container, stream) -> int | None:
    # AVI and edit lists (clips trimmed without re-encoding) state counts that are not what plays.
    # mp4 and mov are believed where count, duration and rate agree.
    if "mp4" not in container.format.name.split(",") or not (
        stream.frames and stream.duration and stream.average_rate
    ):
        return None
    played = round(stream.duration * stream.time_base * stream.average_rate)
    return stream.frames if played == stream.frames else None


def check_start(name: str, start: int, frame_count: int) -> None:
    """Raises ClipError unless a source of `frame_count` frames has a frame `start`."""
    if not frame_count:
        raise _no_frames(name)
    if start >= frame_count:
        raise unusable(
            name,
            f"start frame {start}",
            f"a start from 0 to {frame_count - 1} (frame count: {frame_count})",
            f"Set the start frame to {frame_count - 1} or less.",
        )


def _no_frames(name: str) -> ClipError:
    return unusable(name, "0 frames", "at least 1 frame")


def _no_trim(name: str, start: float, length: float) -> ClipError:
    what = f"from {brief(start)} s on" + (f", {brief(length)} s long" if length else "")
    return unusable(
        name,
        f"trimmed to a part without frames ({what})",
        "at least 1 frame",
        "Set an earlier start or a longer duration in Trim Video.",
    )


def _size_change(name: str, number: int, got: tuple[int, int], facts: ClipFacts) -> ClipError:
    return unusable(
        name,
        f"frame {number} of {got[0]}x{got[1]} pixels",
        f"the first frame's size, {facts.width}x{facts.height}, throughout",
        f"Set the frame limit to end before frame {number}, or export the file again.",
    )
