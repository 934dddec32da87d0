"""The result file: whole or not at all, never over another one."""

import errno
import os
from pathlib import Path

import pytest

from sama_core.launch import places as output
from sama_core.launch.places import choose_target, write_new
from sama_core.launch.progress import LaunchError


def test_an_existing_file_is_never_overwritten(tmp_path):
    target = tmp_path / "clip.final.mp4"
    written = [write_new(target, [text]).name for text in (b"1", b"2", b"3")]
    assert written == ["clip.final.mp4", "clip.final_2.mp4", "clip.final_3.mp4"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "clip.final.mp4": b"1",
        "clip.final_2.mp4": b"2",
        "clip.final_3.mp4": b"3",
    }


def test_where_the_name_cannot_be_given_no_empty_file_is_left(tmp_path, monkeypatch):
    """As where another program holds the new file, and the file system has no links."""

    def refuse(*arguments):
        raise OSError(errno.EACCES, "in use")

    monkeypatch.setattr(output.os, "link", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(LaunchError, match="no incomplete file is left"):
        write_new(tmp_path / "a.mp4", [b"x"])
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_it_is_the_same(tmp_path, monkeypatch):
    def no_links(*arguments):
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(output.os, "link", no_links)
    assert [write_new(tmp_path / "a.mp4", [b"x"]).name for _ in range(2)] == ["a.mp4", "a_2.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a_2.mp4"]


def test_the_file_is_not_there_before_it_is_whole(tmp_path):
    def chunks():
        yield b"first"
        assert not (tmp_path / "a.mp4").exists()
        yield b"second"

    assert write_new(tmp_path / "a.mp4", chunks()).read_bytes() == b"firstsecond"


@pytest.mark.parametrize(
    ("code", "moment"), [(errno.ENOSPC, "fsync"), (errno.ENOSPC, "link"), (errno.EDQUOT, "fsync")]
)
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, code, moment):
    def full(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(output.os, moment, full)
    with pytest.raises(
        LaunchError, match=r"saving a.mp4: got a full disk at .* no incomplete file is left"
    ):
        write_new(tmp_path / "a.mp4", [b"text"])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_no_name_for_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match=r"--out: got absent/, needs an existing folder"):
        choose_target("absent/", tmp_path / "a.mp4", 1)
    (tmp_path / "there").mkdir()
    for given in ("there", "there/"):
        assert choose_target(given, Path("a.mp4"), 1) == tmp_path / "there" / "a_sama_seed1.mp4"


@pytest.mark.parametrize("length", [241, 300])
def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path, length):
    name = "é" * ((length - 4) // 2) + ".mp4"
    with pytest.raises(LaunchError, match=r"--out: got a name of \d+ bytes, needs 240 at most"):
        choose_target(str(tmp_path / f"{name[:-4]}xx.mp4"), Path("a.mp4"), 1)


def test_a_full_disk_names_the_option_that_gives_another_place(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(output.os, "fsync", full)
    with pytest.raises(LaunchError, match="another place with --picture; no incomplete"):
        write_new(tmp_path / "a.png", [b"x"], "--picture")


@pytest.mark.parametrize("accident", [KeyboardInterrupt, LaunchError])
def test_an_accident_in_mid_download_leaves_nothing(tmp_path, accident):
    def chunks():
        yield b"half"
        raise accident("stopped")

    with pytest.raises(accident):
        write_new(tmp_path / "a.mp4", chunks())
    assert list(tmp_path.iterdir()) == []


def test_default_and_completed_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = tmp_path / "in" / "my clip.mov"
    assert choose_target(None, clip, 7) == tmp_path / "my clip_sama_seed7.mp4"
    assert choose_target(str(tmp_path), clip, 7) == tmp_path / "my clip_sama_seed7.mp4"
    assert choose_target("result", clip, 7) == tmp_path / "result.mp4"
    assert choose_target("RESULT.MP4", clip, 7) == tmp_path / "RESULT.MP4"
    long = Path("木" * 83 + ".mp4")
    assert choose_target(None, long, 7) == tmp_path / ("木" * 50 + "_sama_seed7.mp4")


def test_impossible_names_are_refused_before_the_work(tmp_path):
    with pytest.raises(LaunchError, match="--out: got x.mov, needs a name ending in .mp4"):
        choose_target(str(tmp_path / "x.mov"), tmp_path / "clip.mp4", 7)
    with pytest.raises(LaunchError, match="needs an existing folder"):
        choose_target(str(tmp_path / "absent" / "x.mp4"), tmp_path / "clip.mp4", 7)
