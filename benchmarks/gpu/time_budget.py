"""Which points still fit into the minutes that a run of `python -m benchmarks.gpu` has."""

import statistics
import time

from benchmarks.gpu.grid import FILE_GB, Point
from benchmarks.gpu.sizes import clip_of, count_work, sizes

START_SECONDS = 20.0
"""Of a process: torch, ComfyUI, the card."""
LOADED_GB = 1.5
"""Of weights a second, from disk onto the card."""
EXPECTED = 0.4
"""Share of the ceiling that a step reaches, before one was measured."""
STREAMING = 1.5
"""Factor on a step where the card's memory is capped."""


class TimeBudget:
    """Seconds of a run, counted from now."""

    def __init__(self, minutes: float):
        self.ends = time.monotonic() + minutes * 60

    def left(self) -> float:
        """Seconds that are left, 0 when there are none."""
        return max(0.0, self.ends - time.monotonic())


def expected_seconds(point: Point, report: dict, steps: int) -> float:
    """How long a point will take: with the shares of the ceiling that earlier ones reached."""
    dry = report["dry"]
    speed = report["ceiling"].get("bf16", {}).get("flops_per_second")
    if dry or not speed:
        return 0.0
    work = count_work(sizes(dry), clip_of({**vars(point)}, dry).latent())
    reached = [
        found["ceiling_fraction"]
        for found in report["points"]
        if found.get("ceiling_fraction") and found["code"] == point.code
    ]
    share = statistics.median(reached) if reached else EXPECTED
    step = (work["attention_flops"] + work["linear_flops"]) / speed / share
    slower = STREAMING if point.cap is not None else 1.0
    return START_SECONDS + FILE_GB[point.weights] / LOADED_GB + steps * step * slower
