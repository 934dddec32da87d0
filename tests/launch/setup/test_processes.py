"""Programs that fail: cause, log and remedy."""

import subprocess
import sys

import pytest

from sama_core.launch.progress import LaunchError
from sama_core.launch.setup.processes import Commands, end_with_block, remedy, stop

STUBBORN = """
import signal, sys, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
threading.Event().wait()
"""


def start(program: str) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], **pipes)
    process.stdout.readline()
    return process


@pytest.mark.parametrize("accident", [KeyboardInterrupt, ValueError, None])
def test_a_program_ends_with_its_block(accident):
    process = start("import threading; print(1, flush=True); threading.Event().wait()")
    process.stdin.write(b"what it never reads")
    try:
        with end_with_block(process):
            if accident:
                raise accident
    except (KeyboardInterrupt, ValueError):
        assert accident
    assert process.returncode is not None
    assert process.stdin.closed and process.stdout.closed


@pytest.mark.skipif(sys.platform == "win32", reason="there every program ends when it is asked to")
def test_a_program_that_will_not_end_is_killed():
    process = start(STUBBORN)
    stop(process, seconds=0.05)
    assert process.returncode < 0
    stop(process)


def test_a_failed_command_shows_cause_log_and_remedy(tmp_path):
    log = tmp_path / "setup.log"
    program = (
        "import sys; print('line before'); print('OSError: No space left on device'); sys.exit(3)"
    )
    with pytest.raises(LaunchError) as caught:
        Commands(log).run([sys.executable, "-c", program], "installing x")
    text = str(caught.value)
    assert text.startswith("installing x: failed with exit code 3. The disk is full")
    assert "    line before\n    OSError: No space left on device" in text and str(log) in text


def test_a_command_that_cannot_start_is_a_sentence(tmp_path):
    with pytest.raises(LaunchError, match="could not start"):
        Commands(tmp_path / "setup.log").run([tmp_path / "nothing"], "installing x")


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("Temporary failure in name resolution", "check the network"),
        ("Read timed out.", "check the network"),
        ("No matching distribution found for torch", "Python 3.11"),
        ("something else", "delete .venv"),
    ],
)
def test_remedies(output, advice):
    assert advice in remedy(output)
