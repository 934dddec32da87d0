"""`benchmarks/own_process.py`: a process's peak is its own."""

import subprocess
import sys

from benchmarks import own_process as memory

from ..harness.imports import REPO_ROOT

MIB = 1 << 20
CHILD = "from benchmarks.own_process import resident; print(resident('VmHWM'))"


def hold_for_a_moment(size: int) -> None:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])


def test_a_started_process_does_not_begin_at_our_peak():
    hold_for_a_moment(400 * MIB)
    assert memory.peak() == memory.resident("VmHWM") > 400 * MIB
    told = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=REPO_ROOT, capture_output=True, check=True
    )
    assert int(told.stdout) < 200 * MIB


def test_a_fresh_peak_forgets_what_was_given_back():
    hold_for_a_moment(400 * MIB)
    before = memory.reset_peak()
    assert memory.resident("VmHWM") - before < 50 * MIB
