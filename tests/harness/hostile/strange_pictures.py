"""Strange pictures and sound.

Interlaced, layered, deep, named like patterns, in very many channels.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..moving_shapes import moving_shapes
from .clips import FRAMES, HEIGHT, OPTIONS, WIDTH, Hostile, make
from .sounds import CLICK, draw_pcm, write_encoded, write_with_tracks


def write_strange(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict | None = None,
    mux: dict | None = None,
    frames: int = FRAMES,
    tags: dict | None = None,
    target=None,
) -> Path:
    """A clip with options of the encoder and of the container."""
    with av.open(
        target or str(path),
        "w",
        options=mux or {},
        format={".mkv": "matroska", ".webm": "webm"}[path.suffix] if target else None,
    ) as container:
        stream = container.add_stream(
            codec, rate=24, options={**OPTIONS.get(codec, {}), **(options or {})}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for number, pixels in enumerate(moving_shapes(frames, WIDTH, HEIGHT)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def draw_first() -> np.ndarray:
    """The first picture of every clip."""
    return next(moving_shapes(1, WIDTH, HEIGHT))


def fields(folder: Path) -> Iterator[Hostile]:
    """Interlaced and telecined pictures, and a track of time codes."""
    for ending in (".mp4", ".mkv", ".mov", ".ts"):
        path = write_strange(folder / f"fields{ending}", options={"x264-params": "tff=1"})
        yield Hostile(
            "fields and time codes",
            path,
            "right",
            size=(WIDTH, HEIGHT),
            frames=FRAMES,
            first=draw_first(),
        )
        path = write_strange(folder / f"telecine{ending}", options={"x264-params": "pulldown=32"})
        yield Hostile("fields and time codes", path, "right", size=(WIDTH, HEIGHT), frames=FRAMES)
    for ending in (".mov", ".mp4", ".mxf"):
        path = folder / f"code{ending}"
        with av.open(str(path), "w") as container:
            codec = "mpeg2video" if ending == ".mxf" else "libx264"
            stream = container.add_stream(codec, rate=25, options=OPTIONS.get(codec, {}))
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.metadata["timecode"] = "10:00:00:00"
            for number, pixels in enumerate(moving_shapes(FRAMES, WIDTH, HEIGHT)):
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p"
                )
                picture.pts = number
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        yield Hostile("fields and time codes", path, "right", size=(WIDTH, HEIGHT), frames=FRAMES)


def layers(folder: Path) -> Iterator[Hostile]:
    """Transparency in every codec that has it."""
    for name, codec, pix_fmt in (
        ("vp9.webm", "libvpx-vp9", "yuva420p"),
        ("4444.mov", "prores_ks", "yuva444p10le"),
        ("deep4444.mkv", "ffv1", "yuva444p12le"),
        ("planes.mkv", "ffv1", "gbrap12le"),
        ("deepest.mkv", "ffv1", "yuva444p16le"),
        ("png.mov", "png", "rgba64be"),
        ("vp8.webm", "libvpx", "yuva420p"),
    ):
        path = folder / name
        try:
            write_strange(path, codec, pix_fmt)
        except (av.error.FFmpegError, ValueError):
            path.unlink(missing_ok=True)
            continue
        yield Hostile(
            "transparent pictures",
            path,
            "right",
            size=(WIDTH, HEIGHT),
            frames=FRAMES,
            first=draw_first(),
        )


def deep(folder: Path) -> Iterator[Hostile]:
    """HDR10, HLG and Dolby Vision's tags, and rare colour spaces."""
    for name, tags in (
        ("pq", {"color_primaries": 9, "color_trc": 16, "colorspace": 9}),
        ("hlg", {"color_primaries": 9, "color_trc": 18, "colorspace": 9}),
        ("ictcp", {"color_primaries": 9, "color_trc": 16, "colorspace": 14}),
        ("reserved", {"color_primaries": 3, "color_trc": 3, "colorspace": 3}),
        ("rgb", {"colorspace": 0}),
    ):
        for ending, codec, pix_fmt in (
            (".mkv", "ffv1", "yuv420p10le"),
            (".mov", "prores_ks", "yuv422p10le"),
        ):
            path = folder / f"{name}{ending}"
            try:
                write_strange(path, codec, pix_fmt, tags=tags)
            except (av.error.FFmpegError, ValueError):
                path.unlink(missing_ok=True)
                continue
            yield Hostile(
                "deep and rare colours", path, "either", size=(WIDTH, HEIGHT), frames=FRAMES
            )


