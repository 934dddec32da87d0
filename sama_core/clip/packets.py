"""The coded sound of a range of a file, as an mp4 takes it: packets of the file's own track.

`open_packets` opens the file once and answers with the packets, or with None where an mp4 does not
take them. Whether it does is only certain once FFmpeg has written them, for some errors (Dolby's
dependent streams, broken Opus) come with a later packet; so they are first written to memory.
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
    packets: list[tuple[av.Packet, int, int]]
    """Packets with the sample of the range at which they begin, and their length in samples."""

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
    with ExitStack() as files:
        packets = None
        with suppress(av.error.FFmpegError, ClipError, ValueError):
            container = files.enter_context(open_video(stream, name))
            packets = _try(_read(container, origin, start, duration))
        yield packets


def _try(packets: TrackPackets) -> TrackPackets | None:
    """`packets` if an mp4 takes them; else None, FFmpegError or ValueError."""
    codec = packets.track.codec_context.codec.canonical_name
    if codec not in COPIED_CODECS or not packets.packets:
        return None
    with av.open(io.BytesIO(), "w", format="mp4") as trial:
        for packet in packets.add_to(trial):
            trial.mux(packet)
    return packets


def _read(
    container: av.container.InputContainer, origin: Fraction, start: Fraction, duration: Fraction
) -> TrackPackets:
    """The track and its packets. Raises ValueError if it has none, or their times are unknown."""
    track = audible_track(container)
    if track is None:
        raise ValueError("no sound")
    begin, rate = begin_of(container, origin) + start, track.rate
    skip_ahead(container, track, begin)
    packets, end = [], round(duration * rate)
    for packet, time in _give_times(container.demux(track), track):
        first, length = round((time - begin) * rate), round(_length_of(packet, track) * rate)
        if first >= end:
            break
        if first + length > -RUN_UP * rate:
            packets.append((packet, first, max(1, min(length, end - first))))
    return TrackPackets(track, rate, packets)


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
