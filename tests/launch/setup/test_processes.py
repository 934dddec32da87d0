"""Programs that fail: cause, log and remedy."""

import sys

import pytest

from sama_core.launch.progress import LaunchError
from sama_core.launch.setup.processes import Commands, remedy


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