def patterns(folder: Path) -> Iterator[Hostile]:
    """Single pictures whose names FFmpeg reads as patterns of other files."""
    from PIL import Image

    right = draw_first()
    for ending, name in (
        (".png", "shot%03d"),
        (".png", "%d"),
        (".bmp", "shot%%03d"),
        (".tiff", "shot*"),
        (".png", "%?*"),
        (".png", "shot[0-9]"),
        (".webp", "%03d"),
    ):
        place = folder / f"{len(list(folder.iterdir()))}"
        place.mkdir()
        for number in range(3):  # what must not be read in its place
            for other in (f"shot{number:03d}", f"{number}", f"{number:03d}"):
                Image.new("RGB", (64, 64), "white").save(place / f"{other}{ending}")
        path = place / f"{name}{ending}"
        Image.fromarray(right).save(path, **({"lossless": True} if ending == ".webp" else {}))
        yield Hostile(
            "names like patterns", path, "right", size=(WIDTH, HEIGHT), frames=1, first=right
        )


def sequences(folder: Path) -> Iterator[Hostile]:
    """Animations of picture formats: a palette of each picture's own, and sequences of AVIF."""
    from PIL import Image

    pictures = [Image.fromarray(pixels) for pixels in moving_shapes(FRAMES, WIDTH, HEIGHT)]
    palettes = [picture.quantize(4 + 8 * number) for number, picture in enumerate(pictures)]
    palettes[-1].save(
        folder / "palettes.gif", save_all=True, append_images=palettes[:-1], duration=40
    )
    yield Hostile(
        "animations", folder / "palettes.gif", "right", size=(WIDTH, HEIGHT), frames=FRAMES
    )
    layers = [picture.convert("RGBA") for picture in pictures]
    layers[0].save(
        folder / "disposal.gif", save_all=True, append_images=layers[1:], duration=40, disposal=2
    )
    yield Hostile(
        "animations",
        folder / "disposal.gif",
        "right",
        size=(WIDTH, HEIGHT),
        frames=FRAMES,
        first=draw_first(),
    )
    pictures[0].save(folder / "a.png", save_all=True, append_images=pictures[1:], duration=40)
    yield Hostile("animations", folder / "a.png", "right", size=(WIDTH, HEIGHT), first=draw_first())
    for ending in (".avif", ".heic", ".jxl"):
        try:
            pictures[0].save(
                folder / f"a{ending}", save_all=True, append_images=pictures[1:], duration=40
            )
        except (ValueError, OSError, KeyError):
            (folder / f"a{ending}").unlink(missing_ok=True)
            continue
        yield Hostile(
            "animations", folder / f"a{ending}", "right", size=(WIDTH, HEIGHT), frames=FRAMES
        )


def sparse(folder: Path) -> Iterator[Hostile]:
    """Files of a gigabyte that take no room: zeros alone, and behind a clip."""
    for ending in (".mp4", ".mkv", ".avi", ".ts", ".y4m"):
        path = folder / f"zeros{ending}"
        with path.open("wb") as file:
            file.truncate(1 << 30)
        yield Hostile("sparse files", path, "error", "not a video")
    for name in ("tail.mp4", "tail.mkv", "tail.avi"):
        path = make(folder / name, sound=False)
        with path.open("r+b") as file:
            file.truncate(1 << 30)
        yield Hostile("sparse files", path, "either", size=(WIDTH, HEIGHT))


def wide_sound(folder: Path) -> Iterator[Hostile]:
    for channels in (24, 32, 64):
        for ending in (".mov", ".mkv", ".nut"):
            path = write_with_tracks(folder / f"{channels}{ending}", draw_pcm(channels))
            yield Hostile("very many channels", path, "right", size=(WIDTH, HEIGHT), click=CLICK)
    with av.open(str(folder / "32.wav"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=48000, layout="32 channels")
        packet = av.Packet(bytes(64 * 1000))
        packet.stream, packet.pts, packet.dts, packet.time_base = track, 0, 0, Fraction(1, 48000)
        container.mux(packet)
    yield Hostile("very many channels", folder / "32.wav", "error", "without pictures")
    if write_encoded(
        folder / "skip.webm", "libopus", 2
    ):  # opus begins with samples that are to be skipped
        yield Hostile("very many channels", folder / "skip.webm", "right", click=CLICK)
