"""Decoding a sound track: samples of one rate and one channel layout, on the file's clock, silence in the holes.

The file is also the program that `apart.py` runs in a process of its own, so it needs PyAV and numpy alone and
imports nothing of the pack.

PyAV (16.0 to 18.1) reads behind the last plane of planar sound with 8 channels and more: FFmpeg's resampler packs it
first. And it frees the list of a custom channel order (QuickTime's L C R Ls Rs LFE, say) once more for every Python
object that shows the layout, which kills the process. Where those objects are held for ever, nothing is freed twice:
so the program decodes such sound, and ends without clearing up.
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
"""Seconds by which a stamp may be off the count of samples and is not followed: within a run just less than the
shortest usual packet, 20 ms of Opus, because recorders' clocks jitter; where rate or layout change, a coarse tick."""
SET_BACK, LONGEST_HOLE = 1, 600
"""Seconds by which stamps fall or leap where a clock was set anew; what comes then goes on without a hole."""
PIECE = 1 << 16
"""Samples of silence handed on at a time."""
SILENT_FRAMES = 256
"""Frames before the range after which an empty piece tells that the work goes on."""
NATIVE_ORDER = (
    "FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR DL DR WL WR SDL SDR LFE2 TSL TSR BFC "
    "BFL BFR"
).split()
"""The order of channels in all of FFmpeg's own layouts; source: enum AVChannel, libavutil/channel_layout.h."""
RECORD = struct.Struct("<II")
"""What the program writes: channels and bytes of a piece, then the piece; 0 channels: `Found` as JSON, the end."""


@dataclass(frozen=True)
class Wanted:
    """Which samples of a file are wanted."""

    track: int
    "Index of the stream."
    begin: Fraction
    "Seconds on the file's clock at which the range begins."
    duration: Fraction
    "Seconds; 0 is to the end."


@dataclass
class Found:
    """What was found; whole only behind the last piece."""

    rate: int = 0
    "Samples per second; 0 where nothing could be decoded."
    channels: int = 0
    "Channels, in FFmpeg's own order where their places are known."
    heard: bool = False
    "Whether the range has samples of the file, and not silence alone."
    changes: bool = False
    "Whether rate or layout change inside."
    damaged: bool = False
    "Whether packets of the range could not be decoded; silence stands in their place."


def read_samples(
    container: av.container.InputContainer, wanted: Wanted, found: Found, held: list | None = None
) -> Iterator[np.ndarray]:
    """Yields float32 (n, channels), n from 0 on: the range from its first sample to the last that the file has.

    The first decoded frame gives rate and layout; what differs later is resampled. Fills in `found`. Custom channel
    orders need `held`, a list that is never freed, and come out in FFmpeg's order.
    """
    track = container.streams[wanted.track]
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
    """Jump to shortly before `seconds`, where the file tells exactly where that is."""
    # Only mp4 and mov store exact sample times; elsewhere the samples are counted from the beginning.
    if "mp4" in container.format.name.split(",") and seconds > 2 * PREROLL_SECONDS:
        container.seek(int((seconds - PREROLL_SECONDS) / track.time_base), stream=track)


def _frames(
    container: av.container.InputContainer, track: av.AudioStream, wanted: Wanted, found: Found
) -> Iterator[av.AudioFrame]:
    """Decoded frames. Packets that cannot be decoded are passed over; data that breaks off is the end."""
    end = wanted.begin + wanted.duration if wanted.duration else None
    try:
        for packet in container.demux(track):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                time = None if packet.pts is None else packet.pts * packet.time_base
                found.damaged |= (
                    time is not None and wanted.begin <= time and (end is None or time < end)
                )
                continue
            yield from frames
    except av.error.FFmpegError:
        found.damaged = True


