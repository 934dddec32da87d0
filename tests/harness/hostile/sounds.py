"""Sound as the world has it: 1 to 16 channels in every order, holes, changes in mid-stream, several
tracks.

Each clip is half a second long and has one click, at `CLICK`, in every channel.
"""

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..moving_shapes import moving_shapes
from .atoms import set_channel_order
from .clips import FRAMES, HEIGHT, OPTIONS, WIDTH, Hostile

RATE, SECONDS, CLICK = 48000, 0.5, 0.25
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
OTHER_LAYOUTS = (
    "2.1",
    "3.1",
    "4.0",
    "4.1",
    "6.0",
    "7.0",
    "hexagonal",
    "octagonal",
    "downmix",
    "5.1(side)",
    "7.1(wide)",
)
# CoreAudio's names of channels: 200 means "speaker number 1 of a space", 0xFFFFFFFF "unknown".
_LABELS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 34, 12, 13, 14, 15, 16]
_UNKNOWN, _DISCRETE = 0xFFFFFFFF, 1 << 16
_PACKET = 1000


def hostile_sounds(folder: Path) -> Iterator[Hostile]:
    """Write every file under `folder`, and say what must come of it."""
    for kind in (_orders, _counts, _codecs, _holes, _changes, _tracks, _odd_rates):
        place = folder / kind.__name__.strip("_")
        place.mkdir(parents=True)
        yield from kind(place)


