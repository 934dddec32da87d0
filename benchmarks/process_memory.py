"""This process's memory, as Linux counts it for the process alone.

`getrusage` would not do: its peak starts at that of the process which started this one (a forked process's counts
until it has called exec, and the kernel keeps the higher of both). Only a Mac, which has nothing else, is asked by it.
"""

import gc
import sys
from pathlib import Path


def peak() -> int:
    """Bytes that this process had resident at most so far."""
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident("VmHWM")


def resident(what: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most so far, `RssAnon` its own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def fresh_peak() -> int:
    """Let the kernel measure this process's peak anew; bytes resident now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")
