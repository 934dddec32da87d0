"""Strange clips that are not broken.

Encrypted, unfinished, huge, almost empty, with far time stamps.
"""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from ..moving_shapes import moving_shapes
from .clips import FRAMES, HEIGHT, OPTIONS, WIDTH, Hostile, make
from .stamps import write_packets
from .strange_pictures import (
    deep,
    draw_first,
    fields,
    layers,
    patterns,
    sequences,
    sparse,
    wide_sound,
    write_strange,
)

_HOURS = 36_000_000
"""Ten hours in milliseconds."""
_KEY = {
    "encryption_scheme": "cenc-aes-ctr",
    "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
    "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
}


def hostile_strange_clips(folder: Path) -> Iterator[Hostile]:
    """Write every file under `folder`, and say what must come of it."""
    for kind in (
        _encrypt,
        _break_off,
        _huge,
        _few_frames,
        _far_stamps,
        fields,
        layers,
        deep,
        patterns,
        sequences,
        sparse,
        wide_sound,
    ):
        place = folder / kind.__name__.strip("_")
        place.mkdir(parents=True)
        yield from kind(place)


def _encrypt(folder: Path) -> Iterator[Hostile]:
    for ending in (".mp4", ".mov"):
        for codec in ("libx264", "mpeg4"):
            path = folder / f"{codec}{ending}"
            write_strange(path, codec, mux=_KEY)
            yield Hostile("encrypted", path, "error", "encrypted")
        plain = make(
            folder / f"plain{ending}", sound=False, codec=("libx264", "yuv420p", None)
        ).read_bytes()
        (folder / f"mark{ending}").write_bytes(plain.replace(b"avc1", b"drmi"))
        yield Hostile("encrypted", folder / f"mark{ending}", "error")


def _break_off(folder: Path) -> Iterator[Hostile]:
    """Recordings that a crash ended, and streams that never had an end."""
    parts = {
        "frag_keyframe+empty_moov": "4",
        "frag_keyframe+empty_moov+default_base_moof": "4",
        "frag_every_frame": "1",
    }
    for flags, gop in parts.items():
        path = write_strange(folder / f"{flags}.mp4", options={"g": gop}, mux={"movflags": flags})
        yield Hostile(
            "unfinished recordings",
            path,
            "right",
            size=(WIDTH, HEIGHT),
            frames=FRAMES,
            first=draw_first(),
        )
        data = path.read_bytes()
        for share in (5, 7, 9):
            cut = folder / f"{share}_{flags}.mp4"
            cut.write_bytes(data[: len(data) * share // 10])
            yield Hostile("unfinished recordings", cut, "either")
    data = make(folder / "whole.mp4").read_bytes()
    (folder / "no_moov.mp4").write_bytes(data[: data.rindex(b"moov") - 4])
    yield Hostile("unfinished recordings", folder / "no_moov.mp4", "error")
    for ending, codec in ((".mkv", "libx264"), (".webm", "libvpx-vp9")):
        for name, mux in (("live", {"live": "1"}), ("clusters", {"cluster_time_limit": "50"})):
            path = write_strange(folder / f"{name}{ending}", codec, mux=mux)
            yield Hostile(
                "unfinished recordings", path, "right", size=(WIDTH, HEIGHT), frames=FRAMES
            )
        piped = _Pipe()
        write_strange(folder / f"piped{ending}", codec, target=piped)
        (folder / f"piped{ending}").write_bytes(piped.data)
        yield Hostile(
            "unfinished recordings",
            folder / f"piped{ending}",
            "right",
            size=(WIDTH, HEIGHT),
            frames=FRAMES,
        )


class _Pipe:
    """Takes what a muxer writes and cannot go back, as a live stream cannot.

    No length, no index.
    """

    def __init__(self):
        self.data = b""

    def write(self, data) -> int:
        self.data += bytes(data)
        return len(data)


def _huge(folder: Path) -> Iterator[Hostile]:
    """Pictures of another size than the header says, or larger than anybody has."""
    for ending in (".mp4", ".mov"):
        data = make(
            folder / f"plain{ending}", sound=False, codec=("libx264", "yuv420p", None)
        ).read_bytes()
        place = data.rindex(b"avc1") + 28
        path = folder / f"stated{ending}"
        path.write_bytes(data[:place] + struct.pack(">HH", 65535, 65535) + data[place + 4 :])
        yield Hostile("huge sizes", path, "right", size=(WIDTH, HEIGHT))
    gif = make(folder / "plain.gif").read_bytes()
    (folder / "canvas.gif").write_bytes(gif[:6] + struct.pack("<HH", 65535, 65535) + gif[10:])
    yield Hostile("huge sizes", folder / "canvas.gif", "error")
    for name, size in (
        ("wide", "W1000000 H2"),
        ("endless", "W99999999999 H99999999999"),
        ("zero", "W0 H0"),
        ("negative", "W-16 H-16"),
        ("square", "W60000 H60000"),
    ):
        (folder / f"{name}.y4m").write_bytes(
            f"YUV4MPEG2 {size} F24:1 Ip C420jpeg\nFRAME\n".encode() + bytes(3000)
        )
        yield Hostile("huge sizes", folder / f"{name}.y4m", "error")


def _few_frames(folder: Path) -> Iterator[Hostile]:
    """Tracks with one picture or none, with sound beside them, with a cover as the only picture."""
    for ending in (".mp4", ".mkv", ".mov", ".ts"):
        path = folder / f"none{ending}"
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=24)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            _add_silence(container)
        yield Hostile("few or no pictures", path, "error")
        path = folder / f"one{ending}"
        _write_one(path)
        yield Hostile("few or no pictures", path, "right", size=(WIDTH, HEIGHT), frames=1)
    for ending, cover_first in (
        (".mp4", True),
        (".mp4", False),
        (".mkv", False),
        (".m4a", None),
        (".mp3", None),
    ):
        path = folder / f"cover_{cover_first}{ending}"
        try:
            _write_with_cover(path, cover_first)
        except (av.error.FFmpegError, ValueError, AttributeError):
            path.unlink(missing_ok=True)
            continue
        if cover_first is None:
            yield Hostile("few or no pictures", path, "error", "without pictures")
        else:
            yield Hostile(
                "few or no pictures",
                path,
                "right",
                size=(WIDTH, HEIGHT),
                frames=FRAMES,
                first=draw_first(),
            )
    (folder / "texts.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    (folder / "texts.mp4").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n")
    for name in ("texts.srt", "texts.mp4"):
        yield Hostile("few or no pictures", folder / name, "error", "not a video")


def _add_silence(container, codec: str = "aac", track=None) -> None:
    """A second of sound that is not heard."""
    track = track or container.add_stream(codec, rate=48000, layout="mono")
    resampler = av.AudioResampler(format=track.codec_context.format.name, layout="mono", rate=48000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.int16), "s16", "mono")
    frame.sample_rate, frame.pts = 48000, 0
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(track.encode(piece))
    container.mux(track.encode(None))


