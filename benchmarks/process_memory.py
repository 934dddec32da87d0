"""This process's memory, as Linux counts it for the process alone.

`getrusage` would not do: its peak starts at that of the process which started this one (a forked process's counts
until it has called exec, and the kernel keeps the higher of both).
"""

import gc
from pathlib import Path


def resident(what: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most so far, `RssAnon` its own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def fresh_peak() -> int:
    """Let the kernel measure this process's peak anew; bytes resident now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")
