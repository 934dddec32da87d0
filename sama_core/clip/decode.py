"""Opening a video and turning its pictures into RGB: every PyAV call about pictures, and its errors.

Frame numbers count the pictures the decoder gives, in the order they are shown, from 0. They are
never derived from seconds, so variable frame rates and odd time bases cannot shift them.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np
from av.stream import Disposition

from ..errors import ClipError, needed
from .seek import from_beginning, from_keyframe

READABLE = "a video that plays (mp4, mov, webm, mkv, avi or gif)"
CHOOSE_ANOTHER = "Choose another file, or export this one again."

Stream = str | os.PathLike | io.BytesIO


def display_name(stream: Stream) -> str:
    """What the artist calls this video: its file name."""
    return "in memory" if isinstance(stream, io.BytesIO) else os.path.basename(os.fspath(stream))


@contextmanager
def opened(stream: Stream, name: str) -> Iterator[av.container.InputContainer]:
    """An open container. Raises ClipError when `stream` is missing, empty or not a video."""
    try:
        container = av.open(_private_handle(stream, name), metadata_errors="replace")
    except FileNotFoundError as error:
        raise unusable(name, "no such file", READABLE) from error
    except (av.error.FFmpegError, OSError) as error:
        raise unusable(name, "a file that is not a video, or is damaged", READABLE) from error
    with container:
        yield container


def picture_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The first stream of moving pictures; a cover image of a music file does not count."""
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    raise unusable(name, "a file without pictures (sound only?)", READABLE)


def numbered_pictures(stream: Stream, name: str, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode `(frame number, picture)` from frame `start`, or from some frame before it, onwards.

    Nothing is decoded beyond what the caller takes, but for the few frames the codec needs to put
    frames into order. Raises ClipError where the data is damaged.
    """
    number = -1
    try:
        for attempt in (from_keyframe, from_beginning) if start else (from_beginning,):
            with opened(stream, name) as container:
                numbered = attempt(container, picture_stream(container, name), start)
                if numbered is None:
                    continue
                for number, picture in numbered:
                    yield number, picture
                return
    except av.error.FFmpegError as error:
        raise damaged(name, number + 1) from error


def upright_size(picture: av.VideoFrame) -> tuple[int, int]:
    """`(width, height)` as shown, after the rotation a phone stores beside the pixels."""
    return (picture.height, picture.width) if _quarter_turns(picture) % 2 else (picture.width, picture.height)


def to_rgb(picture: av.VideoFrame) -> np.ndarray:
    """The picture as shown: uint8 (H, W, 3), upright, contiguous."""
    return np.ascontiguousarray(np.rot90(picture.to_ndarray(format="rgb24"), _quarter_turns(picture)))


def unusable(name: str, got: str, need: str, fix: str = CHOOSE_ANOTHER) -> ClipError:
    """The error of a video that cannot be used at all."""
    return ClipError(needed(f"video '{name}'", got, need, fix))


def damaged(name: str, good: int) -> ClipError:
    """The error of a video whose data breaks off after `good` frames."""
    fix = f"Set the frame limit to end before frame {good}, or export the file again." if good else CHOOSE_ANOTHER
    return unusable(name, f"damaged or missing data after {good} frames", "intact data for the chosen frames", fix)


def _quarter_turns(picture: av.VideoFrame) -> int:
    return round(picture.rotation / 90)


def _private_handle(stream: Stream, name: str) -> str | io.BytesIO:
    # A BytesIO has one position; two readers of the same clip need one each. No bytes are copied:
    # CPython shares them until somebody writes.
    if isinstance(stream, io.BytesIO):
        size, handle = stream.getbuffer().nbytes, io.BytesIO(stream.getvalue())
    else:
        handle = os.fspath(stream)
        size = os.path.getsize(handle) if os.path.isfile(handle) else None
    if size == 0:
        raise unusable(name, "an empty file (0 bytes)", READABLE)
    return handle