def _write_one(path: Path) -> None:
    """One picture, and a second of sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=24, options=OPTIONS["libx264"])
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        track = container.add_stream("aac", rate=48000, layout="mono")
        picture = av.VideoFrame.from_ndarray(draw_first(), format="rgb24").reformat(
            format="yuv420p"
        )
        picture.pts = 0
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
        _add_silence(container, track=track)


def _write_with_cover(path: Path, first: bool | None) -> None:
    """A clip, or with None a song, with a cover picture as a stream before or behind it."""
    from PIL import Image

    cover = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(cover, "png")

    def add(container):
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        stream.disposition = Disposition.attached_pic
        return stream

    with av.open(str(path), "w") as container:
        stream = add(container) if first else None
        if first is not None:
            video = container.add_stream("libx264", rate=24, options=OPTIONS["libx264"])
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        else:
            track = container.add_stream(
                "libmp3lame" if path.suffix == ".mp3" else "aac", rate=48000, layout="mono"
            )
        stream = stream or add(container)
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 24)
        container.mux(packet)
        if first is None:
            _add_silence(container, track=track)
            return
        for number, pixels in enumerate(moving_shapes(FRAMES, WIDTH, HEIGHT)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))


def _far_stamps(folder: Path) -> Iterator[Hostile]:
    stamps = {
        "ten_hours_late": lambda n: 42 * n + _HOURS,
        "ten_hours_apart": lambda n: n * _HOURS,
        "last_ten_hours_late": lambda n: 42 * n + _HOURS * (n == FRAMES - 1),
        "a_year": lambda n: 42 * n + 365 * 24 * 3_600_000,
    }
    for ending in (".mkv", ".mov", ".ts", ".nut"):
        for name, stamp in stamps.items():
            path = folder / f"{name}{ending}"
            try:
                write_packets(path, stamp)
            except (av.error.FFmpegError, ValueError, OverflowError):
                path.unlink(missing_ok=True)
                continue
            yield Hostile(
                "far stamps",
                path,
                "either" if ending == ".ts" else "right",
                size=(WIDTH, HEIGHT),
                frames=None if ending == ".ts" else FRAMES,
            )
    for clock in ("1000000", "1000000000", "7", "2147483647"):
        path = folder / f"clock{clock}.mov"
        try:
            write_strange(path, mux={"video_track_timescale": clock})
        except (av.error.FFmpegError, ValueError):
            continue
        yield Hostile("far stamps", path, "either", size=(WIDTH, HEIGHT))
