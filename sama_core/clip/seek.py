"""Which frame a decoder is at: counted from the first frame, or from the keyframe before the start.

Seeking is by time, frame numbers are by count, so a jump is only exact when the times of all frames
before it are known. Packets carry them, and reading packets costs no decoding. Where packets and
frames may not be one to one, the answer is None and the caller counts from the beginning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, dropwhile, islice

import av

Numbered = Iterator[tuple[int, av.VideoFrame]]

CONTAINERS = {"mp4", "matroska"}
"""Formats that store one shown frame per packet, with its presentation time. VP8 hides frames in
packets of their own, AVI has no presentation times, MPEG-TS splits fields and wraps its clock.
"""
CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4", "mjpeg", "prores", "ffv1"}

REORDER = 32
"""Packets are stored in decoding order. No codec above moves a frame by more than its reference
buffer, 16 frames; twice that is a safe distance.
"""


def from_beginning(
    container: av.container.InputContainer, stream: av.VideoStream, start: int = 0
) -> Numbered:
    """Decode and count from frame 0, whatever `start` is: always right, never quick."""
    return enumerate(_pictures(stream, container.demux(stream)))


def from_keyframe(
    container: av.container.InputContainer, stream: av.VideoStream, start: int
) -> Numbered | None:
    """Decode from the keyframe before frame `start`, or None where its number cannot be proved.

    A None leaves the container at an unknown position: open it again.
    """
    shown = _shown_packets(
        container, stream, islice(_packets(container, stream), start + 1 + REORDER)
    )
    if shown is None or len(shown) <= start:
        return None
    times = [time for time, _ in shown]
    once = Counter(times)
    try:
        keyframes = [time for time, is_key in shown[: start + 1] if is_key and once[time] == 1]
        container.seek(max(keyframes), stream=stream)
        packets = container.demux(stream)
        landing = next(packets)
        begin = landing.pts
        if begin is None:
            return None
        # Frames shown before the keyframe but stored after it refer to frames we have not decoded.
        pictures = dropwhile(
            lambda picture: picture.pts is None or picture.pts < begin,
            _pictures(stream, chain([landing], packets)),
        )
        first = next(pictures, None)
    except (av.error.FFmpegError, ValueError):
        return None
    if first is None or first.interlaced_frame or first.pts != begin or once[first.pts] != 1:
        return None
    number = times.index(first.pts)
    return enumerate(chain([first], pictures), number) if number <= start else None


def packet_stamps(
    container: av.container.InputContainer, stream: av.VideoStream, until: Fraction
) -> list[Fraction] | None:
    """Stamps of the frames in the order shown, to `until` and beyond; seconds on the file's clock.

    None where packets do not say it.
    """
    tick = stream.time_base
    if tick is None:
        return None
    shown = _shown_packets(container, stream, _until(_packets(container, stream), until / tick))
    return None if shown is None else [time * tick for time, _ in shown]


def _pictures(stream: av.VideoStream, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
    """Decode pictures on demand. The one place that decodes, so tests can count here."""
    # Frame threads would decode ahead of what is asked, and swallow the error of a cut-off last
    # frame.
    stream.thread_type = "SLICE"
    decoder = _transparent_decoder(stream)
    for packet in packets:
        decoded = decoder.decode(packet if packet.size else None) if decoder else packet.decode()
        yield from decoded


def _transparent_decoder(stream: av.VideoStream) -> av.VideoCodecContext | None:
    """A decoder that reads the alpha channel of VP8 and VP9, which FFmpeg's own ones leave out."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1" or name not in av.codecs_available:
        return None
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    return decoder


PacketTime = tuple[int | None, bool]
"""Of a packet: the tick at which its frame is shown, and whether it is a keyframe."""


def _shown_packets(
    container: av.container.InputContainer, stream: av.VideoStream, stamps: Iterable[PacketTime]
) -> list[tuple[int, bool]] | None:
    """The first packets' times in decoding order → in the order shown; None if that is unknown."""
    if (
        not CONTAINERS & set(container.format.name.split(","))
        or stream.codec_context.name not in CODECS
    ):
        return None
    stamped = list(stamps)
    packets = [(time, is_keyframe) for time, is_keyframe in stamped if time is not None]
    times = [time for time, _ in packets]
    # Frames shown before the first keyframe, as after a cut inside a group, may be dropped or not.
    if not packets or len(packets) < len(stamped) or not packets[0][1] or times[0] != min(times):
        return None
    order = sorted(range(len(times)), key=times.__getitem__)
    if not stream.codec_context.has_b_frames:  # shown as stored, so that equal times do no harm
        return packets if order == list(range(len(times))) else None
    # A time far from its place is wrong, and would be taken for a frame shown there.
    moved = max(abs(place - number) for place, number in enumerate(order))
    return (
        [packets[number] for number in order]
        if len(set(times)) == len(times) and moved <= REORDER
        else None
    )


def _packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[PacketTime]:
    """Stamps of the shown packets in decoding order, up to damage or the end."""
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                yield packet.pts, packet.is_keyframe
    except av.error.FFmpegError:
        return


def _until(stamps: Iterator[PacketTime], ticks: Fraction) -> Iterator[PacketTime]:
    """`stamps` until so many are at `ticks` or later that no earlier frame can follow."""
    beyond = 0
    for time, is_keyframe in stamps:
        yield time, is_keyframe
        beyond += time is not None and time >= ticks
        if beyond > REORDER:
            return
