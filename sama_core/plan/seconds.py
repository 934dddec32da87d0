"""Time of one sampling step: from measured speeds where there are some, else from a published peak.

Measured speeds are calibrations, JSON files of this form:

    {"card": "…", "kind": "CPU", "threads": 1, "date": "2026-11-21",
     "versions": {"torch": …, "comfyui": …, "pack": …},
     "model": {"width": 256, "blocks": 6, "name": "…"},
     "points": [{"tokens": 4161, "attention_flops": …, "linear_flops": …, "dtype": "float32",
                 "seconds": [0.81, 0.83, …]}]}

`seconds` are single calls of the model, in the order in which they were timed.
"""

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SamaError, needed
from ..model.config import DitConfig
from ..weights.names import FAST_STORAGE
from .budget import Budget
from .cards import EFFICIENCY, TRANSFER, is_same_card, peak
from .machine import Machine
from .request import Flops

SHIPPED = Path(__file__).with_name("calibrations")
"""Folder of the calibrations that come with the pack."""
USER_FOLDER = "sama_calibrations"
"""Name of the folder of the user's own ones, in ComfyUI's user folder."""
CALIBRATE = "`python3 run.py plan --calibrate` measures this machine"
_WIDTH_RANGE = 2.0
"""A calibration is used for models at most this many times as wide, or as narrow, as its own."""
_COUNTS = 0.1
"""Streaming is worth a remedy from this fraction of the longest time on."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """The timed calls with one clip size."""

    tokens: int
    """Tokens of the sequence."""
    attention_flops: int
    """Operations of attention in one call."""
    linear_flops: int
    """All other operations in one call."""
    dtype: str
    """What the model computed in, by torch's name."""
    seconds: tuple[float, ...]
    """Seconds of each call."""

    @property
    def flops(self) -> int:
        """All operations of one call."""
        return self.attention_flops + self.linear_flops

    @property
    def rates(self) -> tuple[float, float]:
        """Operations per second of the slowest and of the fastest call."""
        return self.flops / max(self.seconds), self.flops / min(self.seconds)