def clicks(channels: int, rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    """int16 (samples, channels): 10 ms of 1 kHz at `CLICK`, silence elsewhere."""
    time = np.arange(int(rate * seconds)) / rate
    on = (time >= CLICK) & (time < CLICK + 0.01)
    return np.repeat(
        (12000 * on * np.sin(2000 * np.pi * time)).astype(np.int16)[:, None], channels, 1
    )


def _layout(channels: int) -> str:
    return LAYOUTS.get(channels, f"{channels} channels")


def write_with_tracks(
    path: Path, *tracks: tuple, frames: int = FRAMES, video: str = "mpeg4"
) -> Path:
    """A clip with PCM tracks (channels, layout, samples, skipped packets), not encoded."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video, rate=24, options=OPTIONS.get(video, {}))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        added = [
            container.add_stream("pcm_s16le", rate=RATE, layout=layout or _layout(channels))
            for channels, layout, _, _ in tracks
        ]
        for number, pixels in enumerate(moving_shapes(frames, WIDTH, HEIGHT)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        for track, (_, _, samples, skipped) in zip(added, tracks, strict=True):
            for number, begin in enumerate(range(0, len(samples), _PACKET)):
                if number not in skipped:
                    packet = av.Packet(samples[begin : begin + _PACKET].tobytes())
                    packet.stream, packet.pts, packet.dts = track, begin, begin
                    packet.time_base, packet.duration = Fraction(1, RATE), _PACKET
                    container.mux(packet)
    return path


def draw_pcm(channels: int, layout: str = "", skipped: frozenset = frozenset()) -> tuple:
    return channels, layout, clicks(channels), skipped


def _orders(folder: Path) -> Iterator[Hostile]:
    """QuickTime PCM whose channels come in an order of their own."""
    for channels in range(1, 17):
        plain = write_with_tracks(folder / f"{channels}.mov", draw_pcm(channels)).read_bytes()
        own = _LABELS[:channels]
        shuffled = random.Random(channels).sample(_LABELS, channels)
        orders = {
            "named": own,
            "reversed": own[::-1],
            "shuffled": shuffled,
            "unknown": [_UNKNOWN] * channels,
            "discrete": [_DISCRETE | number for number in range(channels)],
        }
        for name, labels in orders.items():
            path = folder / f"{channels}_{name}.mov"
            path.write_bytes(set_channel_order(plain, labels))
            yield Hostile("channel orders", path, "right", size=(WIDTH, HEIGHT), click=CLICK)


def _counts(folder: Path) -> Iterator[Hostile]:
    """PCM of 1 to 16 channels wherever it can be written."""
    for ending in (".mov", ".mkv", ".nut", ".avi"):
        for channels in range(1, 17):
            path = write_with_tracks(folder / f"{channels}{ending}", draw_pcm(channels))
            yield Hostile("channel counts", path, "right", size=(WIDTH, HEIGHT), click=CLICK)
    for number, layout in enumerate(OTHER_LAYOUTS):
        path = write_with_tracks(
            folder / f"layout{number}.mkv", draw_pcm(av.AudioLayout(layout).nb_channels, layout)
        )
        yield Hostile("channel layouts", path, "right", size=(WIDTH, HEIGHT), click=CLICK)


def _codecs(folder: Path) -> Iterator[Hostile]:
    """Encoded sound of as many channels as its encoder takes."""
    for ending, codec, most in (
        (".mp4", "aac", 8),
        (".mkv", "flac", 8),
        (".webm", "libopus", 8),
        (".ts", "ac3", 6),
        (".mkv", "libvorbis", 8),
        (".mkv", "alac", 3),
    ):
        for channels in range(1, most + 1):
            path = folder / f"{codec}{channels}{ending}"
            if write_encoded(path, codec, channels):
                yield Hostile("encoded channels", path, "right", size=(WIDTH, HEIGHT), click=CLICK)


def write_encoded(path: Path, codec: str, channels: int, rate: int = RATE) -> bool:
    """Write a clip with this sound; False where the encoder does not take it."""
    try:
        with av.open(str(path), "w") as container:
            video = (
                "libvpx-vp9"
                if path.suffix == ".webm"
                else "mpeg4"
                if path.suffix != ".ts"
                else "libx264"
            )
            stream = container.add_stream(video, rate=24, options=OPTIONS.get(video, {}))
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            track = container.add_stream(codec, rate=rate, layout=_layout(channels))
            for number, pixels in enumerate(moving_shapes(FRAMES, WIDTH, HEIGHT)):
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                    format="yuv420p"
                )
                picture.pts = number
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
            resampler = av.AudioResampler(
                format=track.codec_context.format.name, layout=_layout(channels), rate=rate
            )
            frame = av.AudioFrame.from_ndarray(
                clicks(channels, rate).reshape(1, -1), "s16", _layout(channels)
            )
            frame.sample_rate, frame.pts = rate, 0
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    except (av.error.FFmpegError, ValueError):
        path.unlink(missing_ok=True)
        return False
    return True


def _holes(folder: Path) -> Iterator[Hostile]:
    """Packets missing before the click, at the beginning, in the middle, and all of them."""
    for ending in (".mkv", ".nut", ".mov"):
        for name, skipped in (
            ("begin", range(3)),
            ("middle", range(5, 9)),
            ("two", (2, 3, 8, 9)),
            ("all", range(99)),
            ("end", range(16, 99)),
        ):
            path = write_with_tracks(
                folder / f"{name}{ending}", draw_pcm(2, skipped=frozenset(skipped))
            )
            # mov has no holes: what is not written there moves what follows.
            timed = name in ("end",) or (ending != ".mov" and name != "all")
            yield Hostile(
                "holes in the sound",
                path,
                "right",
                size=(WIDTH, HEIGHT),
                click=CLICK if timed else None,
            )


def _changes(folder: Path) -> Iterator[Hostile]:
    """Two recordings one behind the other: rate, channels or both change in mid-stream."""
    pieces = {}
    for codec in ("ac3", "aac", "mp2"):
        for channels in (1, 2, 6):
            for rate in (48000, 44100, 32000):
                path = folder / f"piece_{codec}_{channels}_{rate}.ts"
                if write_encoded(path, codec, channels, rate):
                    pieces[codec, channels, rate] = path.read_bytes()
                    path.unlink()
    for codec, *_ in pieces:
        one = [key for key in pieces if key[0] == codec]
        for first in one[:3]:
            for second in one[::-1][:3]:
                path = folder / ("_".join(map(str, (*first, *second))) + ".ts")
                if first != second and not path.exists():
                    path.write_bytes(pieces[first] + pieces[second])
                    yield Hostile("changes in mid-stream", path, "either", click=CLICK)


def _tracks(folder: Path) -> Iterator[Hostile]:
    """Several tracks, of several widths."""
    for ending in (".mkv", ".mov", ".nut"):
        for name, counts in (
            ("two", (2, 1)),
            ("wide_second", (2, 16)),
            ("wide_first", (12, 2)),
            ("many", (1,) * 9),
        ):
            path = write_with_tracks(folder / f"{name}{ending}", *map(draw_pcm, counts))
            yield Hostile("several tracks", path, "right", size=(WIDTH, HEIGHT), click=CLICK)


def _odd_rates(folder: Path) -> Iterator[Hostile]:
    for ending, codec, rates in (
        (".mkv", "flac", (8000, 11025, 22050, 96000, 192000, 12345)),
        (".mp4", "aac", (8000, 96000)),
        (".mov", "alac", (12000, 88200)),
    ):
        for rate in rates:
            path = folder / f"{codec}{rate}{ending}"
            if write_encoded(path, codec, 2, rate):
                yield Hostile("odd rates", path, "right", size=(WIDTH, HEIGHT), click=CLICK)
