"""Measured speed of a card: JSON files, and the seconds that follow from them.

    {"card": "…", "kind": "CPU", "threads": 1, "date": "2026-11-21", "versions": {"torch": …, "comfyui": …, "pack": …},
     "model": {"width": 256, "blocks": 6, "name": "…"},
     "points": [{"tokens": 4161, "attention_flops": …, "linear_flops": …, "dtype": "float32",
                 "seconds": [0.81, 0.83, …]}]}

`seconds` are single calls of the model, in the order they were timed. A file is read whole or refused with its name.

Floating point operations of one call of the DiT; a multiplication with its addition counts as two.

Seconds of one sampling step: from measured points where there are some, else from a published peak.
"""

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SamaError, needed
from ..geometry import PATCH, LatentShape
from ..model.config import DitConfig
from ..model.memory_law import TEXT_ROWS, sequence_tokens
from .budget import Budget
from .machine import EFFICIENCY, TRANSFER, Machine, peak
from .weight_bytes import FAST_STORAGE

SHIPPED = Path(__file__).with_name("calibrations")


# In ComfyUI's user folder.
USER_FOLDER = "sama_calibrations"


# A calibration speaks for models up to so many times as wide or narrow as the one it was measured with.
_WIDTH_RANGE = 2.0


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """One clip size, timed."""

    tokens: int
    attention_flops: int
    linear_flops: int
    dtype: str
    seconds: tuple[float, ...]

    @property
    def flops(self) -> int:
        return self.attention_flops + self.linear_flops

    @property
    def rates(self) -> tuple[float, float]:
        """Operations per second: slowest and fastest run."""
        return self.flops / max(self.seconds), self.flops / min(self.seconds)


@dataclass(frozen=True)
class Calibration:
    """All points of one card on one day."""

    card: str
    date: str
    versions: dict[str, str]
    width: int
    model: str
    threads: int | None
    """Of a CPU; fewer are slower."""
    points: tuple[Point, ...]

    def covers(self, tokens: int) -> bool:
        """Whether sequences of this length lie between measured ones."""
        measured = [point.tokens for point in self.points]
        return min(measured) <= tokens <= max(measured)

    def described(self, tokens: int) -> str:
        """Where the figures for sequences of this length come from, in one phrase."""
        measured = [point.tokens for point in self.points]
        beyond = (
            ""
            if self.covers(tokens)
            else f"extrapolated from {min(measured):,} to {max(measured):,} tokens, "
        )
        with_what = ", ".join(
            f"{name} {version}" for name, version in self.versions.items() if version
        )
        threads = (
            f" with {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        )
        return f"{beyond}measured on {self.card}{threads}, {self.date}, with {self.model} ({with_what})"

    def rates(self, tokens: int) -> tuple[float, float]:
        """Slowest and fastest operations per second of runs with about so many tokens.

        Between two measured lengths those two count, elsewhere all: the spread grows where nothing was measured. The
        number of blocks that were timed does not matter: all do the same.
        """
        points = self.points
        if self.covers(tokens):
            points = [
                max((p for p in points if p.tokens <= tokens), key=lambda p: p.tokens),
                min((p for p in points if p.tokens >= tokens), key=lambda p: p.tokens),
            ]
        slowest, fastest = zip(*(point.rates for point in points), strict=True)
        return min(slowest), max(fastest)


def read_calibration(path: Path) -> Calibration:
    """Raises SamaError, with the file's name, for anything that is not a calibration."""
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
        if not points or not all(point.seconds and min(point.seconds) > 0 for point in points):
            raise ValueError("no timed points")
        return Calibration(
            str(data["card"]),
            str(data["date"]),
            dict(data["versions"]),
            int(data["model"]["width"]),
            str(data["model"]["name"]),
            data.get("threads"),
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


def read_calibrations(*folders: Path) -> list[Calibration]:
    """All in the shipped folder and in `folders`, the user's last. A broken file is left out, with a warning."""
    found = []
    for folder in (SHIPPED, *folders):
        for path in sorted(folder.glob("*.json")):
            try:
                found.append(read_calibration(path))
            except SamaError as broken:
                log.warning("SAMA: %s", broken)
    return found


def calibration_for(
    card: str | None, width: int, calibrations: Iterable[Calibration]
) -> Calibration | None:
    """The newest calibration of this very card with a model of about this width; the user's own wins a tie."""
    fitting = [
        found
        for found in calibrations
        if found.card == card and 1 / _WIDTH_RANGE <= found.width / width <= _WIDTH_RANGE
    ]
    return max(reversed(fitting), key=lambda found: found.date, default=None)


@dataclass(frozen=True)
class Flops:
    """Work of one call for one sample."""

    attention: int
    """All tokens with all tokens: grows with the square of their number."""
    linear: int
    """Everything else that multiplies matrices: grows with the number of tokens."""

    @property
    def total(self) -> int:
        return self.attention + self.linear

    @property
    def attention_share(self) -> float:
        """Between 0 and 1."""
        return self.attention / self.total


def forward_flops(config: DitConfig, latent: LatentShape, source: bool = True) -> Flops:
    """The model called once. Norms, rotations and additions are left out: together well under one percent."""
    tokens, video = sequence_tokens(config, latent, source), latent.tokens()
    width, patch = config.dim, math.prod(PATCH)
    block = (
        2
        * tokens
        * (6 * width**2 + 2 * width * config.ffn_dim)  # q, k, v, o; the text's q, o; feed-forward
        + 4 * TEXT_ROWS * width**2  # the text's k, v
        + 4 * tokens * TEXT_ROWS * width
    )  # attention to the text
    embed = 2 * video * (2 if source else 1) * patch * config.in_dim * width
    head = 2 * video * patch * config.out_dim * width
    text = 2 * TEXT_ROWS * (config.text_dim * width + width**2)
    time = 2 * (config.freq_dim * width + 7 * width**2)
    semantic = (
        2
        * config.semantic_tokens
        * (config.semantic_dim * (config.semantic_hidden + width) + config.semantic_hidden * width)
    )
    return Flops(
        attention=4 * tokens**2 * width * config.num_layers,
        linear=block * config.num_layers + embed + head + text + time + semantic,
    )


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
