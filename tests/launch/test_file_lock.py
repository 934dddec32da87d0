"""Locks as Windows has them, which another module gives there, and as shares without any."""

import errno
import sys
from types import SimpleNamespace

import pytest

from sama_core.launch.file_lock import take_lock
from sama_core.launch.setup.steps import only_one


@pytest.fixture
def windows(monkeypatch):
    """What locking says, one answer after another: an error's number, or 0."""
    answers: list[int] = []

    def lock(handle: int, how: int, count: int) -> None:
        assert (how, count) == (2, 1)
        if number := answers.pop(0):
            raise OSError(number, "no lock")

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=lock))
    return answers


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
