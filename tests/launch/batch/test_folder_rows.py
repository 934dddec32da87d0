"""Clips of a folder, and numbered frames that count as one."""

import os
from fractions import Fraction
from pathlib import Path

import pytest

from sama_core.launch.batch.batch_rows import Settings, name_targets
from sama_core.launch.batch.folder_rows import folder_rows
from sama_core.launch.batch.numbered_frames import find_sequences
from sama_core.launch.progress import LaunchError

USUAL = Settings("make it red", 1, 0, -1.0)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names_in(folder: Path, fps=None, out="out") -> list[str]:
    rows = folder_rows(folder, folder / out, USUAL, fps).rows
    return [str(row.name) for row in rows]


def test_clips_come_by_name_and_other_files_are_counted(tmp_path):
    fill(
        tmp_path,
        *("b.MOV", "a 'quoted' \"name\".mp4", "line\nbreak.mkv", "ü/💥.webm", "ü/notes.txt"),
        *(".hidden.mp4", ".cache/x.mp4", "out/a.mp4", "README", "x.txt"),
    )
    found = folder_rows(tmp_path, tmp_path / "out", USUAL, None)
    assert [str(row.name) for row in found.rows] == [
        "a 'quoted' \"name\".mp4", "b.MOV", "line\nbreak.mkv", "ü/💥.webm"
    ]  # fmt: skip
    assert found.remarks == ["Not clips, left alone: 2 .txt, 1 without ending."]
    assert [row.number for row in found.rows] == [1, 2, 3, 4]


def test_results_of_batches_are_no_sources(tmp_path):
    """As those of a table that lies among the clips."""
    fill(tmp_path, "a.mp4", "shots_sama/a.mp4", "shots_sama/.sama_batch/ledger.jsonl")
    assert names_in(tmp_path) == ["a.mp4"]


def test_numbers_count(tmp_path):
    fill(tmp_path, "shot 10.mp4", "shot 9.mp4", "b/2.mp4", "b/12.mp4")
    assert names_in(tmp_path) == ["b/2.mp4", "b/12.mp4", "shot 9.mp4", "shot 10.mp4"]


def test_five_thousand_clips_are_listed_without_reading_one(tmp_path, monkeypatch):
    for number in range(5000):
        (tmp_path / f"{number:04}.mp4").touch()
    looked = []
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: looked.append(self))
    monkeypatch.setattr(os, "stat", lambda *a, **k: looked.append(a))
    rows = name_targets(folder_rows(tmp_path, tmp_path / "out", USUAL, None).rows, False)
    assert len({row.target for row in rows}) == 5000 and looked == []


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), "got no file, needs a clip (mp4, mov, mkv, webm …). Check the path."),
        (("a.txt", "b.jpg", "c.txt"), "got 1 .jpg, 2 .txt, needs a clip"),
        (("f_1.png", "f_2.png"), "got 2 .png, needs a clip (mp4, mov, mkv, webm …). Give --fps N"),
    ],
)
def test_a_folder_without_a_clip(tmp_path, names, sentence):
    fill(tmp_path, *names)
    with pytest.raises(LaunchError) as caught:
        names_in(tmp_path)
    assert sentence in str(caught.value)


def test_numbered_frames_are_one_clip_where_a_rate_is_given(tmp_path):
    fill(
        tmp_path,
        *(f"shot/f.{number:03}.tif" for number in (9, 10, 11)),
        *(f"two/a_{number}.png" for number in (9, 10)),
        *(f"two/b_{number}.EXR" for number in (1, 2)),
        *("clip.mp4", "shot/logo.png", "logo1.png"),
    )
    found = folder_rows(tmp_path, tmp_path / "out", USUAL, Fraction(24))
    assert [str(row.name) for row in found.rows] == ["clip.mp4", "shot", "two/a", "two/b"]
    assert found.rows[1].clip.frames == ("f.009.tif", "f.010.tif", "f.011.tif")
    assert found.rows[2].clip.frames == ("a_9.png", "a_10.png")
    assert found.remarks == ["Not clips, left alone: 2 .png."]
    assert names_in(tmp_path) == ["clip.mp4"]
    videos = [str(row.target) for row in name_targets(found.rows, False)]
    assert videos == ["clip.mp4", "shot.mp4", "two/a.mp4", "two/b.mp4"]
    frames = [str(row.target) for row in name_targets(found.rows, True)]
    assert frames == ["clip", "shot", "two/a", "two/b"]


def test_frames_in_the_source_itself_are_named_after_it(tmp_path):
    source = fill(tmp_path / "shot 7", "1.png", "2.png")
    assert names_in(source, Fraction(24)) == ["shot 7"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("a1.png", "a2.png", "a5.png"), "shot: got no frame 3 between 2 and 5"),
        (("a1.png", "a01.png", "a2.png"), "shot: got frame 1 twice, needs every number once"),
    ],
)
def test_frames_that_are_missing_or_twice(names, sentence):
    (sequence,) = find_sequences(names)
    with pytest.raises(LaunchError) as caught:
        sequence.check("shot")
    assert sentence in str(caught.value)
