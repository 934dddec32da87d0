"""A result written in closed pieces, and the pieces joined: what is finished stays finished.

    restored frames ──write_piece──▶ piece 0, piece 1, …     each an H.264 mp4 that stands alone
    pieces, sound ──join_pieces──▶ one file                  their packets, none is encoded again

A piece begins with a picture that refers to no earlier one, and its times count from its own first
frame. All of one result have the same clock, size, tags and encoder settings, so that one
description in the joined file is true of all.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from torch import Tensor

from ..errors import ClipError, needed
from .info import ClipInfo
from .own_sound import OwnSound
from .save import (
    CONTAINERS,
    TAGS,
    Encoding,
    SoundTrack,
    check_size,
    complete_or_absent,
    encode_pictures,
    open_video_stream,
)

AS_STORED = {"ignore_editlist": "1"}
"""Read an mp4's packets with the times that its track has."""


def write_piece(
    path: Path, frames: Iterable[Tensor], info: ClipInfo, part: range, encoding: Encoding
) -> None:
    """Write the frames `part` of a result, restored and float (H, W, 3) in 0…1, as one piece.

    `info` is the whole clip's. `frames` may go on behind the part; no more are taken than it has.
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
        written = 0
        for packet in encode_pictures(stream, frames, info, encoding, tick, times):
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
    """Write one file of `pieces`, each with the number of its first frame, and the clip's sound.

    The file appears whole or not at all. Raises ClipError where a piece cannot be read, or the
    file cannot be written.
    """
    is_mp4 = encoding.container == "mp4"
    tick, ticks = info.timing.ticks()
    ends = dict(pairwise(ticks))
    with (
        complete_or_absent(path) as unfinished,
        av.open(
            str(unfinished),
            "w",
            format=CONTAINERS[encoding.container],
            options={"movflags": f"{TAGS}+faststart"} if is_mp4 else {},
        ) as container,
    ):
        container.metadata.update(encoding.metadata)
        with av.open(str(pieces[0][0]), options=AS_STORED) as first:
            video = container.add_stream_from_template(first.streams.video[0])
            video.time_base = tick
        with sound.opened(is_mp4) as add_to:
            track = SoundTrack(add_to(container), is_mp4)
            for packet in _packets(pieces, ticks, tick):
                packet.stream, packet.duration = video, ends[packet.pts] - packet.pts
                due = packet.pts * tick
                container.mux(packet)
                container.mux(track.until(due))
            container.mux(track.until(None))


def _packets(
    pieces: list[tuple[Path, int]], ticks: list[int], tick: Fraction
) -> Iterator[av.Packet]:
    """The pictures' packets of all pieces, with times of the whole clip in ticks."""
    for path, number in pieces:
        with av.open(str(path), options=AS_STORED) as container:
            stream, begin = container.streams.video[0], None
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                pts, dts = (
                    round(time * stream.time_base / tick) for time in (packet.pts, packet.dts)
                )
                begin = pts if begin is None else begin
                packet.time_base = tick
                packet.pts = pts - begin + ticks[number]
                packet.dts = dts - begin + ticks[number]
                yield packet
