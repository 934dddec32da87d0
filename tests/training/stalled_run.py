"""A training of the command line that is killed in the step after its first checkpoint."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

from ..harness.imports import REPO_ROOT

LONGEST = 900
"""Seconds for what starts and trains some steps, also on a busy machine."""
STALLED = "stalled"
PROGRAM = f"""
import runpy, time
from pathlib import Path
from sama_core.training.trainer import Trainer

go_on = Trainer.train_step

def train_step(self):
    if (Path(self.config.output) / "state.pt").exists():
        print({STALLED!r}, flush=True)
        time.sleep({LONGEST})
    return go_on(self)

Trainer.train_step = train_step
runpy.run_module("sama_core.training", run_name="__main__", alter_sys=True)
"""


def kill_after_a_checkpoint(recipe: Path) -> None:
    """Train as the recipe says, in a process of one thread, which stalls in that step; SIGKILL it.

    Raises AssertionError where it ends before.
    """
    settings = {"PYTHONPATH": str(REPO_ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "train", str(recipe)],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    late = Timer(LONGEST, running.kill)
    late.start()
    try:
        assert any(line.strip() == STALLED for line in running.stdout), "it ended before"
    finally:
        late.cancel()
        running.send_signal(signal.SIGKILL)
        running.communicate()
