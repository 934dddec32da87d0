"""Whether a video file is still the clip that was opened.

A file put in place of the one that was opened must not lend an edit its borders and its sound. A
file that was only touched, moved, finished or continued since is still the same clip: the coded
data of its first pictures decides, not its date or length.
"""

import io
import os
import zlib
from itertools import islice
from typing import NamedTuple

import av

from ..errors import ClipError
from .decode import Stream, open_video, picture_stream

FIRST_PACKETS = 8
"""Coded pictures by which a file is recognised."""


class Imprint(NamedTuple):
    """A file as it was when it was looked at."""

    place: tuple[int, ...] | None
    """Device, number, size and time of change; None for a file in memory."""
    beginning: int
    """Checksum of its first pictures, as they are coded."""

    @classmethod
    def take(cls, stream: Stream, name: str) -> "Imprint":
        """Of the file as it is now. Raises ClipError if it is not a usable video."""
        return cls(_place(stream), _beginning(stream, name))

    def fits(self, stream: Stream, name: str) -> bool:
        """Whether the file still begins with the same pictures.

        Reads nothing where date and size are the same. True for a file that cannot be read any
        more: the next reading of it raises the error.
        """
        try:
            return (
                self.place is None
                or _place(stream) == self.place
                or _beginning(stream, name) == self.beginning
            )
        except (OSError, ClipError):
            return True


def _place(stream: Stream) -> tuple[int, ...] | None:
    """See `Imprint.place`."""
    if isinstance(stream, io.BytesIO):
        return None
    found = os.stat(stream)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _beginning(stream: Stream, name: str) -> int:
    """See `Imprint.beginning`."""
    checksum = 0
    with open_video(stream, name) as container:
        packets = (
            packet for packet in container.demux(picture_stream(container, name)) if packet.size
        )
        try:
            for packet in islice(packets, FIRST_PACKETS):
                checksum = zlib.crc32(bytes(packet), checksum)
        except av.error.FFmpegError:
            pass  # damaged further on: what comes before it is enough
    return checksum
