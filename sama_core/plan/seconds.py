"""Seconds of one sampling step: from measured points where there are some, else from a published peak."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..config import DitConfig
from .budget import Budget
from .calibration import Calibration, calibration_for
from .cards import EFFICIENCY, TRANSFER, peak
from .flops import Flops
from .machine import Machine
from .weights import FAST_STORAGE

# From this part of the longest time on, streaming is worth a remedy.
_COUNTS = 0.1
CALIBRATE = "`python3 run.py plan --calibrate` measures this machine"


@dataclass(frozen=True)
class Seconds:
    """A range, and where it comes from."""

    low: float
    high: float
    source: str
    measured: bool
    """Whether this size was measured: not extrapolated, nothing assumed."""
    streaming: float = 0.0
    """Part of `high`: what streaming adds where none of it hides behind the work."""

    @property
    def streaming_counts(self) -> bool:
        """Whether streaming is a tenth of the longest time or more."""
        return self.streaming >= _COUNTS * self.high


def seconds_per_step(flops: Flops, calls: int, config: DitConfig, tokens: int, storage: str, placed: Budget,
                     machine: Machine, calibrations: Iterable[Calibration]) -> Seconds | None:
    """None for a card that was neither measured nor listed. `calls` of the model make a step."""
    timed, streaming = calibration_for(machine.card, config.dim, calibrations), 0.0
    if timed:
        slow, fast = timed.rates(tokens)
        low, high, source = flops.total / fast, flops.total / slow, timed.described(tokens)
    else:
        published = peak(machine.card)
        if not published:
            return None
        linear = published.fp8 if storage == FAST_STORAGE and published.fp8 else published.bf16
        at_peak = flops.attention / published.bf16 + flops.linear / linear
        low, high = at_peak / EFFICIENCY[1], at_peak / EFFICIENCY[0]
        source = f"computed, not measured: {EFFICIENCY[0]:.0%} to {EFFICIENCY[1]:.0%} of the card's published peak"
    low, high = calls * low, calls * high
    if placed.streamed:
        # A batched pair shares what comes over. At best that hides behind the work, at worst it follows it.
        traffic = placed.traffic * (1 if placed.batched else calls)
        slow, fast = TRANSFER
        streaming = traffic / slow
        low, high = max(low, traffic / fast), high + streaming
        source += f", streaming assumed at {slow / 1e9:g} to {fast / 1e9:g} GB/s"
    if not timed:
        source += f"; {CALIBRATE}"
    measured = timed is not None and timed.covers(tokens) and not placed.streamed
    return Seconds(low, high, source, measured, streaming)
