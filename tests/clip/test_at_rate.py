"""A clip at another rate: which frame is shown when."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource, ImageSource
from sama_core.clip.at_rate import AtRate, count_frames
from sama_core.errors import ClipError

from ..harness.write_clip import write_clip


def numbered(count: int, fps: float) -> ImageSource:
    """Frames whose brightness is their number."""
    levels = torch.arange(count).float() / 255
    return ImageSource(levels[:, None, None, None].expand(-1, 16, 16, 3), fps)


def shown(source, **wanted) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in source.frames(ClipRange(**wanted))]


@pytest.mark.parametrize(
    ("fps", "to", "frames"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5]),
        (8, 4, [0, 2, 4]),
        (8, 16, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        (24, 16, [0, 1, 3, 4]),
        (24, 30, [0, 1, 2, 2, 3, 4, 5, 5]),
        (30000 / 1001, 30, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_nearest_frame_is_shown(fps, to, frames):
    clip = AtRate(numbered(6, fps), Fraction(to))
    assert shown(clip) == frames
    assert clip.facts().frame_count == len(frames) and clip.facts().fps == to


def test_a_range_is_that_part_of_the_whole():
    clip = AtRate(numbered(20, 24), Fraction(30))
    whole = shown(clip)
    assert all(
        shown(clip, start=start, frames=5) == whole[start : start + 5] for start in range(25)
    )
    assert shown(clip, start=3, frames=4, stride=2) == whole[3:11:2]
    assert shown(clip, start=24) == whole[24:]
    with pytest.raises(ClipError):
        shown(clip, start=60)


def test_a_file(tmp_path):
    """Decoded from near the wanted frames on."""
    frames = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(10)]
    write_clip(tmp_path / "a.mp4", frames, Fraction(10))
    source = FileSource(tmp_path / "a.mp4")
    assert count_frames(source) == 10
    seen = [round(level / 20) for level in shown(AtRate(source, Fraction(5)))]
    assert seen == [0, 2, 4, 6, 8]
    late = [round(level / 20) for level in shown(AtRate(source, Fraction(5)), start=3, frames=2)]
    assert late == [6, 8]


@pytest.mark.parametrize("format", ["matroska", "mpegts"])
@pytest.mark.parametrize("damage", [False, True])
def test_frames_behind_a_hole_that_damage_left_do_not_count(tmp_path, format, damage):
    """They have other numbers than those of a clip's partner. A hole in the times alone is none."""
    path, noise = tmp_path / "clip", np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3))
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream("libx264", rate=12, options={"g": "6", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number, pixels in enumerate(noise.astype(np.uint8)):
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            picture.pts, picture.time_base = number + 20 * (number >= 50), Fraction(1, 12)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    if damage:
        data[at : at + 3000] = bytes(3000)
        path.write_bytes(data)
    found = count_frames(FileSource(str(path)))
    assert 25 <= found <= 31 if damage else found == 60
