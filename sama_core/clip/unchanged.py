"""Whether a file is still the clip that was opened: one put in its place must not lend an edit its borders and sound.

A file that was only touched, moved, finished or continued meanwhile is still the same clip: what its pictures begin
with decides, not its date or length.
"""

import io
import os
import zlib
from itertools import islice
from typing import NamedTuple

import av

from ..errors import ClipError
from .decode import Stream, opened, picture_stream

FIRST_PACKETS = 8


class Seen(NamedTuple):
    """A file as it was when it was looked at."""

    place: tuple[int, ...] | None
    "Device, number, size and time of change; None for a file in memory."
    beginning: int
    "Checksum of its first pictures, as they are coded."


def look(stream: Stream, name: str) -> Seen:
    """The file as it is now. Raises ClipError if it is not a usable video."""
    return Seen(_place(stream), _beginning(stream, name))


def is_unchanged(stream: Stream, name: str, seen: Seen) -> bool:
    """Whether the file still begins with the same pictures. Reads nothing where its date and size are the same.

    True for a file that cannot be read any more: whoever reads it next says so.
    """
    try:
        return (
            seen.place is None
            or _place(stream) == seen.place
            or _beginning(stream, name) == seen.beginning
        )
    except (OSError, ClipError):
        return True


def _place(stream: Stream) -> tuple[int, ...] | None:
    if isinstance(stream, io.BytesIO):
        return None
    found = os.stat(stream)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _beginning(stream: Stream, name: str) -> int:
    checksum = 0
    with opened(stream, name) as container:
        packets = (
            packet for packet in container.demux(picture_stream(container, name)) if packet.size
        )
        try:
            for packet in islice(packets, FIRST_PACKETS):
                checksum = zlib.crc32(bytes(packet), checksum)
        except av.error.FFmpegError:
            pass  # damaged further on: what comes before it tells
    return checksum
