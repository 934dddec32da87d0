"""A video file as a source: its pictures with their times, and its sound."""

import hashlib
import io
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain
from numbers import Real

import av
import numpy as np

from ..errors import ClipError
from .audio import Heard, Sound, listen, read_sound
from .clip_range import LAST_SECOND, ClipRange, brief
from .colours import Scratch, colours_of
from .decode import (
    Stream,
    display_name,
    frame_rate,
    numbered_pictures,
    open_video,
    picture_stream,
    pixel_aspect,
    stamp_of,
    stamps_until,
    states_rate,
    unusable,
)
from .imprint import Imprint
from .packets import TrackPackets, open_packets
from .picture import (
    NO_PIXELS,
    Orientation,
    Orientations,
    Picture,
    bits_of,
    is_see_through,
    pixels_of,
)
from .source import ClipFacts, ClipSource, check_start, no_frames
from .stamps import Clock, origin_of

Converter = Callable[[Scratch | None], np.ndarray]
"""Makes a picture's pixels, see `Picture.content`."""


@dataclass(frozen=True)
class _Opening:
    """What a file and its first frames say."""

    facts: ClipFacts
    """Size, rate and more."""
    clock: Clock
    """The clock of its pictures."""
    states_lengths: bool
    """Whether the lengths of frames are the file's own, not guessed."""
    imprint: Imprint
    """The file as it was then."""


