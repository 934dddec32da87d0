"""Files that nobody should have to open, made from seeds.

Cut off, flipped, mislabelled, and named to do harm.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..moving_shapes import moving_shapes

FRAMES, WIDTH, HEIGHT = 12, 48, 32
BASES = ("clip.mp4", "clip.mkv", "clip.webm", "clip.avi", "clip.mov", "clip.ts", "clip.gif")
CODECS = {
    ".mp4": ("libx264", "yuv420p", "aac"),
    ".mkv": ("libx264", "yuv420p", "flac"),
    ".gif": ("gif", "rgb8", None),
    ".webm": ("libvpx-vp9", "yuv420p", "libopus"),
    ".avi": ("mpeg4", "yuv420p", "libmp3lame"),
    ".mov": ("prores_ks", "yuv422p10le", "pcm_s16le"),
    ".ts": ("libx264", "yuv420p", "aac"),
    ".nut": ("ffv1", "yuv444p", None),
    ".h264": ("libx264", "yuv420p", None),
    ".mjpeg": ("mjpeg", "yuvj420p", None),
}
OPTIONS = {
    "libx264": {"g": "4", "preset": "ultrafast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libaom-av1": {"cpu-used": "8", "usage": "realtime"},
}


@dataclass(frozen=True)
class Hostile:
    """One file, and what must come of it."""

    kind: str
    """The group it is counted in."""
    path: Path
    """The file."""
    expected: str = "either"
    "`right`, `error`, or `either` where damage may or may not matter."
    words: str = ""
    "Part of the error."
    size: tuple[int, int] | None = None
    "Width and height of a right result."
    disk: int | None = None
    "Bytes the disk has room for when the result is saved."
    as_nobody: bool = False
    "Opened by a user without rights."
    frames: int | None = None
    "Pictures of the whole clip."
    first: np.ndarray | None = None
    "Its first picture as it must be shown, uint8 (H, W, 3); encoding may change it a little."
    click: float | None = None
    "Seconds at which its sound must have its one click."


def make(
    path: Path,
    frames: int = FRAMES,
    width: int = WIDTH,
    height: int = HEIGHT,
    rate: Fraction | int = 24,
    sound: bool = True,
    first: int = 0,
    codec: tuple | None = None,
) -> Path:
    """A small good file of the kind its name says."""
    video_codec, pix_fmt, sound_codec = codec or CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        video = container.add_stream(video_codec, rate=rate, options=OPTIONS.get(video_codec, {}))
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        track = (
            container.add_stream(sound_codec, rate=48000, layout="mono")
            if sound and sound_codec
            else None
        )
        for number, pixels in enumerate(moving_shapes(frames, width, height)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            picture.pts = first + number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if track:
            _add_sound(container, track, frames / rate)
    return path


def _add_sound(container, track, seconds: Fraction | float) -> None:
    wave = (8000 * np.sin(np.arange(int(seconds * 48000)) * 0.05)).astype(np.int16)[None]
    resampler = av.AudioResampler(format=track.codec_context.format.name, layout="mono", rate=48000)
    frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
    frame.sample_rate, frame.pts = 48000, 0
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(track.encode(piece))
    container.mux(track.encode(None))


def hostile_clips(folder: Path) -> Iterator[Hostile]:
    """Write every file under `folder`, and say what must come of it."""
    for kind in (
        _truncate,
        _flip,
        _sizes_and_rates,
        _time_stamps,
        _no_pictures,
        _mislabel,
        _texts,
        _names,
        _not_files,
        _glue,
        _disks,
    ):
        place = folder / kind.__name__.strip("_")
        place.mkdir(parents=True)
        yield from kind(place)


def _bases(folder: Path) -> dict[str, bytes]:
    return {name: make(folder / f"base{Path(name).suffix}").read_bytes() for name in BASES}


def _truncate(folder: Path) -> Iterator[Hostile]:
    for name, data in _bases(folder).items():
        for tenth in range(1, 10):
            path = folder / f"{tenth}_{name}"
            path.write_bytes(data[: len(data) * tenth // 10])
            yield Hostile("truncated at a tenth", path)


def _flip(folder: Path) -> Iterator[Hostile]:
    for name, data in _bases(folder).items():
        index = data.find(b"moov")  # at the end of an mp4
        for seed in range(14):
            header, random_ = seed < 10, random.Random(seed)
            begin, end = (max(0, index), max(0, index) + 1500) if header else (0, len(data))
            broken = bytearray(data)
            for _ in range(random_.choice((1, 2, 8, 32))):
                broken[random_.randrange(begin, min(end, len(data)))] ^= 1 << random_.randrange(8)
            path = folder / f"{seed}_{name}"
            path.write_bytes(broken)
            yield Hostile("bits flipped in the header" if header else "bits flipped anywhere", path)


def _sizes_and_rates(folder: Path) -> Iterator[Hostile]:
    lossless, full = ("ffv1", "yuv444p", None), ("libx264", "yuv444p", None)
    for name in BASES:
        yield Hostile(
            "one frame",
            make(folder / f"one_{name}", frames=1, sound=False),
            "right",
            size=(WIDTH, HEIGHT),
        )
    for name, codec in (
        ("tiny.mp4", full),
        ("tiny.mkv", lossless),
        ("tiny.mov", full),
        ("tiny.gif", None),
    ):
        yield Hostile(
            "1x1", make(folder / name, 3, 1, 1, sound=False, codec=codec), "right", size=(1, 1)
        )
    for width, height in ((16384, 16), (16, 16384), (16383, 3)):
        path = make(folder / f"{width}x{height}.mp4", 2, width, height, sound=False, codec=full)
        yield Hostile("16,384 wide", path, "right", size=(width, height))
    wider = make(folder / "wider.mkv", 2, 16400, 16, sound=False, codec=lossless)
    yield Hostile("16,384 wide", wider, "error", "at most 16384 pixels on a side")
    for name in ("fast.mp4", "fast.mkv", "fast.mov"):
        yield Hostile("240 fps", make(folder / name, rate=240), "right", size=(WIDTH, HEIGHT))
    yield from _no_rate(folder)


def _no_rate(folder: Path) -> Iterator[Hostile]:
    """0 frames per second: in AVI's header, in mp4's table of lengths, and in its clock."""
    avi = make(folder / "no_rate.avi", sound=False)
    data = bytearray(avi.read_bytes())
    strh = data.index(b"strh")
    data[strh + 32 : strh + 36] = bytes(4)  # dwRate
    avi.write_bytes(data)
    yield Hostile("0 fps", avi, "right", size=(WIDTH, HEIGHT))
    for name, atom, offset in (("no_lengths.mp4", b"stts", 16), ("no_clock.mp4", b"mdhd", 16)):
        path = make(folder / name, sound=False)
        data = bytearray(path.read_bytes())
        place = data.index(atom) + offset
        data[place : place + 4] = bytes(4)
        path.write_bytes(data)
        yield Hostile("0 fps", path)


def _time_stamps(folder: Path) -> Iterator[Hostile]:
    for name in ("untimed.h264", "untimed.mjpeg"):
        yield Hostile("no time stamps", make(folder / name), "right", size=(WIDTH, HEIGHT))
    yield Hostile(
        "no time stamps", make(folder / "untimed.avi", codec=("libx264", "yuv420p", None)), "right"
    )
    for name in ("negative.mp4", "negative.mkv", "negative.ts", "negative.nut"):
        yield Hostile("negative time stamps", make(folder / name, first=-5, sound=False), "right")


def _no_pictures(folder: Path) -> Iterator[Hostile]:
    for name, codec in (
        ("song.m4a", "aac"),
        ("song.mp3", "libmp3lame"),
        ("song.wav", "pcm_s16le"),
        ("song.mkv", "flac"),
        ("song.mp4", "aac"),
    ):
        with av.open(str(folder / name), "w") as container:
            _add_sound(container, container.add_stream(codec, rate=48000, layout="mono"), 1)
        yield Hostile("audio only", folder / name, "error", "a file without pictures")
    for name in BASES:
        (folder / name).write_bytes(b"")
        yield Hostile("zero bytes", folder / name, "error", "an empty file (0 bytes)")


def _mislabel(folder: Path) -> Iterator[Hostile]:
    for written, shown in (
        ("clip.mp4", "a.avi"),
        ("clip.webm", "b.mp4"),
        ("clip.gif", "c.mp4"),
        ("clip.mkv", "d.txt"),
        ("clip.avi", "e"),
        ("clip.mov", "f.png"),
        ("clip.ts", "g.mp3"),
    ):
        path = make(folder / written)
        yield Hostile("wrong extension", path.rename(folder / shown), "right", size=(WIDTH, HEIGHT))


def _texts(folder: Path) -> Iterator[Hostile]:
    secret = make(folder / "secret.mp4")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    texts = {
        "notes": "this is not a video\n" * 99,
        "page": "<html><video src='x'></html>",
        "graph": '{"nodes": []}',
        "playlist": playlist,
        "remote": playlist.replace("file://", "http://127.0.0.1:9"),
        "script": "ffconcat version 1.0\nfile secret.mp4\n",
        "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\n"
        "m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "manifest": '<?xml version="1.0"?>'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        "zeros": "\0" * 5000,
        "letter": "a",
    }
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text)
        yield Hostile(
            "text renamed .mp4", folder / f"{name}.mp4", "error", "a file that is not a video"
        )


def _names(folder: Path) -> Iterator[Hostile]:
    data = make(folder / "good.mp4").read_bytes()
    for name in (
        "two\nlines.mp4",
        "tab\tbell\a.mp4",
        "\x1b[31mred.mp4",
        "-i.mp4",
        "..mp4",
        "file:x.mp4",
        "concat:good.mp4|good.mp4",
        "http:x.mp4",
        "pipe:0",
        "data:video,x.mp4",
        "%s%n%08d.mp4",
        "shot%03d.mp4",
        "$(touch owned).mp4",
        "`touch owned`.mp4",
        "; rm -rf x.mp4",
        "a b  .mp4",
        "日本語.mp4",
        "\u202egpm.mp4",
        os.fsdecode(b"\xff\xfe.mp4"),
        "n" * 251 + ".mp4",
        "quote'\".mp4",
        "back\\slash.mp4",
        "?*.mp4",
        "{a,b}.mp4",
    ):
        path = folder / name
        path.write_bytes(data)
        yield Hostile("path tricks and control characters", path, "right", size=(WIDTH, HEIGHT))
    for missing in (
        "../../../nowhere/../x.mp4",
        "no\0body.mp4",
        "gone\n.mp4",
        "x" * 300 + ".mp4",
        "good.mp4/x",
    ):
        yield Hostile("path tricks and control characters", folder / missing, "error", "video '")


def _not_files(folder: Path) -> Iterator[Hostile]:
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    for name in ("folder.mp4", "pipe.mp4", "zero.mp4", "loop.mp4"):
        yield Hostile(
            "folders, pipes and devices", folder / name, "error", "a file that is not a video"
        )
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    yield Hostile("folders, pipes and devices", folder / "dangling.mp4", "error", "no such file")
    (folder / "link.mp4").symlink_to(make(folder / "real.mp4"))
    yield Hostile("folders, pipes and devices", folder / "link.mp4", "right")
    if os.geteuid() == 0:  # only then can the worker become nobody and come back
        make(folder / "locked.mp4").chmod(0)
        yield Hostile(
            "unreadable permissions",
            folder / "locked.mp4",
            "error",
            "may not be read",
            as_nobody=True,
        )
        (folder / "closed").mkdir(mode=0)
        make(folder / "closed" / "inside.mp4")
        yield Hostile(
            "unreadable permissions",
            folder / "closed" / "inside.mp4",
            "error",
            "may not be read",
            as_nobody=True,
        )


def _glue(folder: Path) -> Iterator[Hostile]:
    noise = random.Random(0).randbytes(3000)
    for name, data in _bases(folder).items():
        (folder / f"tail_{name}").write_bytes(data + noise)
        yield Hostile("garbage around", folder / f"tail_{name}")
        (folder / f"head_{name}").write_bytes(noise + data)
        yield Hostile("garbage around", folder / f"head_{name}")
    (folder / "noise.mp4").write_bytes(noise * 3)
    yield Hostile("garbage around", folder / "noise.mp4", "error", "a file that is not a video")


def _disks(folder: Path) -> Iterator[Hostile]:
    for room in (0, 1, 40, 300, 1000, 2000, 2500, 3000):
        yield Hostile(
            "disk full",
            make(folder / f"full_{room}.mp4", frames=20),
            "error",
            "room and permission",
            disk=room,
        )
