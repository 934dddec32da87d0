"""Locks as Windows has them, which another module gives there, as shares have them, and none."""

import errno
import fcntl
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sama_core.folders.file_lock import BYTES, FIRST_BYTE, take_lock, wait_for_lock
from sama_core.folders.shared_folder import remove_unused, use_folder
from sama_core.launch.batch.folder_lock import hold_folder
from sama_core.launch.setup.steps import only_one


@pytest.fixture
def windows(monkeypatch):
    """What locking says, one answer after another: an error's number, or 0."""
    answers: list[int] = []

    def lock(handle: int, how: int, count: int) -> None:
        assert (how, count) == (2, BYTES)
        if number := answers.pop(0):
            raise OSError(number, "no lock")

    give_windows(monkeypatch, lock)
    return answers


@pytest.fixture
def stretches(monkeypatch):
    """Windows' locks of stretches of bytes: handle → those that it has locked."""
    held: dict[int, set[int]] = {}

    def lock(handle: int, how: int, count: int) -> None:
        first = os.lseek(handle, 0, os.SEEK_CUR)
        asked = set(range(first, first + count))
        if any(asked & taken for taken in held.values()):
            raise PermissionError(errno.EACCES, "no lock")
        held.setdefault(handle, set()).update(asked)

    give_windows(monkeypatch, lock)
    return held


def give_windows(monkeypatch, lock) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=lock))


@pytest.mark.parametrize(
    ("number", "taken"), [(0, True), (errno.EACCES, False), (errno.EINVAL, True)]
)
def test_a_lock_that_another_process_has(windows, tmp_path, number, taken):
    windows.append(number)
    with (tmp_path / "lock").open("ab") as file:
        assert take_lock(file) is taken


def test_two_set_ups_take_turns_on_windows_too(windows, tmp_path):
    windows.extend([errno.EACCES, errno.EACCES, 0])
    waited = []
    with only_one(tmp_path / "lock", lambda: waited.append("once")):
        assert waited == ["once"] and windows == []


def test_locks_are_shared_on_windows_too(stretches, tmp_path):
    path = tmp_path / "lock"
    path.write_bytes(b"12345")
    with path.open("a+b") as first, path.open("r+b") as second, path.open("r+b") as third:
        assert take_lock(first, shared=True) and take_lock(second, shared=True)
        assert not take_lock(third), "others share it"
        del stretches[first.fileno()], stretches[second.fileno()]
        assert take_lock(third)
        assert not take_lock(first, shared=True) and not take_lock(second)
        assert stretches == {third.fileno(): set(range(FIRST_BYTE, FIRST_BYTE + BYTES))}
        assert third.read() == b"12345", "the position stays where it was"


def test_shared_locks_on_a_share_without_locks_on_windows(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EINVAL, "no lock")

    give_windows(monkeypatch, refuse)
    with (tmp_path / "lock").open("a+b") as file:
        assert take_lock(file, shared=True)


def test_waiting_for_a_shared_lock(tmp_path):
    path, waited = tmp_path / "lock", []
    with path.open("a+b") as alone, path.open("a+b") as beside:
        assert take_lock(alone) and not take_lock(beside, shared=True)

        def end() -> None:
            waited.append("once")
            alone.close()

        wait_for_lock(beside, shared=True, waiting=end)
    assert waited == ["once"]


@pytest.fixture
def network_share(monkeypatch):
    """NFS locks ranges of bytes for Linux's flock: a file has to be open for reading to share a
    lock, for writing to have it alone.
    """
    flock, locked = fcntl.flock, []

    def lock(handle: int, how: int) -> None:
        mode = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE
        if mode != os.O_RDWR and mode != (os.O_RDONLY if how & fcntl.LOCK_SH else os.O_WRONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, how)
        locked.append(how)

    monkeypatch.setattr(fcntl, "flock", lock)
    return locked


def test_every_lock_is_one_on_a_network_share_too(network_share, tmp_path):
    with only_one(tmp_path / "set_up", lambda: None):
        assert len(network_share) == 1
    with hold_folder(Path("out"), tmp_path / "batch"):
        assert len(network_share) == 2
    use = use_folder(tmp_path / "job")
    assert len(network_share) == 4 and use.folder.is_dir()
    assert remove_unused(tmp_path / "job") and len(network_share) == 6