class FileSource(ClipSource):
    """A video file: a path, or a BytesIO as ComfyUI's `VideoInput.get_stream_source()` may give."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.name = display_name(stream)
        self._orientations = Orientations()

    @property
    def origin(self) -> Fraction:
        """When frame 0 is shown, in seconds on the file's own clock.

        Pictures and sound are counted from it. 0 where the file has no time stamps. Raises
        ClipError if the file is not a usable video.
        """
        return self._clock.origin or Fraction(0)

    def facts(self) -> ClipFacts:
        """Size, rate and more; decodes a few frames. Raises ClipError for an unusable file."""
        return self._opening.facts

    def is_unchanged(self) -> bool:
        """Whether the file is still the clip that was opened, and not another in its place."""
        return self._opening.imprint.fits(self.stream, self.name)

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """The pictures in `clip_range`, in 16 bits if `deep`. Decoding stops after the last one.

        Raises ClipError if the start lies beyond the end, the data is damaged or the size changes.
        """

        def convert(frame: av.VideoFrame, orientation: Orientation) -> Converter:
            return lambda scratch: pixels_of(frame, deep, orientation, scratch)

        return self._read(clip_range, convert)

    def marks(self, clip_range: ClipRange) -> Iterator[Picture]:
        """As `pictures`, with empty pixels: decoded, but not converted."""
        return self._read(clip_range, lambda frame, orientation: lambda scratch: NO_PIXELS)

    def digest(self) -> str:
        """SHA-256 of the whole file. Raises ClipError where it cannot be read."""
        if isinstance(self.stream, io.BytesIO):
            return hashlib.sha256(self.stream.getbuffer()).hexdigest()
        try:
            with open(self.stream, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as failed:
            raise unusable(
                self.name, failed.strerror or str(failed), "a file that can be read"
            ) from failed

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the frame whose time after the first one is nearest.

        The frame count if that frame is over by then.
        """
        fps, times = self.facts().fps, [time for _, time, _ in self._times(seconds)]
        following = bisect_left(times, seconds)
        at = times[following] if following < len(times) else times[-1] + 1 / fps
        is_before = following > 0 and seconds - times[following - 1] <= at - seconds
        return following - 1 if is_before else following

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown.

        Raises ClipError beyond the end.
        """
        return next(self.pictures(ClipRange(number, 1))).time if number else Fraction(0)

    def find_trim(self, start: float, length: float) -> tuple[int, int | None]:
        """Which frames ComfyUI's Trim Video keeps: the first, and the first after them.

        None for the second means to the end. `start` and `length` are Trim Video's seconds; it
        compares them with the file's own clock, in whole ticks, and a length of 0 is all the rest.
        Raises ClipError if it keeps no frame.
        """
        if not all(isinstance(time, Real) and abs(time) <= LAST_SECOND for time in (start, length)):
            raise _no_trim(self.name, start, length)
        begin, end = (
            self._clock.floor_to_tick(time) - self.origin for time in (start, start + length)
        )
        # A frame whose time was moved is kept where its own stamp is in the part.
        times = [
            min(time, stamp) if moved and stamp is not None else time
            for stamp, time, moved in self._times(end if length else begin)
        ]
        first = _first_at(times, begin)
        behind = _first_at(times, end) if length else None
        if first >= (len(times) if behind is None else behind):
            raise _no_trim(self.name, start, length)
        return first, behind

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

    def listen(
        self, start_seconds: Fraction, duration_seconds: Fraction, wait: Callable[[], None]
    ) -> Heard:
        """What the sound of a range is like, without its samples; see `audio.listen`."""
        return listen(self.stream, self.name, self.origin, start_seconds, duration_seconds, wait)

    def packets(
        self, start_seconds: Fraction, duration_seconds: Fraction
    ) -> AbstractContextManager[TrackPackets | None]:
        """The file's packets that sound in a range, if an mp4 takes them; see `open_packets`."""
        return open_packets(self.stream, self.name, self.origin, start_seconds, duration_seconds)

    @property
    def _clock(self) -> Clock:
        return self._opening.clock

    @cached_property
    def _opening(self) -> _Opening:
        decoded = (frame for _, frame in numbered_pictures(self.stream, self.name, 0))
        frame = next(decoded, None)
        if frame is None:
            raise no_frames(self.name)
        orientation = self._orientations.of(frame)
        with open_video(self.stream, self.name) as container:
            stream = picture_stream(container, self.name)
            rate = frame_rate(container, stream)
            facts = ClipFacts(
                *orientation.size(frame.width, frame.height),
                rate,
                _stated_frame_count(container, stream),
                pixel_aspect(stream, orientation.quarter_turns),
                90 * orientation.quarter_turns,
                orientation.mirrored,
                bits_of(frame),
                is_see_through(frame),
                colours_of(frame, stream.codec_context),
            )
            states_lengths = states_rate(stream)
        origin = origin_of((stamp_of(picture) for picture in chain([frame], decoded)), 1 / rate)
        return _Opening(
            facts,
            Clock(origin, None if origin is None else frame.time_base, 1 / rate),
            states_lengths,
            Imprint.take(self.stream, self.name),
        )

    def _length_of(self, frame: av.VideoFrame) -> Fraction | None:
        """Seconds that the file shows a frame for; None where it does not say."""
        if not self._opening.states_lengths or not frame.duration or not frame.time_base:
            return None
        return frame.duration * frame.time_base

    def _read(
        self, clip_range: ClipRange, convert: Callable[[av.VideoFrame, Orientation], Converter]
    ) -> Iterator[Picture]:
        """The pictures in `clip_range`, their pixels by `convert(frame, orientation)`."""
        facts, count = self.facts(), 0
        for number, frame, time, moved in self._decode(clip_range.start):
            count = number + 1
            if clip_range.keeps(number):
                orientation = self._orientations.of(frame)
                size = orientation.size(frame.width, frame.height)
                if size != (facts.width, facts.height):
                    raise _size_change(self.name, number, size, facts)
                yield Picture(
                    number,
                    convert(frame, orientation),
                    time,
                    self._length_of(frame),
                    bool(frame.interlaced_frame),
                    frame.is_corrupt,
                    moved,
                )
            if number == clip_range.last:
                return
        check_start(self.name, clip_range.start, count)

    def _decode(self, start: int) -> Iterator[tuple[int, av.VideoFrame, Fraction, bool]]:
        """From frame `start` or an earlier one on: number, frame, time after frame 0, moved.

        `moved` says that the frame's own time stamp was not used.
        """
        numbered = numbered_pictures(self.stream, self.name, start)
        first = next(numbered, None)
        if first is None:
            return
        stamped = ((item, stamp_of(item[1])) for item in chain([first], numbered))
        for (number, frame), time, moved in self._clock.times(stamped, from_first=first[0] == 0):
            yield number, frame, time, moved

    def _times(self, until: Fraction) -> Iterator[tuple[Fraction | None, Fraction, bool]]:
        """Of each frame up to `until`, and of one more at least: stamp, time, moved.

        Both count seconds after frame 0; `moved` says that the stamp was not used.
        """
        origin = self.origin
        stamps = stamps_until(self.stream, self.name, until + origin)
        for stamp, time, moved in self._clock.times((stamp, stamp) for stamp in stamps):
            yield None if stamp is None else stamp - origin, time, moved
            if time >= until:
                return


def _first_at(times: Sequence[Fraction], seconds: Fraction) -> int:
    """Number of the first of the rising `times` not before `seconds`; the count if none is."""
    return next((number for number, time in enumerate(times) if time >= seconds), len(times))


def _stated_frame_count(
    container: av.container.InputContainer, stream: av.VideoStream
) -> int | None:
    """Frames that the file says it has; None where that cannot be believed."""
    # AVI and edit lists (clips trimmed without re-encoding) state counts that are not what plays.
    # mp4 and mov are believed where count, duration and rate agree.
    if "mp4" not in container.format.name.split(",") or not (
        stream.frames and stream.duration and stream.time_base and stream.average_rate
    ):
        return None
    played = round(stream.duration * stream.time_base * stream.average_rate)
    return stream.frames if played == stream.frames else None


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
