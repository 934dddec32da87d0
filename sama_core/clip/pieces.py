"""A result written in closed pieces, and the pieces joined: what is finished stays finished.

    pictures to encode ──write_piece──▶ piece 0, piece 1, …     each an H.264 mp4 that stands alone
    pieces, sound ──join_pieces──▶ one file                  their packets, none is encoded again

A piece begins with a picture that refers to no earlier one, and its times count from its own first
frame. All of one result have the same clock, size, tags and encoder settings, so that one
description in the joined file is true of all.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import av

from ..errors import ClipError, needed
from .info import ClipInfo
from .own_sound import OwnSound
from .save import (
    TAGS,
    Encoding,
    SoundTrack,
    check_size,
    complete_or_absent,
    encode_pictures,
    open_video_stream,
    time_of,
)

ENCODER_THREADS = 8
"""With another number the encoder writes other pictures: by itself it takes one and a half of the
processors, so that pieces of two machines, or of one with fewer processors to use, would differ.
"""
AS_STORED = {"ignore_editlist": "1"}
"""Read an mp4's packets with the times that its track has."""


def write_piece(
    path: Path, pictures: Iterator[av.VideoFrame], info: ClipInfo, part: range, encoding: Encoding
) -> None:
    """Write the frames `part` of a result as one piece, from `prepare_pictures`.

    `info` is the whole clip's. `pictures` may go on behind the part; no more are taken than it has.
    The file appears whole or not at all. Raises ClipError for fewer frames, and where it cannot be
    written.
    """
    check_size(info.width, info.height)
    tick, ticks = info.timing.ticks()
    times = [time - ticks[part.start] for time in ticks[part.start : part.stop + 1]]
    with (
        complete_or_absent(path) as unfinished,
        av.open(str(unfinished), "w", format="mp4") as container,
    ):
        stream = open_video_stream(container, info, encoding, tick)
        stream.codec_context.thread_count = ENCODER_THREADS
        written = 0
        for packet in encode_pictures(stream, pictures, tick, times):
            container.mux(packet)
            written += 1
        if written != len(part):
            got = f"{written} frames"
            raise ClipError(needed("the edit", got, f"{len(part)} frames", "Queue it again."))


def count_pictures(path: Path) -> int | None:
    """How many pictures a piece holds; None where it cannot be read."""
    try:
        with av.open(str(path), options=AS_STORED) as container:
            stream = container.streams.video[0]
            return sum(1 for packet in container.demux(stream) if packet.size)
    except (av.error.FFmpegError, IndexError):
        return None


def join_pieces(
    path: Path,
    pieces: list[tuple[Path, int]],
    info: ClipInfo,
    sound: OwnSound,
    encoding: Encoding,
) -> None:
    """Write one mp4 of `pieces`, each with the number of its first frame, and the clip's sound.

    The file appears whole or not at all. Raises ClipError where a piece cannot be read, or the
    file cannot be written.
    """
    tick, ticks = info.timing.ticks()
    with (
        complete_or_absent(path) as unfinished,
        av.open(
            str(unfinished), "w", format="mp4", options={"movflags": f"{TAGS}+faststart"}
        ) as container,
    ):
        container.metadata.update(encoding.metadata)
        with av.open(str(pieces[0][0]), options=AS_STORED) as first:
            video = container.add_stream_from_template(first.streams.video[0])
            video.time_base = tick
        with sound.open() as add_to:
            track = SoundTrack(add_to(container), is_mp4=True)
            for packet in _packets(pieces, ticks, tick):
                due = time_of(packet)
                packet.stream = video
                container.mux(packet)
                container.mux(track.until(due))
            container.mux(track.until(None))


def _packets(
    pieces: list[tuple[Path, int]], ticks: list[int], tick: Fraction
) -> Iterator[av.Packet]:
    """The pictures' packets of all pieces, with times of the whole clip in ticks.

    They are decoded in their order, one for each time, as far ahead of it as in the piece that
    reorders most. A short piece alone would say less.
    """
    ends, ahead = dict(pairwise(ticks)), max(_count_ahead(path, ticks, tick) for path, _ in pieces)
    early = [ticks[0] - number * (ticks[1] - ticks[0]) for number in range(ahead, 0, -1)]
    due = chain(early, ticks)
    for path, first in pieces:
        with av.open(str(path), options=AS_STORED) as container:
            stream, begin = container.streams.video[0], None
            for packet in container.demux(stream):
                if packet.size:
                    time = round(time_of(packet) / tick)
                    begin = time - ticks[first] if begin is None else begin
                    packet.time_base = tick
                    packet.pts, packet.dts = time - begin, next(due)
                    packet.duration = ends[packet.pts] - packet.pts
                    yield packet


def _count_ahead(path: Path, ticks: list[int], tick: Fraction) -> int:
    """How many frames before its time a piece's first packet is decoded."""
    with av.open(str(path), options=AS_STORED) as container:
        first = next(container.demux(container.streams.video[0]))
        assert first.pts is not None and first.dts is not None and first.time_base
        return round((first.pts - first.dts) * first.time_base / tick / (ticks[1] - ticks[0]))
