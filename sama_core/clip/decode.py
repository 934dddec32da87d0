"""Opening a video, decoding its pictures in the order shown, and errors of unusable files.

Frame numbers count the pictures the decoder gives, in the order they are shown, from 0. They are
never derived from seconds, so variable frame rates and odd time bases cannot shift them.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice

import av
from av.stream import Disposition

from ..errors import ClipError, needed, shorten
from .seek import from_beginning, from_keyframe, packet_stamps
from .stamps import Stamp

READABLE = "a video that plays (mp4, mov, webm, mkv, avi or gif)"
CHOOSE_ANOTHER = "Choose another file, or export this one again."
CONVERT = "Convert it to mp4 (H.264), webm or gif first."

FORMATS = (
    "mov,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,nut,ivf,obu,m4v,h264,hevc,av1,"
    "mjpeg,dv,rm,wtv,apng,mp3,aac,ac3,flac,wav,aiff,image2,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,"
    "tiff_pipe,gif_pipe,yuv4mpegpipe"
)
"""FFmpeg also opens playlists and scripts, which name other files and hosts; a renamed one must not
be followed.
"""
OPTIONS = {"format_whitelist": FORMATS, "pattern_type": "none"}
"""Without the second, a picture called "shot%03d.png" would be read as a pattern: the pictures of
other files, not its own.
"""
FALLBACK_FPS, HIGHEST_FPS = Fraction(24), 1000
"""The first is for streams that state no rate (a still image, some files of one frame), or the rate
of a clock instead.
"""
MEASURED_PACKETS = 100
"""Packets by which a rate is measured."""
WIDEST_PIXEL = 16
"""Anamorphic film has pixels of 2; ratios far above that are damage."""
_INDEX, _ENCRYPTED = 1 << 20, (b"encv", b"drmi")
"""Bytes from either end in which an mp4's index may say that its pictures are encrypted, and the
words for that (ISO/IEC 23001-7).
"""

Stream = str | os.PathLike | io.BytesIO


def display_name(stream: Stream) -> str:
    """The file name of this video, control characters shown as �."""
    if isinstance(stream, io.BytesIO):
        return "in memory"
    return shorten(os.path.basename(os.fspath(stream)))


@contextmanager
def open_video(stream: Stream, name: str) -> Iterator[av.container.InputContainer]:
    """An open container. Raises ClipError for what is missing, empty, unreadable or no video."""
    try:
        # `options` would go to streams, too: where those appear late (mpg), PyAV 16 and 17.0 crash.
        container = av.open(
            _private_handle(stream, name), "r", metadata_errors="replace", container_options=OPTIONS
        )
    except FileNotFoundError as error:
        raise unusable(name, "no such file", READABLE) from error
    except PermissionError as error:
        raise unusable(
            name, "a file that may not be read", READABLE, "Give yourself the right to read it."
        ) from error
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise unusable(name, "a file that is not a video, or is damaged", READABLE) from error
    with container:
        yield container


def picture_stream(container: av.container.InputContainer, name: str) -> av.VideoStream:
    """The first stream of moving pictures.

    Covers of music, and the still beside an AVIF's animation, do not count.
    """
    found = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    found.sort(key=lambda stream: stream.frames == 1 and stream.duration is None)
    for stream in found:
        if stream.codec_context is not None:
            return stream
    if found:
        raise unusable(
            name,
            "pictures in a coding that FFmpeg does not know, or a damaged file",
            READABLE,
            "Export it again as mp4 (H.264).",
        )
    raise unusable(name, "a file without pictures (sound only?)", READABLE)


def numbered_pictures(stream: Stream, name: str, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode `(frame number, picture)` from frame `start`, or from some frame before it, onwards.

    Beyond what the caller takes, only the few frames are decoded that the codec needs to put frames
    into order. Raises ClipError where the data is damaged.
    """
    number = -1
    try:
        for attempt in (from_keyframe, from_beginning) if start else (from_beginning,):
            with open_video(stream, name) as container:
                numbered = attempt(container, picture_stream(container, name), start)
                if numbered is None:
                    continue
                for number, picture in numbered:
                    yield number, picture
                return
    except av.error.FFmpegError as error:
        if number < 0 and _is_animated_webp(stream):
            raise unusable(
                name, "an animated WebP, which FFmpeg does not read", READABLE, CONVERT
            ) from error
        if _is_encrypted(stream):  # whose first pictures may come out, as rubbish
            raise unusable(
                name,
                "an encrypted video (copy protection)",
                READABLE,
                "Choose a file without copy protection.",
            ) from error
        raise _damage(name, number + 1) from error


