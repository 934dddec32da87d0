"""Which files of a folder are clips, and in which order."""

import os

import pytest

from sama_core.errors import ClipError
from sama_core.folders import list_clips

STRANGE = ["a b.mp4", "käse.mov", 'it\'s "new".mkv', "two\nlines.mp4", "👩‍🚀.webm", "100%.gif"]


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_numbers_are_counted_and_case_is_not(tmp_path):
    put(tmp_path, "clip10.mp4", "Clip2.MP4", "clip1.mov", "b.mkv", "A.avi", "clip02b.mp4", "7.ts")
    assert list_clips(tmp_path, tmp_path).clips == (
        "7.ts",
        "A.avi",
        "b.mkv",
        "clip1.mov",
        "Clip2.MP4",
        "clip02b.mp4",
        "clip10.mp4",
    )


def test_other_files_and_hidden_ones_are_counted(tmp_path):
    put(tmp_path, "a.mp4", "notes.txt", "mp4", ".DS_Store", "._a.mp4", "a.mp4.part")
    (tmp_path / "folder.mp4").mkdir()
    found = list_clips(tmp_path, tmp_path)
    assert found.clips == ("a.mp4",) and (found.others, found.outside, found.closed) == (5, 0, 0)


@pytest.mark.parametrize("name", STRANGE)
def test_any_name(tmp_path, name):
    put(tmp_path, name)
    found = list_clips(tmp_path, tmp_path)
    assert found.clips == (name,) and found.path(name).read_bytes() == b"x"


def test_folders_below_only_when_asked_for(tmp_path):
    put(tmp_path, "b.mp4", "day 10/a.mp4", "day 2/a.mp4", "day 2/x/y.mp4", ".cache/a.mp4")
    assert list_clips(tmp_path, tmp_path).clips == ("b.mp4",)
    assert list_clips(tmp_path, tmp_path, True).clips == (
        "b.mp4",
        "day 2/a.mp4",
        "day 2/x/y.mp4",
        "day 10/a.mp4",
    )


def test_links_stay_inside_and_end(tmp_path):
    """A clip or folder behind a link counts where it lies inside; a circle is walked once."""
    root, secret = put(tmp_path / "input", "shots/a.mp4", "more/b.mp4"), tmp_path / "secret"
    put(secret, "c.mp4", "d/e.mp4")
    shots = root / "shots"
    (shots / "near.mp4").symlink_to(root / "more" / "b.mp4")
    (shots / "far.mp4").symlink_to(secret / "c.mp4")
    (shots / "far").symlink_to(secret / "d")
    (shots / "more").symlink_to(root / "more")
    (shots / "circle").symlink_to(shots)
    (shots / "itself.mp4").symlink_to("itself.mp4")
    (shots / "nothing.mp4").symlink_to("gone.mp4")
    found = list_clips(shots, root, True)
    assert found.clips == ("a.mp4", "more/b.mp4", "near.mp4")
    assert (found.outside, found.others) == (2, 2)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    found = list_clips(tmp_path, tmp_path)
    assert found.clips == () and found.others == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ClipError, match="folder 'gone': got No such file or directory, needs"):
        list_clips(tmp_path / "gone", tmp_path)


def test_5000_clips_are_listed_without_opening_one(tmp_path, monkeypatch):
    put(tmp_path, *(f"shot_{number}.mp4" for number in range(5000)))
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("opened"))
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
    found = list_clips(tmp_path, tmp_path)
    monkeypatch.undo()
    assert found.clips == tuple(f"shot_{number}.mp4" for number in range(5000))
