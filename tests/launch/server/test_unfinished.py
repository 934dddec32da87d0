"""What is kept of edits that were stopped, and for how long."""

import json
import os
import time
from pathlib import Path

from sama_core.launch.server import unfinished
from sama_core.launch.server.unfinished import OLD_DAYS, keep_result, remove_old

from ...harness.second_process import working_in

DAY = 24 * 3600


def make(path: Path, days: float, size: int = 2_000_000) -> Path:
    """A file that was last written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    at = time.time() - days * DAY
    os.utime(path, (at, at))
    return path


def job(folder: Path, key: str, days: float) -> Path:
    whole = folder / "sama_whole_videos" / (key * 20)
    make(whole / "segments" / "000000.safetensors", days)
    about = make(whole / "about.json", days + 1, 0)
    about.write_text(json.dumps({"clip": "street.mp4", "instruction": "make it night"}))
    for path in (about, whole / "segments", whole):
        os.utime(path, (time.time() - days * DAY,) * 2)
    return whole


def test_what_nobody_asked_for_again_is_removed_and_told(tmp_path):
    old, new = job(tmp_path, "0a", OLD_DAYS + 1), job(tmp_path, "0b", OLD_DAYS - 1)
    segments = [
        make(tmp_path / "sama_segments" / f"{number}.safetensors", OLD_DAYS * number)
        for number in (0, 2, 3)
    ]
    result = make(tmp_path / "results" / "out.mp4", OLD_DAYS + 1)
    other = make(tmp_path / "default" / "settings.json", OLD_DAYS + 1)
    said: list[str] = []
    remove_old(tmp_path, said.append)
    assert [path.exists() for path in (old, new, result, other, *segments)] == [
        *(False, True, False, True),
        *(True, False, False),
    ]
    assert said == [
        "Removed after 14 days: street.mp4: make it night (2 MB), of edits that were stopped.",
        "Removed after 14 days: 2 segments (4 MB), of edits that were stopped.",
        "Removed after 14 days: out.mp4 (2 MB), of edits that were stopped.",
    ]
    remove_old(tmp_path, said.append)
    remove_old(tmp_path / "absent", said.append)
    assert len(said) == 3


def test_one_new_file_keeps_an_edit(tmp_path):
    """A running edit writes a segment or a piece now and then."""
    old = job(tmp_path, "0a", OLD_DAYS + 1)
    make(old / "pieces" / "000000.mp4", 1)
    remove_old(tmp_path, print)
    assert old.is_dir()


def test_what_another_comfyui_works_on_stays_and_is_not_told(tmp_path):
    old, said = job(tmp_path, "0a", OLD_DAYS + 1), []
    mark = make(tmp_path / "sama_whole_videos" / ".folder_id", OLD_DAYS + 1)
    with working_in(old):
        (old / "theirs").unlink()
        for path in (old, *old.iterdir()):
            os.utime(path, (time.time() - (OLD_DAYS + 1) * DAY,) * 2)
        remove_old(tmp_path, said.append)
        assert (old / "segments" / "000000.safetensors").is_file() and said == []
    os.utime(old, (time.time() - (OLD_DAYS + 1) * DAY,) * 2)
    remove_old(tmp_path, said.append)
    assert len(said) == 1 and not old.exists() and mark.is_file()


def test_another_command_may_remove_the_same(tmp_path, monkeypatch):
    gone = tmp_path / "sama_whole_videos" / "gone"
    monkeypatch.setattr(unfinished, "_inside", lambda folder: [gone])
    remove_old(tmp_path, print)


def test_a_finished_edit_without_a_place_is_kept(tmp_path):
    file = make(tmp_path / "job" / "a seed 1.mp4", 0)
    said = keep_result(file, tmp_path / "unfinished")
    kept = tmp_path / "unfinished" / "results" / "a seed 1.mp4"
    assert said == f" The edit itself is done; for 14 days it lies in {kept}"
    assert kept.is_file() and not file.exists()
    assert keep_result(file, tmp_path / "unfinished") == ""