class _Line:
    """Frames in the order of time → samples without gaps."""

    def __init__(self, first: av.AudioFrame, wanted: Wanted, found: Found, held: list | None):
        self.begin, self.found, self.held = wanted.begin, found, held
        found.rate, found.channels = self.rate, self.channels = (
            first.sample_rate,
            first.layout.nb_channels,
        )
        self.layout, self.order = (
            first.layout.name,
            _native_places(first.layout) if held is not None else None,
        )
        self.limit = round(wanted.duration * self.rate) if wanted.duration else None
        self.form, self.resampler, self.places = None, None, None
        self.due: Fraction | None = None  # when the next frame is expected
        self.shift = Fraction(0)  # from stamps to the time that is believed
        self.position = self.written = (
            0  # of the next decoded sample in the range; samples handed on
        )

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
            self.due = (self.due or 0) + leap
            self.position = round((self.due - self.begin) * self.rate)
        self.due += Fraction(frame.samples, frame.sample_rate)
        for piece in self._resampled(frame):
            yield from self._lay(self._array(piece))

    def flush(self) -> Iterator[np.ndarray]:
        """What the resampler still holds; the next frame begins a run of its own."""
        resampler, self.resampler, self.form = self.resampler, None, None
        for piece in resampler.resample(None) if resampler else ():
            if piece is not None:
                yield from self._lay(self._array(piece))

    def _leap(self, frame: av.AudioFrame, slack: Fraction) -> Fraction:
        """Seconds from where the frame is due to where its stamp puts it, 0 if it just follows; at first its time."""
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
        """A resampler for frames of one form that follow each other."""
        _, layout, rate = form
        self.found.changes |= (layout, rate) != (self.layout, self.rate)
        self.form, self.places = form, self.order if layout == self.layout else None
        self.resampler = av.AudioResampler(
            format="flt",
            rate=self.rate,
            layout=None if layout == self.layout else self._native_layout(),
        )

    def _native_layout(self) -> str:
        if self.order is None:
            return self.layout
        names = self.layout[self.layout.index("(") + 1 : -1].split("+")
        return "+".join(names[place] for place in self.order)

    def _resampled(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        try:
            return self.resampler.resample(frame)
        except (
            av.error.FFmpegError,
            ValueError,
        ):  # no way from one layout to the other: channel by channel then
            self.resampler = av.AudioResampler(format="flt", rate=self.rate)
            return self.resampler.resample(frame)

    def _array(self, piece: av.AudioFrame) -> np.ndarray:
        """Packed samples, float32 (n, channels)."""
        if self.held is not None:
            self.held.append(piece.layout)
        samples = piece.to_ndarray().reshape(-1, piece.layout.nb_channels)
        if samples.shape[1] != self.channels:
            samples = np.pad(
                samples[:, : self.channels], ((0, 0), (0, max(0, self.channels - samples.shape[1])))
            )
        return samples[:, self.places] if self.places else samples

    def _lay(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Silence up to where `samples` belong, then what of them lies in the range and was not there yet."""
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
    """When the first frame begins: `time`, or whole frames before or after 0 where a coarse clock may mean those.

    The frame that an AAC encoder puts first is 1024 samples long; matroska's clock has 21 ms for it, 1008.
    """
    step = Fraction(frame.samples, frame.sample_rate)
    whole = round(time / step) * step if step else time
    return whole if abs(whole - time) < frame.time_base else time


def _native_places(layout: av.AudioLayout) -> list[int] | None:
    """Where the channels of a custom order stand in FFmpeg's; None if they stand so, or their places are not known."""
    names = [channel.name for channel in layout.channels]
    if len(set(names)) < len(names) or not set(names) <= set(NATIVE_ORDER):
        return None
    places = sorted(range(len(names)), key=lambda place: NATIVE_ORDER.index(names[place]))
    return None if places == sorted(places) else places


def serve(request: BinaryIO, answer: BinaryIO) -> None:
    """Reads from `request` a line of JSON and the file's bytes if it has no name; writes `RECORD`s to `answer`."""
    task = json.loads(request.readline())
    source = task["file"] or io.BytesIO(request.read(task["bytes"]))
    wanted = Wanted(task["track"], Fraction(task["begin"]), Fraction(task["duration"]))
    found, held = Found(), []
    with av.open(source, metadata_errors="replace", container_options=task["options"]) as container:
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
