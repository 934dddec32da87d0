"""Jobs on clips: facts of a clip, and a picture of source and edit."""

from fractions import Fraction

import pytest
from PIL import Image

from sama_core.launch import clip_jobs

from ..harness.moving_shapes import moving_shapes
from ..harness.turned_files import rotate
from ..harness.write_clip import write_clip


@pytest.mark.parametrize(("frames", "columns"), [(1, 1), (3, 3), (400, 5)])
def test_a_picture_of_short_and_large_clips(tmp_path, frames, columns):
    """Never more than five columns of 320 pixels' width; the edit of an odd-sized clip is a row
    larger."""
    count = min(frames, 17)
    write_clip(tmp_path / "source.mp4", moving_shapes(count, 639, 35), Fraction(12))
    write_clip(tmp_path / "edit.mp4", moving_shapes(count, 640, 36), Fraction(12))
    written = clip_jobs.picture(
        str(tmp_path / "source.mp4"), str(tmp_path / "edit.mp4"), str(tmp_path / "sheet.png")
    )
    with Image.open(written) as sheet:
        assert sheet.size == (columns * 328 - 8, 2 * 18 + 8)


@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (180, (64, 48))])
def test_a_turned_clip_has_the_size_that_is_shown(tmp_path, degrees, size):
    clip = tmp_path / "phone.mp4"
    write_clip(clip, moving_shapes(2, 64, 48), Fraction(12))
    rotate(clip, degrees)
    facts = clip_jobs.probe(str(clip))
    assert (facts["width"], facts["height"]) == size


def test_an_unreadable_clip_is_named_as_the_node_names_it(tmp_path):
    """An animated WebP, which FFmpeg does not read: the artist is told what it is and what to
    convert it to."""
    clip = tmp_path / "a.webp"
    pictures = [Image.fromarray(frame) for frame in moving_shapes(3, 32, 32)]
    pictures[0].save(clip, save_all=True, append_images=pictures[1:], duration=80)
    with pytest.raises(
        ValueError, match=r"^got an animated WebP, .*needs a video that plays .*Convert it to mp4"
    ):
        clip_jobs.probe(str(clip))


def test_what_a_library_prints_before_the_answer_is_no_part_of_it(places, tmp_path, monkeypatch):
    said = 'libva: no driver\n{"answer": {"frames": 5}}\n'
    monkeypatch.setattr(clip_jobs, "answer", lambda *command, **how: said)
    assert clip_jobs.clip_facts(tmp_path / "a.mp4", places) == {"frames": 5}


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_films_of_the_same_frames_are_equal_byte_for_byte(tmp_path, mode):
    """Servers that share one clip get a film each, and know by its content that it is the same."""
    frames = []
    for number in range(3):
        frames.append(str(tmp_path / f"a_{number}.png"))
        Image.new(mode, (64, 48), number).save(frames[-1])
    films = [tmp_path / f"{name}.nut" for name in "ab"]
    for film in films:
        clip_jobs.join_frames(frames, "24000/1001", str(film))
    assert films[0].read_bytes() == films[1].read_bytes()
