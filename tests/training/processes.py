"""Trainings in processes of their own, of one thread each and without a card."""

import os
import subprocess
import sys

from ..harness.imports import REPO_ROOT
from .stalled_run import LONGEST


def environment() -> dict[str, str]:
    """What such a process is started with."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPO_ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def python(processes: int = 1) -> list[str]:
    """The start of a command: Python, in several processes with torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else ())]


def run_two(*program: str, **variables: str) -> None:
    """Run a program in two processes. Raises AssertionError with what they say if it fails."""
    done = subprocess.run(
        [*python(2), *program],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