@dataclass(frozen=True)
class Calibration:
    """All measurements of one device on one day."""

    card: str
    """The device's name."""
    date: str
    """Day of the measurement, as 2026-11-21."""
    versions: dict[str, str]
    """Versions of torch, ComfyUI and the pack."""
    width: int
    """Width of the model that was timed."""
    model: str
    """Its name."""
    threads: int | None
    """Threads of a CPU; None on a card."""
    points: tuple[Point, ...]
    """The measurements, at least one."""

    def covers(self, tokens: int) -> bool:
        """Whether the length of such a sequence lies between two measured lengths."""
        measured = [point.tokens for point in self.points]
        return min(measured) <= tokens <= max(measured)

    def source(self, tokens: int) -> str:
        """Where the figures for sequences of this length come from, in one phrase."""
        measured = [point.tokens for point in self.points]
        beyond = (
            ""
            if self.covers(tokens)
            else f"extrapolated from {min(measured):,} to {max(measured):,} tokens, "
        )
        versions = ", ".join(
            f"{name} {version}" for name, version in self.versions.items() if version
        )
        threads = (
            f" with {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        )
        return (
            f"{beyond}measured on {self.card}{threads}, {self.date}, with {self.model} ({versions})"
        )

    def rates(self, tokens: int) -> tuple[float, float]:
        """Lowest and highest speed, in operations per second, with sequences of about this length.

        Between two measured lengths only those two count, elsewhere all: the range grows where
        nothing was measured. How many blocks were timed does not matter: all do the same work.
        """
        points = self.points
        if self.covers(tokens):
            points = (
                max((p for p in points if p.tokens <= tokens), key=lambda p: p.tokens),
                min((p for p in points if p.tokens >= tokens), key=lambda p: p.tokens),
            )
        slowest, fastest = zip(*(point.rates for point in points), strict=True)
        return min(slowest), max(fastest)


def read_calibration(path: Path) -> Calibration:
    """Reads one file. Raises SamaError, with the file's name, for anything but a calibration."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        points = tuple(
            Point(
                int(point["tokens"]),
                int(point["attention_flops"]),
                int(point["linear_flops"]),
                str(point["dtype"]),
                tuple(map(float, point["seconds"])),
            )
            for point in data["points"]
        )
        if not points or not all(map(_is_timed, points)):
            raise ValueError("no timed points")
        threads = data.get("threads")
        return Calibration(
            str(data["card"]),
            str(data["date"]),
            dict(data["versions"]),
            int(data["model"]["width"]),
            str(data["model"]["name"]),
            None if threads is None else int(threads),
            points,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as broken:
        raise SamaError(
            needed(
                path.name,
                f"no readable calibration ({broken})",
                "a file of run.py plan --calibrate",
                "Delete it, or calibrate again.",
            )
        ) from broken


def _is_timed(point: Point) -> bool:
    return bool(point.seconds) and all(0 < seconds < math.inf for seconds in point.seconds)


def read_calibrations(*folders: Path) -> list[Calibration]:
    """All calibrations in the shipped folder and then in `folders`.

    A broken file is left out, with a warning in the log.
    """
    read = []
    for folder in (SHIPPED, *folders):
        for path in sorted(folder.glob("*.json")):
            try:
                read.append(read_calibration(path))
            except SamaError as broken:
                log.warning("SAMA: %s", broken)
    return read


def calibration_for(
    card: str | None, width: int, calibrations: Iterable[Calibration]
) -> Calibration | None:
    """The newest calibration of exactly this card, however it is named, with a model of about this
    width.

    Of several from the same day, the last of `calibrations`: the user's own.
    """
    fitting = [
        one
        for one in calibrations
        if (one.card == card or is_same_card(one.card, card))
        and 1 / _WIDTH_RANGE <= one.width / width <= _WIDTH_RANGE
    ]
    return max(reversed(fitting), key=lambda one: one.date, default=None)


@dataclass(frozen=True)
class Seconds:
    """A range of seconds, and where it comes from."""

    low: float
    """The shortest time."""
    high: float
    """The longest time."""
    source: str
    """Where the figures come from, in one phrase."""
    measured: bool
    """Whether this size was measured: not extrapolated, nothing assumed."""
    streaming: float = 0.0
    """The part of `high` that streaming adds if none of it happens while the model computes."""

    @property
    def streaming_counts(self) -> bool:
        """Whether streaming is a tenth of the longest time or more."""
        return self.streaming >= _COUNTS * self.high


def seconds_per_step(
    flops: Flops,
    calls: int,
    config: DitConfig,
    tokens: int,
    storage: str,
    placed: Budget,
    machine: Machine,
    calibrations: Iterable[Calibration],
) -> Seconds | None:
    """Time of one step of `calls` calls of the model, each of `flops` operations.

    None for a device that is neither in `calibrations` nor among the published peaks.
    """
    timed, streaming = calibration_for(machine.card, config.dim, calibrations), 0.0
    if timed:
        slow, fast = timed.rates(tokens)
        low, high, source = flops.total / fast, flops.total / slow, timed.source(tokens)
    else:
        published = peak(machine.card)
        if not published:
            return None
        linear = published.fp8 if storage == FAST_STORAGE and published.fp8 else published.bf16
        at_peak = flops.attention / published.bf16 + flops.linear / linear
        low, high = at_peak / EFFICIENCY[1], at_peak / EFFICIENCY[0]
        source = (
            f"computed, not measured: {EFFICIENCY[0]:.0%} to {EFFICIENCY[1]:.0%} "
            "of the card's published peak"
        )
    low, high = calls * low, calls * high
    if placed.streamed:
        # A batched pair of calls shares the streamed weights. At best they are copied while the
        # model computes, at worst before.
        traffic = placed.traffic * (1 if placed.batched else calls)
        slow, fast = TRANSFER
        streaming = traffic / slow
        low, high = max(low, traffic / fast), high + streaming
        source += f", streaming assumed at {slow / 1e9:g} to {fast / 1e9:g} GB/s"
    if not timed:
        source += f"; {CALIBRATE}"
    measured = timed is not None and timed.covers(tokens) and not placed.streamed
    return Seconds(low, high, source, measured, streaming)
