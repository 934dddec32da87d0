"""`benchmarks/start.py`: the moments of a command by what it prints, and how they are summed up."""

from itertools import count

import pytest

from benchmarks import start as bench
from sama_core.launch.progress import LaunchError


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A function that puts a program in the place of `run.py`."""
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    return (tmp_path / "run.py").write_text


def test_moments_are_those_of_the_first_lines(command, monkeypatch):
    command(
        "print('\\n[set-up]\\n[load] sending the clip\\n[load] Load SAMA Model')\n"
        "print('[sampling] 1/10\\n[sampling] 10/10\\n\\nDone')\n"
    )
    clock = count()
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(clock))
    assert bench.time_command("edit") == {"answers": 1, "first step": 2, "end": 3}


def test_a_command_that_fails_is_told(command):
    command("import sys\nsys.exit('no ComfyUI here')\n")
    with pytest.raises(LaunchError, match="no ComfyUI here"):
        bench.time_command("edit")


def test_medians_and_all_turns():
    turns = [{"end": 3.0}, {"end": 1.0}, {"end": 9.0}]
    assert bench.sum_up(turns) == {"median": {"end": 3.0}, "turns": turns}


def test_no_turns(capsys):
    assert bench.main(["--repeats", "0"]) == 1
    assert "--repeats" in capsys.readouterr().err
