"""Writing a result with the source's size, times, pixel shape, depth and colours.

    edited frames ──make_pictures──▶ the source's size, YUV ──▶ H.264 ─┐
                                      source's packets, or AAC ────────┴▶ part file ─rename─▶ target

A few frames are in memory at a time. `write_lossless` keeps an edit that could not be saved: its
fitted frames without loss, in a file that any video loader reads.
"""

import errno
import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import av
import torch
from torch import Tensor

from ..errors import ClipError, needed
from ..weights.write import remove_abandoned, whole_file
from .colours import Colours, colours_to_write, tag_encoder
from .encoder_pictures import make_pictures
from .fit import Progress
from .info import ClipInfo
from .restore import check_frames, is_original_size
from .sound import open_sound

LARGEST_SIDE = 16384
"""Pixels of a side of H.264 at most."""
LAST_ERRNO = 4095
"""Higher numbers are FFmpeg's own errors, which are not about disks."""
SLOWEST = Fraction(1, 1000)
"""Frames per second; the encoder gets no lower rate, and no reordered frames below it."""
TAGS = "use_metadata_tags"
"""mp4's flag for texts of any name."""
CONTAINERS = {"mp4": "mp4", "mkv": "matroska"}
"""Files that are written here, and FFmpeg's names for them."""
ALIKE = {"x264-params": "cpu-independent=1"}
"""Makes equal frames equal files. Otherwise x264 weighs blocks with AVX-512 code that reads memory
it never wrote, where a side is no multiple of 16.
"""
PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast",
    "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
"""Of x264, from quick and large to slow and small."""


@dataclass(frozen=True)
class Encoding:
    """How a result is encoded."""

    crf: float = 17
    """Constant rate factor of H.264; 17 looks like the frames that were encoded."""
    bit_depth: int | None = None
    """8 or 10; None takes 10 for sources of more than 8 bits."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Texts stored in the file."""
    container: str = "mp4"
    """One of `CONTAINERS`."""
    preset: str | None = None
    """One of `PRESETS`; None is x264's own, medium."""
    colours: Colours | None = None
    """Colour tags to write, and the matrix to convert with; None takes the source's."""


def save_restored(
    target: str | os.PathLike | BinaryIO,
    frames: Tensor,
    info: ClipInfo,
    audio: dict | None = None,
    encoding: Encoding | None = None,
    progress: Progress | None = None,
) -> None:
    """Undo `fit_clip` on edited `frames` and write H.264 with the source's sound, or AAC.

    Size, frame count and time stamps are the source's; exactly in an mp4, to the millisecond in an
    mkv, which counts no finer. Even sizes become 4:2:0, which plays everywhere; odd ones 4:4:4,
    which some players refuse, because 4:2:0 cannot hold them. `audio` is ComfyUI AUDIO, see
    `open_sound`. `target` is a path, or a file open for writing bytes. A file
    appears only when it is complete; until then, and after any failure, an older file of that name
    stays as it was. Raises ClipError for frames that do not fit, a source that has changed, and a
    full disk; what `progress` raises passes through.
    """
    encoding = encoding or Encoding()
    check_size(info.width, info.height)
    check_frames(frames, info)
    whole = is_original_size(frames, info)
    restored = prepare_pictures(frames[: info.frame_count], info, encoding, whole, progress)
    if not isinstance(target, str | os.PathLike):
        _write(target, restored, info, audio, encoding, TAGS)
        return
    with complete_or_absent(Path(target)) as unfinished:
        _write(str(unfinished), restored, info, audio, encoding, f"{TAGS}+faststart")


