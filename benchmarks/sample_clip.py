"""A clip of any size and length with sound, quickly made.

Two seconds, encoded once and repeated.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE, SOUND_RATE, GROUP_SECONDS = 24, 48_000, 2


def make_clip(path: Path, width: int, height: int, seconds: int) -> None:
    """A drifting pattern with grain, GROUP_SECONDS of it encoded once and repeated, and a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(
            "libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"}
        )
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size, video.codec_context.max_b_frames = GROUP_SECONDS * RATE, 0
        track = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        stored = [
            (bytes(packet), packet.pts, packet.is_keyframe)
            for picture in draw_pattern(width, height)
            for packet in video.encode(picture)
        ]
        stored += [(bytes(packet), packet.pts, packet.is_keyframe) for packet in video.encode(None)]
        for repeat in range(seconds // GROUP_SECONDS):
            for data, number, is_keyframe in stored:
                container.mux(_packet(video, data, number + repeat * len(stored), is_keyframe))
            container.mux(track.encode(_tone(repeat)))
        container.mux(track.encode(None))


def draw_pattern(width: int, height: int) -> Iterator[av.VideoFrame]:
    """Waves that drift and grain that rolls, GROUP_SECONDS of them."""
    random = np.random.default_rng(0)
    grain = random.integers(-4, 5, (height, width, 3), dtype=np.int16)
    rows, columns = np.mgrid[:height, :width]
    for number in range(GROUP_SECONDS * RATE):
        wave = 127 + 80 * np.sin((columns + 6 * number) / 60) * np.cos((rows - 3 * number) / 45)
        pixels = np.stack([wave, 255 - wave, np.full_like(wave, 110)], axis=-1) + np.roll(
            grain, number, axis=1
        )
        picture = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
        picture.pts = number
        yield picture.reformat(format="yuv420p")


def _packet(stream: av.VideoStream, data: bytes, number: int, is_keyframe: bool) -> av.Packet:
    packet = av.Packet(data)
    packet.stream, packet.time_base = stream, Fraction(1, RATE)
    packet.pts = packet.dts = number
    packet.duration, packet.is_keyframe = 1, is_keyframe
    return packet


def _tone(part: int) -> av.AudioFrame:
    times = np.arange(GROUP_SECONDS * SOUND_RATE, dtype=np.float32) / SOUND_RATE
    frame = av.AudioFrame.from_ndarray(
        0.3 * np.sin(2764 * times)[None].astype(np.float32), "fltp", "mono"
    )
    frame.sample_rate, frame.pts = SOUND_RATE, part * GROUP_SECONDS * SOUND_RATE
    return frame
