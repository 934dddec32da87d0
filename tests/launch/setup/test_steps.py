"""Set-up steps: done once, resumed where they stopped, done again when what they depend on
changes."""

import socket
import subprocess
import sys
import threading

import pytest

from sama_core.launch.places import PACK_ROOT
from sama_core.launch.setup.steps import Step, only_one, run_steps


class Row:
    """Three steps that note what they did; `stop` makes one of them raise."""

    def __init__(self):
        self.did: list[str] = []
        self.stop: tuple[str, type[BaseException]] | None = None

    def steps(self, **keys: str) -> list[Step]:
        return [
            Step(name, f"doing {name}", keys.get(name, "key"), lambda name=name: self._do(name))
            for name in ("first", "second", "third")
        ]

    def _do(self, name: str) -> None:
        if self.stop and self.stop[0] == name:
            raise self.stop[1](name)
        self.did.append(name)


def test_every_step_is_done_once_and_reported(tmp_path):
    row, told = Row(), []
    assert run_steps(row.steps(), tmp_path, told.append) == ["first", "second", "third"]
    assert run_steps(row.steps(), tmp_path, told.append) == []
    assert row.did == ["first", "second", "third"]
    assert told == ["doing first", "doing second", "doing third"]


@pytest.mark.parametrize("accident", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize(
    ("stopped", "left"),
    [
        ("first", ["first", "second", "third"]),
        ("second", ["second", "third"]),
        ("third", ["third"]),
    ],
)
def test_a_stopped_row_goes_on_at_the_step_that_stopped(tmp_path, accident, stopped, left):
    row = Row()
    row.stop = (stopped, accident)
    with pytest.raises(accident):
        run_steps(row.steps(), tmp_path, lambda title: None)
    row.stop = None
    assert run_steps(row.steps(), tmp_path, lambda title: None) == left


def test_a_killed_process_leaves_only_marks_of_finished_steps(tmp_path):
    program = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sama_core.launch.setup.steps import Step, run_steps
row = [Step("first", "", "key", lambda: None), Step("second", "", "key", lambda: os._exit(9))]
run_steps(row, Path(sys.argv[2]), lambda title: None)
"""
    command = [sys.executable, "-c", program, str(PACK_ROOT), str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == ["first.json"]


def test_a_new_key_does_that_step_and_the_later_ones_again(tmp_path):
    row = Row()
    run_steps(row.steps(), tmp_path, lambda title: None)
    assert run_steps(row.steps(second="other"), tmp_path, lambda title: None) == ["second", "third"]


def test_a_step_done_again_loses_its_mark_before_it_runs(tmp_path):
    row = Row()
    run_steps(row.steps(), tmp_path, lambda title: None)
    row.stop = ("second", RuntimeError)
    with pytest.raises(RuntimeError):
        run_steps(row.steps(second="other"), tmp_path, lambda title: None)
    row.stop = None
    assert run_steps(row.steps(), tmp_path, lambda title: None) == ["second"]


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"other": 1}'])
def test_a_broken_mark_counts_as_none(tmp_path, rubbish):
    row = Row()
    run_steps(row.steps(), tmp_path, lambda title: None)
    (tmp_path / "third.json").write_text(rubbish)
    assert run_steps(row.steps(), tmp_path, lambda title: None) == ["third"]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock on Windows")
def test_two_set_ups_take_turns(tmp_path):
    order, waiting = [], threading.Event()

    def second() -> None:
        with only_one(tmp_path / "lock", waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with only_one(tmp_path / "lock", lambda: order.append("waited for nobody")):
        thread.start()
        assert waiting.wait(120)
        order.append("first")
    thread.join(120)
    assert order == ["first", "second"]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock on Windows")
def test_what_a_killed_set_up_left_running_is_waited_for(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(300)
    address = listener.getsockname()
    install = f"import socket; socket.create_connection({address}).recv(1)"
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(PACK_ROOT)!r})
from sama_core.launch.setup.processes import Commands
from sama_core.launch.setup.steps import only_one
with only_one(Path({str(tmp_path / "lock")!r}), lambda: None):
    Commands(Path({str(tmp_path / "log")!r})).run([sys.executable, "-c", {install!r}], "installing")
"""
    set_up = subprocess.Popen([sys.executable, "-c", program])
    installing, _ = listener.accept()
    set_up.kill()
    set_up.wait()
    with only_one(tmp_path / "lock", installing.close):
        assert installing.fileno() == -1