def check_size(width: int, height: int) -> None:
    """Raises ClipError for what H.264 cannot hold."""
    if max(width, height) > LARGEST_SIDE:
        raise ClipError(
            needed(
                "video size",
                f"{width}x{height}",
                f"at most {LARGEST_SIDE} pixels on a side",
                "Scale the clip down first.",
            )
        )


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; renamed to `path` if all goes well, removed otherwise.

    What a process that was killed had begun for `path` is removed when it is an hour old. Raises
    ClipError with the cause if writing fails, or the folder does not exist.
    """
    try:
        parts = f".{glob.escape(path.name)}.*.part{glob.escape(path.suffix)}"
        remove_abandoned(path.parent.glob(parts))
        if not path.parent.is_dir():  # which `whole_file` would make
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        with whole_file(path, keep_suffix=True) as unfinished:
            yield unfinished
    except (av.error.FFmpegError, OSError) as failed:
        raise ClipError(_not_written(path, failed)) from failed


def _not_written(path: Path, failed: OSError | av.error.FFmpegError) -> str:
    """What stopped the writing: the disk, or a file format that cannot hold what it was given."""
    why = failed.strerror or str(failed)
    number = failed.errno or 0
    if isinstance(failed, av.error.FFmpegError) and (number == errno.EINVAL or number > LAST_ERRNO):
        return needed(
            path.name,
            f"pictures or times that it cannot hold ({why})",
            "a clip that fits into such a file",
            "Edit a shorter range of the clip, or export the clip again.",
        )
    return needed(
        path.name,
        why,
        "room and permission to write it",
        f"Free disk space or check the rights of {path.parent.name}/.",
    )


def prepare_pictures(
    frames: Iterable[Tensor],
    info: ClipInfo,
    encoding: Encoding,
    is_original: bool = False,
    progress: Progress | None = None,
) -> Iterator[av.VideoFrame]:
    """Edited frames as the pictures to encode; see `make_pictures`."""
    whole = is_original or info.placement.changes_nothing
    form, tags = _pix_fmt(info, encoding), _tags(info, encoding)
    return make_pictures(frames, whole, info, form, tags, progress)


def _write(
    target: str | BinaryIO,
    pictures: Iterator[av.VideoFrame],
    info: ClipInfo,
    audio: dict | None,
    encoding: Encoding,
    flags: str,
) -> None:
    """Write pictures and sound to `target`; `flags` are those of an mp4."""
    tick, ticks = info.timing.ticks()
    is_mp4 = encoding.container == "mp4"
    heard = info if is_mp4 else _unless_cut(info)
    with av.open(
        target,
        "w",
        format=CONTAINERS[encoding.container],
        options={"movflags": flags} if is_mp4 else {},
    ) as container:
        container.metadata.update(encoding.metadata)
        video = open_video_stream(container, info, encoding, tick)
        with open_sound(heard, audio) as own:
            sound = SoundTrack(own.add_to(container, info.duration_seconds), is_mp4)
            for packet in encode_pictures(video, pictures, tick, ticks):
                container.mux(packet)
                container.mux(sound.until(time_of(packet)))
            container.mux(sound.until(None))


def encode_pictures(
    stream: av.VideoStream, pictures: Iterable[av.VideoFrame], tick: Fraction, ticks: list[int]
) -> Iterator[av.Packet]:
    """Encode pictures → their packets, in `stream`'s order.

    `ticks` are when each begins and the last one ends; no more pictures are taken.
    """
    ends = dict(pairwise(ticks))
    for at, picture in zip(ticks[:-1], pictures, strict=False):
        picture.pts, picture.time_base = at, tick
        yield from _with_lengths(stream.encode(picture), ends)
    yield from _with_lengths(stream.encode(None), ends)


def _with_lengths(packets: Iterable[av.Packet], ends: Mapping[int, int]) -> Iterator[av.Packet]:
    """Packets with their durations; `ends` gives the tick at which each is over, by its tick."""
    for packet in packets:
        assert packet.pts is not None
        packet.duration = ends[packet.pts] - packet.pts
        yield packet


class SoundTrack:
    """Packets of sound held back until their time: pictures and sound alternate in a file."""

    def __init__(self, packets: Iterator[av.Packet], is_mp4: bool):
        """Packets before time 0 go into an mp4 alone, whose edit list keeps them silent."""
        self.packets = packets if is_mp4 else _from_zero(packets)
        self.next = next(self.packets, None)

    def until(self, seconds: Fraction | None) -> list[av.Packet]:
        """Packets up to `seconds`; all that are left for None."""
        due = []
        while self.next is not None and (seconds is None or time_of(self.next) <= seconds):
            due.append(self.next)
            self.next = next(self.packets, None)
        return due


def time_of(packet: av.Packet) -> Fraction:
    """Seconds at which a packet with a time stamp is due."""
    assert packet.pts is not None and packet.time_base is not None
    return packet.pts * packet.time_base


def _unless_cut(info: ClipInfo) -> ClipInfo:
    """`info`; without its sound where the range begins inside a packet, so that sound is encoded.

    Only an mp4 can play a part of a packet. A packet of FLAC is a tenth of a second long.
    """
    return replace(info, audio=None) if info.start_seconds else info


def _from_zero(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Without the packets that an mp4's edit list keeps silent; other files have none, and would
    play them.
    """
    return (packet for packet in packets if time_of(packet) >= 0)


