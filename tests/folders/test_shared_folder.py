"""Folders in which several processes work. The steps of another one are put between ours."""

import gc
import subprocess
import time
from pathlib import Path

import pytest

from sama_core.folders import file_lock, shared_folder
from sama_core.folders.shared_folder import empty_folder, remove_unused, use_folder, while_unused

from ..harness.second_process import REMOVES, WORKS, answer, removes, start, working_in

WAITING = 0.5
"""Seconds in which a process would do what it must not do."""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "jobs" / "0a"


def still_waits(process: subprocess.Popen) -> bool:
    """Whether a process that has begun goes no further."""
    time.sleep(WAITING)
    return process.poll() is None


def test_what_another_process_works_in_stays(folder):
    with working_in(folder):
        assert not remove_unused(folder) and (folder / "theirs").is_file()
        with while_unused(folder) as alone:
            assert not alone
    assert remove_unused(folder) and not folder.exists() and folder.parent.is_dir()
    assert remove_unused(folder), "nothing is there"


def test_ours_stays_until_we_end_it_or_nothing_refers_to_it(folder):
    use, again = use_folder(folder), use_folder(folder)
    assert use is again
    (folder / "ours").touch()
    assert not removes(folder)
    use.end()
    assert use_folder(folder) is use and not removes(folder)
    del use, again
    gc.collect()
    assert removes(folder) and not folder.exists()


def test_our_own_use_does_not_keep_us_from_removing_it(folder):
    use = use_folder(folder)
    (folder / "part").touch()
    with while_unused(folder) as alone:
        assert alone
    assert not removes(folder), "it is still ours"
    with while_unused(folder) as alone:
        empty_folder(folder)
    assert not folder.exists()
    assert use_folder(folder) is use and not removes(folder)


def test_an_empty_folder_stays_where_another_one_has_just_begun(folder):
    with working_in(folder):
        (folder / "theirs").unlink()
        assert not remove_unused(folder)
        assert sorted(path.name for path in folder.iterdir()) == [".turn", "in_use"]


def test_one_that_begins_while_we_remove_begins_with_an_empty_folder(folder, monkeypatch):
    """It comes between our look whether anybody works there and our removal."""
    use_folder(folder).end()
    (folder / "ours").touch()
    begun = []

    def empty(path):
        begun.append(start(WORKS, path))
        assert still_waits(begun[0]) and not (path / "theirs").exists()
        empty_folder(path)

    monkeypatch.setattr(shared_folder, "empty_folder", empty)
    assert remove_unused(folder)
    with begun[0] as process:
        assert process.stdout.readline() == "ready\n"
        assert (folder / "theirs").is_file() and not (folder / "ours").exists()
        assert not remove_unused(folder), "its lock is the one that is looked at"
        process.stdin.close()


def test_one_that_removes_while_we_begin_sees_us(folder, monkeypatch):
    """It comes between our opening of the lock's file and our lock."""
    wait, removing = shared_folder.wait_for_lock, []

    def between(file, shared=False):
        if shared:
            removing.append(start(REMOVES, folder))
            assert still_waits(removing[0])
        wait(file, shared)

    monkeypatch.setattr(shared_folder, "wait_for_lock", between)
    use = use_folder(folder)
    with removing[0] as process:
        assert answer(process) == "False"
    assert use.folder.is_dir() and not removes(folder)


def test_a_turn_in_a_folder_that_was_removed_meanwhile_is_none(folder, monkeypatch):
    """It comes between our opening of the file of turns and our lock, which has no name then."""
    wait, gone = file_lock.wait_for_lock, []

    def between(file, shared=False):
        if not gone:
            gone.append(removes(folder))
            assert gone == [True] and not folder.exists()
        wait(file, shared)

    monkeypatch.setattr(file_lock, "wait_for_lock", between)
    use = use_folder(folder)
    (folder / "ours").touch()
    assert use and not removes(folder) and (folder / "ours").is_file()


def test_a_folder_that_was_deleted_by_hand_is_ours_again(folder):
    use = use_folder(folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert use_folder(folder) is use and not removes(folder)


def test_a_file_in_the_place_of_the_folder(folder):
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(FileExistsError):
        use_folder(folder)
    assert folder.is_file()
