"""Pictures as the world has them: stamps that are equal, missing or negative, starts before a
keyframe, mirrored matrices, edit lists, sizes that change in mid-stream, and formats that few
readers know.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..moving_shapes import moving_shapes
from .atoms import set_matrix
from .clips import FRAMES, HEIGHT, OPTIONS, WIDTH, Hostile, make

MILLISECONDS = Fraction(1, 1000)
_STEP = 42
# Rows a b u, c d v, x y w of the eight ways a picture can lie, and the size shown.
MATRICES = {
    "upright": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "turned_90": (0, 1, 0, -1, 0, 0, HEIGHT, 0, 1),
    "turned_180": (-1, 0, 0, 0, -1, 0, WIDTH, HEIGHT, 1),
    "turned_270": (0, -1, 0, 1, 0, 0, 0, WIDTH, 1),
    "mirrored": (-1, 0, 0, 0, 1, 0, WIDTH, 0, 1),
    "flipped": (1, 0, 0, 0, -1, 0, 0, HEIGHT, 1),
    "mirrored_90": (0, 1, 0, 1, 0, 0, 0, 0, 1),
    "mirrored_270": (0, -1, 0, -1, 0, 0, HEIGHT, WIDTH, 1),
}


def hostile_stamps(folder: Path) -> Iterator[Hostile]:
    """Write every file under `folder`, and say what must come of it."""
    for kind in (
        _odd_stamps,
        _before_a_keyframe,
        _matrices,
        _edit_lists,
        _size_changes,
        _rare_formats,
    ):
        place = folder / kind.__name__.strip("_")
        place.mkdir(parents=True)
        yield from kind(place)


def write_packets(
    path: Path, stamp: Callable[[int], int | None], frames: int = FRAMES, gop: int = 1
) -> Path:
    """A clip whose picture n carries the stamp `stamp(n)` in milliseconds.

    None leaves it without one.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=24, options={**OPTIONS["libx264"], "g": str(gop), "bf": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packets = []
        for number, pixels in enumerate(moving_shapes(frames, WIDTH, HEIGHT)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            picture.pts = number
            packets += stream.encode(picture)
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            time = stamp(number)
            packet.time_base = MILLISECONDS
            packet.pts = packet.dts = time
            packet.duration = 0
            container.mux(packet)
    return path


STAMPS: dict[str, Callable[[int], int | None]] = {
    "one_equal": lambda n: _STEP * (n - (n == 6)),
    "two_equal": lambda n: _STEP * (n - (n in (3, 8))),
    "equal_at_begin": lambda n: _STEP * max(0, n - 1),
    "equal_at_end": lambda n: _STEP * min(n, FRAMES - 2),
    "pairs": lambda n: _STEP * 2 * (n // 2),
    "all_equal": lambda n: 0,
    "one_backwards": lambda n: _STEP * (n - 2 * (n == 6)),
    "jump_ahead": lambda n: _STEP * n + 3000 * (n > 6),
    "jump_far": lambda n: _STEP * n + 10_000_000 * (n > 6),
    "hour_late": lambda n: _STEP * n + 3_600_000,
    "negative": lambda n: _STEP * n - 200,
    "far_negative": lambda n: _STEP * n - 100_000,
    "uneven": lambda n: _STEP * n + (n * 7) % 20,
    "one_tick": lambda n: n,
}


def _odd_stamps(folder: Path) -> Iterator[Hostile]:
    for ending in (".mkv", ".nut", ".mov", ".ts"):
        for name, stamp in STAMPS.items():
            path = folder / f"{name}{ending}"
            try:
                write_packets(path, stamp)
            except (av.error.FFmpegError, ValueError):
                path.unlink(missing_ok=True)  # the container itself refuses such stamps
                continue
            if "negative" in name and ending == ".mov":  # an edit list hides what lies before 0
                yield Hostile("odd stamps", path, "either", size=(WIDTH, HEIGHT))
            else:
                yield Hostile("odd stamps", path, "right", size=(WIDTH, HEIGHT), frames=FRAMES)


def _before_a_keyframe(folder: Path) -> Iterator[Hostile]:
    """Recordings that begin in the middle of a group of pictures.

    The first ones cannot be decoded.
    """
    for ending in (".mkv", ".ts", ".mov", ".nut"):
        for gop, dropped in ((4, 1), (4, 3), (12, 1), (6, 5)):
            source = make(
                folder / f"whole{gop}_{dropped}{ending}", codec=("libx264", "yuv420p", None)
            )
            path = folder / f"from{gop}_{dropped}{ending}"
            with av.open(str(source)) as read, av.open(str(path), "w") as write:
                copy = write.add_stream_from_template(read.streams.video[0])
                for number, packet in enumerate(read.demux(video=0)):
                    if packet.size and number >= dropped:
                        packet.stream = copy
                        write.mux(packet)
            yield Hostile("starts before a keyframe", path, "either", size=(WIDTH, HEIGHT))


def _matrices(folder: Path) -> Iterator[Hostile]:
    for ending in (".mov", ".mp4"):
        plain = make(folder / f"plain{ending}", codec=("libx264", "yuv420p", None)).read_bytes()
        for name, matrix in MATRICES.items():
            path = folder / f"{name}{ending}"
            path.write_bytes(set_matrix(plain, matrix))
            shown = _as_shown(next(moving_shapes(1, WIDTH, HEIGHT)), matrix)
            yield Hostile("display matrices", path, "right", size=shown.shape[1::-1], first=shown)
        for name, matrix in (
            ("zeros", (0,) * 9),
            ("skewed", (1, 1, 0, 0, 1, 0, 0, 0, 1)),
            ("doubled", (2, 0, 0, 0, 2, 0, 0, 0, 1)),
        ):
            path = folder / f"{name}{ending}"
            path.write_bytes(set_matrix(plain, matrix))
            yield Hostile("display matrices", path, "either")


def _as_shown(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """A point (p, q) is shown at (a p + c q, b p + d q).

    Here that is a transposition, and mirrors.
    """
    a, b, _, c, d, *_ = matrix
    shown = picture if a else picture.transpose(1, 0, 2)
    shown = shown[:, ::-1] if a + c < 0 else shown
    return np.ascontiguousarray(shown[::-1] if b + d < 0 else shown)


def _edit_lists(folder: Path) -> Iterator[Hostile]:
    """mp4 and mov whose first picture comes late, early, or whose sound does."""
    for ending in (".mp4", ".mov"):
        for first in (-8, -3, 1, 5, 48):
            path = make(folder / f"first{first}{ending}", first=first)
            yield Hostile("edit lists", path, "right", size=(WIDTH, HEIGHT))


def _size_changes(folder: Path) -> Iterator[Hostile]:
    """Two sizes in one stream: what is before the change is a clip, or an error names it."""
    sizes = ((WIDTH, HEIGHT), (64, 48), (HEIGHT, WIDTH), (16, 16))
    for ending in (".ts", ".h264", ".mjpeg"):
        parts = [
            make(folder / f"{w}x{h}{ending}", 2, w, h, sound=False).read_bytes() for w, h in sizes
        ]
        for number, part in enumerate(parts[1:], 1):
            path = folder / f"change{number}{ending}"
            path.write_bytes(parts[0] + part)
            yield Hostile("sizes that change", path, "either")


def _rare_formats(folder: Path) -> Iterator[Hostile]:
    for name, codec in (
        ("raw.y4m", ("wrapped_avframe", "yuv420p", None)),
        ("deep.y4m", None),
        ("raw.avi", None),
        ("huff.mkv", ("ffvhuff", "yuv420p", None)),
        ("apng.apng", ("apng", "rgb24", None)),
        ("flv.flv", ("flv1", "yuv420p", None)),
        ("asf.asf", ("msmpeg4v3", "yuv420p", None)),
        ("theora.ogv", ("libtheora", "yuv420p", None)),
        ("mpeg.mpg", ("mpeg1video", "yuv420p", None)),
        ("av1.mkv", ("libaom-av1", "yuv420p", None)),
        ("mpeg.mxf", ("mpeg2video", "yuv420p", None)),
        ("grey.mkv", ("ffv1", "gray", None)),
        ("alpha.mov", ("qtrle", "argb", None)),
        ("float.mkv", ("ffv1", "gbrp16le", None)),
    ):
        path = folder / name
        try:
            made = (
                _y4m(path, name == "deep.y4m")
                if path.suffix == ".y4m"
                else make(path, sound=False, rate=25, codec=codec or ("rawvideo", "bgr24", None))
            )
        except (av.error.FFmpegError, ValueError):
            path.unlink(missing_ok=True)
            continue
        yield Hostile("rare formats", made, "right", size=(WIDTH, HEIGHT))
    from PIL import Image

    images = [Image.fromarray(pixels) for pixels in moving_shapes(FRAMES, WIDTH, HEIGHT)]
    images[0].save(folder / "moving.webp", save_all=True, append_images=images[1:], duration=42)
    yield Hostile("rare formats", folder / "moving.webp", "error", "WebP")


def _y4m(path: Path, deep: bool) -> Path:
    """Raw video as tools pipe it: one header line, then FRAME and the planes of each picture."""
    kind, pix_fmt = ("420p10", "yuv420p10le") if deep else ("420jpeg", "yuv420p")
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F24:1 Ip A1:1 C{kind}\n".encode())
        for pixels in moving_shapes(FRAMES, WIDTH, HEIGHT):
            planes = (
                av.VideoFrame.from_ndarray(pixels, format="rgb24")
                .reformat(format=pix_fmt)
                .to_ndarray()
            )
            file.write(b"FRAME\n" + planes.tobytes())
    return path
