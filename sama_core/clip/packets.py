"""The coded sound of a range of a file, as an mp4 takes it: packets of the file's own track.

`open_packets` answers with the packets, or with None where an mp4 does not take them. Whether it
does is only certain once FFmpeg has written them, for some errors (Dolby's dependent streams,
broken Opus) come with a later packet; so they are first read once and written nowhere. One packet
is in memory at a time.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction

import av

from ..errors import ClipError
from .audio import COPIED_CODECS, audible_track, begin_of
from .decode import Stream, open_video
from .samples import skip_ahead

RUN_UP = Fraction(8, 100)
"""Seconds of packets before the range that a decoder needs; an edit list keeps them silent."""

Packets = Iterator[av.Packet]


@dataclass(frozen=True)
class TrackPackets:
    """A track of an open file, and those of its packets that sound in a range."""

    track: av.AudioStream
    """The track."""
    rate: int
    """Samples per second of the track."""
    packets: Iterator[tuple[av.Packet, int, int]]
    """Packets with the sample of the range at which they begin, and their length in samples; read
    as they are taken, once.
    """

    def add_to(self, container: av.container.OutputContainer) -> Packets:
        """Add the track to `container` and give the packets for it, in order of time."""
        return self._packets_for(container.add_stream_from_template(self.track))

    def _packets_for(self, stream: av.AudioStream) -> Packets:
        for packet, begin, length in self.packets:
            packet.stream, packet.time_base = stream, Fraction(1, self.rate)
            packet.pts = packet.dts = begin
            packet.duration = length
            yield packet


@contextmanager
def open_packets(
    stream: Stream, name: str, origin: Fraction, start: Fraction, duration: Fraction
) -> Iterator[TrackPackets | None]:
    """The packets that sound in a range, valid in this context; None if an mp4 does not take them.

    `origin` is when the first picture is shown on the file's clock; the range begins `start`
    seconds after it and lasts `duration` seconds. None as well for a file that cannot be read, or
    has no sound in the range.
    """
    place = origin, start, duration
    with ExitStack() as files:
        packets = None
        with suppress(av.error.FFmpegError, ClipError, ValueError):
            with open_video(stream, name) as container:
                taken = _is_taken(_read(container, *place))
            if taken:
                packets = _read(files.enter_context(open_video(stream, name)), *place)
        yield packets


def _is_taken(packets: TrackPackets) -> bool:
    """Whether an mp4 takes the packets, and there are any. Else also FFmpegError or ValueError."""
    if packets.track.codec_context.codec.canonical_name not in COPIED_CODECS:
        return False
    count = 0
    with av.open(_Nowhere(), "w", format="mp4") as trial:
        for packet in packets.add_to(trial):
            trial.mux(packet)
            count += 1
    return count > 0


class _Nowhere:
    """A file to write to that keeps nothing."""

    def __init__(self) -> None:
        self.at = self.end = 0

    def write(self, data: bytes) -> int:
        """Goes on behind `data`."""
        self.at += len(data)
        self.end = max(self.end, self.at)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.end}[whence]
        return self.at

    def tell(self) -> int:
        """As any file."""
        return self.at


def _read(
    container: av.container.InputContainer, origin: Fraction, start: Fraction, duration: Fraction
) -> TrackPackets:
    """The track and its packets. Raises ValueError if it has none, and while they are taken if
    their times are unknown.
    """
    track = audible_track(container)
    if track is None:
        raise ValueError("no sound")
    begin = begin_of(container, origin) + start
    skip_ahead(container, track, begin)
    return TrackPackets(
        track, track.rate, _in_range(container.demux(track), track, begin, duration)
    )


def _in_range(
    packets: Packets, track: av.AudioStream, begin: Fraction, duration: Fraction
) -> Iterator[tuple[av.Packet, int, int]]:
    """Packets from `begin` seconds on, with their places; see `TrackPackets`."""
    rate = track.rate
    end = round(duration * rate)
    for packet, time in _give_times(packets, track):
        first, length = round((time - begin) * rate), round(_length_of(packet, track) * rate)
        if first >= end:
            break
        if first + length > -RUN_UP * rate:
            yield packet, first, max(1, min(length, end - first))


def _give_times(packets: Packets, track: av.AudioStream) -> Iterator[tuple[av.Packet, Fraction]]:
    """Packets with their times in seconds, to the sample where the file's clock is coarser.

    That clock is coarse in matroska and MPEG-TS. Packets of one length follow each other without
    gaps, usually from 0 on; this is believed as long as the stated times agree to a tick. Raises
    ValueError for packets without times.
    """
    step, tick = Fraction(track.codec_context.frame_size, track.rate), track.time_base
    first, number = None, 0
    for packet in packets:
        if not packet.size:
            continue
        if packet.pts is None or tick is None:
            raise ValueError("packets without times")
        stated = packet.pts * tick
        if first is None or abs(first + number * step - stated) > tick:
            whole = round(stated / step) * step if step else stated
            first, number = whole if abs(whole - stated) < tick else stated, 0
        yield packet, first + number * step
        number += 1


def _length_of(packet: av.Packet, track: av.AudioStream) -> Fraction:
    """Seconds that a packet sounds for."""
    return (packet.duration or 0) * (track.time_base or Fraction(0))
