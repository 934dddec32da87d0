"""Seconds of one sampling step: from measured points where there are some, else from a published peak."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..config import DitConfig
from ..model.slices import FEED_FORWARD_SLICES
from .budget import Budget
from .calibration import Calibration, calibration_for
from .cards import EFFICIENCY, TRANSFER, peak
from .flops import Flops
from .machine import Machine
from .weights import FAST_STORAGE

CALIBRATE = "`python3 run.py plan --calibrate` measures this machine"


@dataclass(frozen=True)
class Seconds:
    """A range, and where it comes from."""

    low: float
    high: float
    source: str
    measured: bool


def crossings(config: DitConfig) -> float:
    """How often weights that are streamed come over in one call: a feed-forward once for each slice of tokens."""
    feed_forward, projections = 2 * config.ffn_dim * config.dim, 8 * config.dim**2
    return 1 + (FEED_FORWARD_SLICES - 1) * feed_forward / (feed_forward + projections)


def seconds_per_step(flops: Flops, calls: int, config: DitConfig, storage: str, placed: Budget, machine: Machine,
                     calibrations: Iterable[Calibration]) -> Seconds | None:
    """None for a card that was neither measured nor listed. `calls` of the model make a step."""
    measured = calibration_for(machine.card, config.dim, calibrations)
    if measured:
        slow, fast = measured.rates(flops.total)
        low, high, source = flops.total / fast, flops.total / slow, measured.described()
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
        traffic = placed.streamed * crossings(config) * (1 if placed.batched else calls)
        slow, fast = TRANSFER
        low, high = max(low, traffic / fast), high + traffic / slow
        source += f", streaming assumed at {slow / 1e9:g} to {fast / 1e9:g} GB/s"
    if not measured:
        source += f"; {CALIBRATE}"
    return Seconds(low, high, source, measured is not None and not placed.streamed)
