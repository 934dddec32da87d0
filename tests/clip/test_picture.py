"""Turned and mirrored pictures come upright, as FFmpeg shows them: from a file's matrix and from
EXIF.
"""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from sama_core.clip import ClipRange, FileSource, fit_clip, save_restored
from sama_core.clip.colours import EXACT
from sama_core.clip.picture import Orientation, orientation_from

from ..harness.numbered_clips import HEIGHT, WIDTH, number_in, numbered_picture, write_numbered
from ..harness.turned_files import ONE
from ..harness.turned_files import turn as turn_file

# Of each matrix (a, b, c, d), what FFmpeg's ffmpeg_filter.c puts before the first filter.
AUTOROTATION = {
    (1, 0, 0, 1): [],
    (-1, 0, 0, 1): ["hflip"],
    (1, 0, 0, -1): ["vflip"],
    (-1, 0, 0, -1): ["hflip", "vflip"],
    (0, 1, -1, 0): ["transpose=clock"],
    (0, 1, 1, 0): ["transpose=cclock_flip"],
    (0, -1, 1, 0): ["transpose=cclock"],
    (0, -1, -1, 0): ["transpose=clock_flip"],
}


def write_turned(path, turn, count=3):
    """A clip whose header asks for a turn."""
    write_numbered(path, [40 * number for number in range(count)])
    turn_file(path, turn)
    return FileSource(str(path))


def as_ffmpeg_shows(path, filters):
    """First picture of the file in RGB, then through FFmpeg's own filters."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="gbrp", interpolation=EXACT)
    graph = (
        av.filter.Graph()
    )  # ends with a copy: before 18, PyAV misreads a picture that is stored upside down
    steps = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format="gbrp", time_base=Fraction(1, 25)
        ),
        *(graph.add(*step.split("=")) for step in (*filters, "copy")),
        graph.add("buffersink"),
    ]
    for one, other in pairwise(steps):
        one.link_to(other)
    graph.configure()
    graph.push(frame)
    return graph.pull().to_ndarray()


@pytest.mark.parametrize("name", ["turned.mov", "turned.mp4"])
@pytest.mark.parametrize("turn", AUTOROTATION)
def test_every_turn_and_mirror_image_is_as_ffmpeg_shows_it(tmp_path, name, turn):
    source = write_turned(tmp_path / name, turn)
    assert np.array_equal(
        next(source.frames(ClipRange())), as_ffmpeg_shows(tmp_path / name, AUTOROTATION[turn])
    )
    facts = source.facts()
    assert (facts.width, facts.height) == ((WIDTH, HEIGHT) if turn[0] else (HEIGHT, WIDTH))
    assert facts.mirrored == (turn[0] * turn[3] < turn[1] * turn[2])


@pytest.mark.parametrize("turn", AUTOROTATION)
def test_the_result_is_upright_and_asks_for_no_turn(tmp_path, turn):
    """Restored borders and the edited middle are turned alike."""
    source = write_turned(tmp_path / "in.mov", turn)
    frames, info = fit_clip(source, ClipRange(), 32 * 32)
    save_restored(tmp_path / "out.mp4", frames, info)
    result = FileSource(str(tmp_path / "out.mp4"))
    assert (result.facts().rotation, result.facts().mirrored) == (0, False)
    for one, other in zip(source.frames(ClipRange()), result.frames(ClipRange()), strict=True):
        left, top, right, bottom = info.crop_box
        border = np.ones(one.shape[:2], bool)
        border[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4] = False
        assert one.shape == other.shape and np.abs(one.astype(int) - other).mean() < 25
        assert not border.any() or np.abs(one.astype(int) - other)[border].mean() < 8


@pytest.mark.parametrize(
    "matrix, expected",
    [
        ([ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30], Orientation()),
        ([0] * 9, Orientation()),
        ([ONE, 0, 0, ONE, 0, 0, 0, 0, 0], Orientation()),
        ([-ONE, 3, 0, -3, -ONE, 0, 0, 0, 1 << 30], Orientation(2)),  # 180 degrees, but for rounding
        ([2 * ONE, 0, 0, 0, -5 * ONE, 0, 0, 0, 1 << 30], Orientation(0, True)),
        ([-(2**31), 0, 0, 0, -(2**31), 0, 0, 0, -(2**31)], Orientation(2)),
    ],
)
def test_any_matrix_has_an_orientation(matrix, expected):
    assert orientation_from(np.array(matrix, np.int32)) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture(tmp_path, orientation):
    """FFmpeg 8 gives EXIF beside its pictures, a kind of side data that PyAV 18 stumbles over."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(numbered_picture(200)).save(tmp_path / "photo.jpg", exif=exif)
    (picture,) = FileSource(str(tmp_path / "photo.jpg")).frames(ClipRange())
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "photo.jpg")))
    assert picture.shape == expected.shape and np.abs(picture.astype(int) - expected).max() <= 3


def test_the_numbers_of_these_clips_can_be_read():
    assert [number_in(numbered_picture(number)) for number in (0, 1, 23, 128, 255)] == [
        0,
        1,
        23,
        128,
        255,
    ]
