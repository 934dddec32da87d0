"""Decoding a sound track: samples of one rate and layout, on the file's clock, with silent gaps.

This file is also the program that `apart` runs in a process of its own. So it needs only PyAV and
numpy, and imports nothing of the pack.

Two faults of PyAV (16.0 to 18.1) must be avoided. It reads beyond the last plane of planar sound
with 8 channels and more: FFmpeg's resampler packs the samples first. And it frees the list of a
custom channel order (QuickTime's L C R Ls Rs LFE, say) once more for every Python object that shows
the layout, which crashes the process. While all those objects are kept, nothing is freed twice: so
the program decodes such sound, and ends without freeing anything.
"""

import io
import json
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

PREROLL_SECONDS = 1
"""AAC and MP3 need the packets before a jump to sound right."""
SLACK, ROUNDING = Fraction(18, 1000), Fraction(2, 1000)
"""Seconds by which a stamp may differ from the count of samples and is not followed.

Within a run just less than the shortest usual packet (20 ms of Opus), because recorders' clocks
jitter; where rate or layout change, a coarse tick.
"""
SET_BACK, LONGEST_HOLE = 1, 600
"""Seconds by which stamps fall or jump where a clock was set anew; no hole is left there."""
PIECE = 1 << 16
"""Samples of silence handed on at a time."""
SILENT_FRAMES = 256
"""Frames before the range after which an empty piece shows that the work goes on."""
NATIVE_ORDER = (
    "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR DL DR WL WR SDL SDR LFE2 TSL "
    "TSR BFC BFL BFR"
).split()
"""Channels in the order of FFmpeg's own layouts: enum AVChannel, libavutil/channel_layout.h."""
RECORD = struct.Struct("<II")
"""What the program writes: channels and bytes of a piece, then the piece.

0 channels mark the end: `Found` as JSON follows.
"""


@dataclass(frozen=True)
class Wanted:
    """Which samples of a file are wanted."""

    track: int
    """Index of the stream."""
    begin: Fraction
    """Seconds on the file's clock at which the range begins."""
    duration: Fraction
    """Seconds; 0 is to the end."""


@dataclass
class Found:
    """What was found; complete only after the last piece."""

    rate: int = 0
    """Samples per second; 0 where nothing could be decoded."""
    channels: int = 0
    """Channels, in FFmpeg's own order where their places are known."""
    heard: bool = False
    """Whether the range has samples of the file, and not silence alone."""
    changes: bool = False
    """Whether rate or layout change inside."""
    damaged: bool = False
    """Whether packets of the range could not be decoded; silence stands in their place."""


def read_samples(
    container: av.container.InputContainer,
    wanted: Wanted,
    found: Found,
    held: list[av.AudioLayout] | None = None,
) -> Iterator[np.ndarray]:
    """The range as float32 (n, channels), n ≥ 0: from its first sample to the file's last.

    The first decoded frame gives rate and layout; what differs later is resampled. Fills in
    `found`. Custom channel orders need `held`, a list that is never freed, and come out in FFmpeg's
    order.
    """
    track = container.streams[wanted.track]
    assert isinstance(track, av.AudioStream)
    skip_ahead(container, track, wanted.begin)
    line, since = None, 0
    for frame in _frames(container, track, wanted, found):
        if held is not None:
            held.append(frame.layout)
        line, since = line or _Line(frame, wanted, found, held), since + 1
        for samples in line.take(frame):
            yield samples
            since = 0
        if line.is_full:
            return
        if since == SILENT_FRAMES:
            yield np.empty((0, found.channels), np.float32)
            since = 0
    if line is not None:
        yield from line.flush()


def skip_ahead(
    container: av.container.InputContainer, track: av.AudioStream, seconds: Fraction
) -> None:
    """Jump to shortly before `seconds`, where the file says exactly where that is."""
    # Only mp4 and mov store exact sample times; elsewhere samples are counted from the beginning.
    is_exact = "mp4" in container.format.name.split(",")
    if is_exact and seconds > 2 * PREROLL_SECONDS and track.time_base:
        container.seek(int((seconds - PREROLL_SECONDS) / track.time_base), stream=track)


def _frames(
    container: av.container.InputContainer, track: av.AudioStream, wanted: Wanted, found: Found
) -> Iterator[av.AudioFrame]:
    """Decoded frames. Packets that cannot be decoded are skipped; broken data is the end."""
    end = wanted.begin + wanted.duration if wanted.duration else None
    try:
        for packet in container.demux(track):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                if packet.pts is not None and packet.time_base:
                    time = packet.pts * packet.time_base
                    found.damaged |= wanted.begin <= time and (end is None or time < end)
                continue
            yield from frames
    except av.error.FFmpegError:
        found.damaged = True


