"""Ctrl-C and SIGTERM: a run saves after its step, says how to go on, and goes on as if nothing had
happened, also under torchrun.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sama_core.training.outputs import load_state
from sama_core.training.stopping import StopSignals

from .processes import environment
from .stalled_run import LONGEST
from .test_trainer import command, lines_in, losses, run_program, steady


def stop(folder: Path, number: int, *settings: str, processes: int = 1) -> tuple[int, str]:
    """Start the program and send the signal after its third step; its exit code and last words."""
    running = subprocess.Popen(
        command(folder, *settings, "wait=1", processes=processes),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + LONGEST
        while lines_in(folder) < 3:
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        running.send_signal(number)
        said = running.communicate(timeout=LONGEST)[1]
    finally:
        running.kill()
    return running.returncode, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on(tmp_path, number, code):
    """No checkpoint was due. Resumed: the log of a run that was left alone."""
    settings = ["steps=40", "checkpoint_every=100", "muon_rate=0.02"]
    got, said = stop(tmp_path / "stopped", number, *settings)
    assert got == code
    step = load_state(tmp_path / "stopped")["step"]
    assert 3 <= step < 40 and step == lines_in(tmp_path / "stopped")
    assert f"Stopped after {step} of 40 steps; all is saved in" in said
    assert "The same command goes on from there" in said and "Traceback" not in said
    if number == signal.SIGINT:
        run_program(tmp_path / "stopped", *settings)
        run_program(tmp_path / "alone", *settings)
        assert steady(tmp_path / "stopped") == steady(tmp_path / "alone")


def test_processes_of_torchrun_stop_after_the_same_step(tmp_path):
    """Ctrl-C reaches the launcher alone; it passes it on to both, at different moments."""
    settings = ["steps=40", "checkpoint_every=100"]
    stop(tmp_path, signal.SIGINT, *settings, processes=2)
    step = load_state(tmp_path)["step"]
    assert 3 <= step < 40 and step == lines_in(tmp_path)
    run_program(tmp_path, *settings, processes=2)
    assert load_state(tmp_path)["step"] == 40
    run_program(tmp_path / "alone", *settings)
    assert losses(tmp_path) == pytest.approx(losses(tmp_path / "alone"), abs=1e-5)


def test_a_second_ctrl_c_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with StopSignals(alone=False) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert stop.number == signal.SIGTERM


LEAVING = """
import atexit, sys
from sama_core.training.stopping import leave_process
atexit.register(print, "torn down")
print("said", end="")
print("warned", end="", file=sys.stderr)
leave_process(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("processes", "said"), [("1", "saidtorn down\n"), ("2", "said")])
def test_one_of_several_processes_leaves_without_teardown(processes, said):
    """A worker of gloo that met the interpreter's teardown aborted finished runs, about 1 in 24."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, "7"],
        env=environment() | {"WORLD_SIZE": processes},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, said, "warned")
