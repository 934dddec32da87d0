"""A process of its own for each case, so that its memory is its own; and that memory, as Linux
counts it.

`getrusage` would not do: its peak starts at that of the process which started this one (a forked
process's counts until it has called exec, and the kernel keeps the higher of both). Only macOS,
which has nothing else, is asked by it.
"""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_module(
    module: str, *arguments: object, timeout: float | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Run `python -m module` with these arguments in this interpreter, from the pack's folder.

    Its output is captured as text; `environment` is added to this process's. Raises
    subprocess.TimeoutExpired after `timeout` seconds.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONSAFEPATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def measure_in_child(module: str, *arguments: object, **environment: str) -> dict:
    """What the module prints as its last line, in JSON; {"failed": its last words} if it fails."""
    done = run_module(module, *arguments, **environment)
    if done.returncode:
        return {
            "failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        }
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def busy_process() -> Iterator[None]:
    """A process beside that only computes."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def peak() -> int:
    """Bytes that this process had resident at most so far."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident("VmHWM")


def resident(what: str) -> int:
    """Bytes here: `VmRSS` now, `VmHWM` the peak so far, `RssAnon` without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def reset_peak() -> int:
    """Let the kernel measure this process's peak anew; returns the bytes resident now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")
