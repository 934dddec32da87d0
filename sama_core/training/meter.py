"""What a step is measured by, beside its losses: the smoothed loss, seconds, memory, time left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MEASURED = ("seconds", "memory_gib", "left_s")
"""Keys of a line of the log that are never the same twice."""
SMOOTHING = 0.98
"""How much of the smoothed loss stays at each step: about the last 50 steps count."""


class Meter:
    """Measures the steps between two lines of the log."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0
        self._seconds, self._steps = 0.0, 0
        self._rate = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure one step."""
        began = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - began
        self._steps += 1

    def smooth(self, loss: float) -> float:
        """Take in a step's loss; the mean of the last ones, younger ones counting more."""
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * loss
        self._weight = SMOOTHING * self._weight + 1 - SMOOTHING
        return self._sum / self._weight

    @property
    def state(self) -> tuple[float, float]:
        """What a resumed run smooths on from."""
        return self._sum, self._weight

    @state.setter
    def state(self, value: tuple[float, float]) -> None:
        self._sum, self._weight = value

    def read(self, steps_left: int) -> dict[str, float]:
        """Seconds of a step since the last call, the most memory in GiB, and seconds left."""
        if self._steps:
            self._rate = self._seconds / self._steps
        self._seconds, self._steps = 0.0, 0
        left = round(self._rate * steps_left, 1)
        return {"seconds": round(self._rate, 4), "memory_gib": peak_memory(), "left_s": left}


def peak_memory() -> float:
    """The most memory so far in GiB: of the accelerator, or of the process without one."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**30, 3)
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)