def stamps_until(stream: Stream, name: str, until: Fraction) -> Iterator[Stamp]:
    """Stamps of the pictures in the order shown, to `until` at least; the file's clock, in seconds.

    Pictures are decoded only where the packets do not say it.
    """
    with open_video(stream, name) as container:
        stamps = packet_stamps(container, picture_stream(container, name), until)
    if stamps is not None:
        yield from stamps
        return
    for _, picture in numbered_pictures(stream, name, 0):
        yield stamp_of(picture)


def stamp_of(picture: av.VideoFrame) -> Stamp:
    """When the file says a picture is shown, in seconds on the file's clock; None where it does not
    say.
    """
    return None if picture.pts is None or not picture.time_base else picture.pts * picture.time_base


def states_rate(stream: av.VideoStream) -> bool:
    """Whether the file states an average rate that a video can have.

    Otherwise FFmpeg guesses rates and lengths.
    """
    return _is_rate(stream.average_rate)


def frame_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Average frames per second: stated, else measured on the first packets, else a usual rate.

    FFmpeg's guess is taken where it agrees with the packets: it is exact, and their times are
    rounded.
    """
    if stream.average_rate and _is_rate(stream.average_rate):
        return Fraction(stream.average_rate)
    guessed = Fraction(stream.guessed_rate) if stream.guessed_rate else None
    measured = _packet_rate(container, stream)
    agree = not guessed or not measured or abs(guessed - measured) <= measured / 20
    if guessed and _is_rate(guessed) and agree:
        return guessed
    return measured if measured and measured <= HIGHEST_FPS else FALLBACK_FPS


def _is_rate(rate: Fraction | None) -> bool:
    """Whether a video can have so many frames per second."""
    return rate is not None and 0 < rate <= HIGHEST_FPS


def _packet_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Packets per second among the first; None where they have no times."""
    try:
        packets = islice(
            (packet for packet in container.demux(stream) if packet.size), MEASURED_PACKETS
        )
        times = [
            packet.pts * packet.time_base
            for packet in packets
            if packet.pts is not None and packet.time_base
        ]
    except av.error.FFmpegError:
        return None
    span = max(times) - min(times) if times else Fraction(0)
    return (len(times) - 1) / span if span else None


def pixel_aspect(stream: av.VideoStream, quarter_turns: int) -> Fraction:
    """Width of a pixel as shown / its height; 1 where the file does not say, or says what cannot
    be.
    """
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not stated or not 1 / WIDEST_PIXEL <= stated <= WIDEST_PIXEL:
        return Fraction(1)
    return 1 / Fraction(stated) if quarter_turns % 2 else Fraction(stated)


def unusable(name: str, got: str, need: str, fix: str = CHOOSE_ANOTHER) -> ClipError:
    """The error of a video that cannot be used at all."""
    return ClipError(needed(f"video '{name}'", got, need, fix))


def _damage(name: str, good: int) -> ClipError:
    """The error of a video whose data ends or is broken after `good` frames."""
    fix = (
        f"Set the frame limit to end before frame {good}, or export the file again."
        if good
        else CHOOSE_ANOTHER
    )
    return unusable(
        name,
        f"damaged or missing data after {good} frames",
        "intact data for the chosen frames",
        fix,
    )


def _is_encrypted(stream: Stream) -> bool:
    """By an atom in an mp4's index, which lies at the beginning or at the end of the file."""
    if isinstance(stream, io.BytesIO):
        data = stream.getbuffer()
        return any(
            mark in bytes(part) for part in (data[:_INDEX], data[-_INDEX:]) for mark in _ENCRYPTED
        )
    with open(stream, "rb") as file:
        head = file.read(_INDEX)
        file.seek(max(0, os.path.getsize(stream) - _INDEX))
        tail = file.read(_INDEX)
    return any(mark in part for part in (head, tail) for mark in _ENCRYPTED)


def _is_animated_webp(stream: Stream) -> bool:
    """By the flag in its header, see Google's WebP container specification."""
    if isinstance(stream, io.BytesIO):
        head = bytes(stream.getbuffer()[:21])
    else:
        with open(stream, "rb") as file:
            head = file.read(21)
    return (
        len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)
    )


def _private_handle(stream: Stream, name: str) -> str | io.BytesIO:
    """What PyAV opens, for one reader. Raises OSError or ClipError for what it must not open."""
    # A BytesIO has one position; two readers of the same clip need one each. No bytes are copied:
    # CPython shares them until somebody writes.
    if isinstance(stream, io.BytesIO):
        size: int = stream.getbuffer().nbytes
        handle: str | io.BytesIO = io.BytesIO(stream.getvalue())
    else:
        path = os.path.abspath(os.fspath(stream))
        if "\0" in path:
            raise FileNotFoundError(path)
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path} is a folder or a device")  # opening a pipe would never return
        # With the prefix a name like "concat:a|b" or "http:…" is a file's name and nothing else.
        size, handle = found.st_size, f"file:{path}"
    if size == 0:
        raise unusable(name, "an empty file (0 bytes)", READABLE)
    return handle