class _Line:
    """Frames in the order of time → samples without gaps."""

    def __init__(
        self, first: av.AudioFrame, wanted: Wanted, found: Found, held: list[av.AudioLayout] | None
    ):
        self.begin, self.found, self.held = wanted.begin, found, held
        found.rate = self.rate = first.sample_rate
        found.channels = self.channels = first.layout.nb_channels
        self.layout = first.layout.name
        self.order = _native_places(first.layout) if held is not None else None
        self.limit = round(wanted.duration * self.rate) if wanted.duration else None
        self.form: tuple[str, str, int] | None = None
        self.resampler: av.AudioResampler | None = None
        self.places: list[int] | None = None
        self.due: Fraction | None = None  # when the next frame is expected
        self.shift = Fraction(0)  # from stamps to the times that are used
        self.position = 0  # of the next decoded sample, in the range
        self.written = 0  # samples handed on

    @property
    def is_full(self) -> bool:
        """Whether the range has all its samples."""
        return self.limit is not None and self.written >= self.limit

    def take(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        """The samples of a frame; before them the silence of a hole, if there is one."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        leap = self._leap(frame, SLACK if form == self.form else ROUNDING)
        if form != self.form or leap:
            yield from self.flush()
            self._begin_run(form)
        if leap or self.due is None:
            self.due = (self.due or Fraction(0)) + leap
            self.position = round((self.due - self.begin) * self.rate)
        self.due += Fraction(frame.samples, frame.sample_rate)
        for piece in self._resample(frame):
            yield from self._lay(self._array(piece))

    def flush(self) -> Iterator[np.ndarray]:
        """What the resampler still holds; the next frame begins a run of its own."""
        resampler, self.resampler, self.form = self.resampler, None, None
        pieces = resampler.resample(None) if resampler else []
        for piece in pieces:
            if piece is not None:
                yield from self._lay(self._array(piece))

    def _leap(self, frame: av.AudioFrame, slack: Fraction) -> Fraction:
        """Seconds from when the frame is due to its stamp, 0 if it just follows.

        For the first frame, its time.
        """
        if frame.pts is None or not frame.time_base:
            return self.begin if self.due is None else Fraction(0)
        time = frame.pts * frame.time_base + self.shift
        if self.due is None:
            return _whole_frames(time, frame)
        leap = time - self.due
        if not -SET_BACK <= leap <= LONGEST_HOLE:
            self.shift -= leap
            leap = Fraction(0)
        return leap if abs(leap) > slack else Fraction(0)

    def _begin_run(self, form: tuple[str, str, int]) -> None:
        """Set up a resampler for frames of one form that follow each other."""
        _, layout, rate = form
        self.found.changes |= (layout, rate) != (self.layout, self.rate)
        self.form, self.places = form, self.order if layout == self.layout else None
        self.resampler = av.AudioResampler(
            format="flt",
            rate=self.rate,
            layout=None if layout == self.layout else self._native_layout(),
        )

    def _native_layout(self) -> str:
        """The first frame's layout, its channels in FFmpeg's order."""
        if self.order is None:
            return self.layout
        names = self.layout[self.layout.index("(") + 1 : -1].split("+")
        return "+".join(names[place] for place in self.order)

    def _resample(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """The frame in packed float32, at the first frame's rate and layout."""
        assert self.resampler is not None  # `take` begins a run first
        try:
            return self.resampler.resample(frame)
        except (av.error.FFmpegError, ValueError):
            # FFmpeg cannot convert one layout to the other: channel by channel then.
            self.resampler = av.AudioResampler(format="flt", rate=self.rate)
            return self.resampler.resample(frame)

    def _array(self, piece: av.AudioFrame) -> np.ndarray:
        """Packed samples, float32 (n, channels)."""
        if self.held is not None:
            self.held.append(piece.layout)
        samples: np.ndarray = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
        if samples.shape[1] != self.channels:
            missing = max(0, self.channels - samples.shape[1])
            samples = np.pad(samples[:, : self.channels], ((0, 0), (0, missing)))
        return samples[:, self.places] if self.places else samples

    def _lay(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Silence up to where `samples` belong, then what of them lies in the range and was not
        there yet.
        """
        begin, self.position = self.position, self.position + len(samples)
        stop = begin if self.limit is None else min(begin, self.limit)
        while self.written < stop:
            count = min(PIECE, stop - self.written)
            self.written += count
            yield np.zeros((count, self.channels), np.float32)
        samples = samples[self.written - begin :]
        if self.limit is not None:
            samples = samples[: self.limit - self.written]
        if len(samples):
            self.found.heard = True
            self.written += len(samples)
            yield samples


def _whole_frames(time: Fraction, frame: av.AudioFrame) -> Fraction:
    """When the first frame begins: `time`, or whole frames before or after 0 on a coarse clock.

    The first frame of an AAC encoder is 1024 samples long; matroska's clock has 21 ms for it, 1008
    samples.
    """
    step = Fraction(frame.samples, frame.sample_rate)
    whole = round(time / step) * step if step else time
    return whole if frame.time_base and abs(whole - time) < frame.time_base else time


def _native_places(layout: av.AudioLayout) -> list[int] | None:
    """Places in FFmpeg's order of a custom order's channels; None if equal, or not known."""
    names = [channel.name for channel in layout.channels]
    if len(set(names)) < len(names) or not set(names) <= set(NATIVE_ORDER):
        return None
    places = sorted(range(len(names)), key=lambda place: NATIVE_ORDER.index(names[place]))
    return None if places == sorted(places) else places


def serve(request: BinaryIO, answer: BinaryIO) -> None:
    """Answer a request: a line of JSON, and the file's bytes if it has no name; with `RECORD`s."""
    task = json.loads(request.readline())
    source = task["file"] or io.BytesIO(request.read(task["bytes"]))
    wanted = Wanted(task["track"], Fraction(task["begin"]), Fraction(task["duration"]))
    found, held = Found(), list[av.AudioLayout]()
    with av.open(
        source, "r", metadata_errors="replace", container_options=task["options"]
    ) as container:
        for samples in read_samples(container, wanted, found, held):
            data = np.ascontiguousarray(samples, np.float32).tobytes()
            answer.write(RECORD.pack(samples.shape[1], len(data)) + data)
            answer.flush()
        data = json.dumps(asdict(found)).encode()
        answer.write(RECORD.pack(0, len(data)) + data)
        answer.flush()
        os._exit(0)  # before anything is freed


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