def open_video_stream(
    container: av.container.OutputContainer, info: ClipInfo, encoding: Encoding, tick: Fraction
) -> av.VideoStream:
    """An H.264 stream with the source's size, pixel shape, clock and colour tags."""
    # The rate is for the encoder's bit rate; times have their own clock.
    rate = max(info.fps, SLOWEST).limit_denominator(100_000)
    options = {"crf": str(encoding.crf), **ALIKE} | (
        {"preset": encoding.preset} if encoding.preset else {}
    )
    stream = container.add_stream("h264", rate=rate, options=options)
    stream.width, stream.height = info.width, info.height
    stream.pix_fmt = _pix_fmt(info, encoding)
    context, tags = stream.codec_context, _tags(info, encoding)
    context.time_base = tick
    if not info.timing.steady or info.fps < SLOWEST:
        # Reordered frames would leave their lengths to each other; an mp4 has no room for delays of
        # hours.
        context.max_b_frames = 0
    if info.facts.pixel_aspect != 1:
        context.sample_aspect_ratio = info.facts.pixel_aspect
    tag_encoder(context, tags)
    return stream


def _pix_fmt(info: ClipInfo, encoding: Encoding) -> str:
    """FFmpeg's name for the form of the coded pictures: 4:2:0 where sides are even, else 4:4:4."""
    planes = "444" if info.width % 2 or info.height % 2 else "420"
    deep = info.facts.bit_depth > 8 if encoding.bit_depth is None else encoding.bit_depth > 8
    return f"yuv{planes}p10le" if deep else f"yuv{planes}p"


def _tags(info: ClipInfo, encoding: Encoding) -> Colours:
    """The colour tags to write."""
    return encoding.colours or colours_to_write(info.colours, info.height)


def write_lossless(
    path: str | Path,
    frames: Tensor,
    fps: Fraction,
    deep: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `frames`, float (F, H, W, 3) in 0…1, as PNG in a mov.

    Values go to the nearest of 256 levels, or of 65536 if `deep`. ComfyUI's own loader reads such
    files back bit for bit, deep pictures to half a level of 10 bits. The file appears only when it
    is complete. Raises ClipError with the cause if it cannot be written.
    """
    white, kind, form, stored = 255, torch.uint8, "rgb24", "rgb24"
    if deep:
        white, kind, form, stored = 65535, torch.uint16, "rgb48le", "rgb48be"
    with (
        complete_or_absent(Path(path)) as unfinished,
        av.open(str(unfinished), "w", format="mov", options={"movflags": TAGS}) as container,
    ):
        container.metadata.update(metadata or {})
        stream = container.add_stream("png", rate=fps.limit_denominator(100_000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = stored
        for number, frame in enumerate(frames):
            levels = (frame.cpu().float().nan_to_num().clamp(0, 1) * white).round().to(kind)
            picture = av.VideoFrame.from_ndarray(levels.contiguous().numpy(), format=form).reformat(
                format=stored
            )
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
