"""The best edit that is finished in a number of minutes, and quicker drafts of it.

Times are those of `seconds.py`, for sampling, and the longest one counts: what is promised is
finished in time if the machine is as fast as the slowest that the plan assumes. A tenth of the
minutes is left for reading, encoding, decoding and saving. Unverified: nobody has timed a whole
edit of SAMA-14B on a card.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..errors import InputError, needed
from .budget import budget
from .machine import Machine
from .planning import time_step
from .seconds import Calibration
from .trade_offs import Settings, Wish, list_settings
from .whole_clip import count_segments

RESERVE = 0.1
"""The fraction of the minutes that is not planned for sampling."""
CHOICES = (("full", 1.0), ("middle", 1 / 2), ("draft", 1 / 6))
"""Each choice, and the fraction of the full one's time that it may take."""


@dataclass(frozen=True)
class TimedSettings:
    """Settings, and the time of their sampling."""

    settings: Settings
    """What to set."""
    segments: int
    """Samplings that the clip takes."""
    low: float
    """The shortest time, in seconds."""
    high: float
    """The longest time, in seconds."""
    source: str
    """Where the times come from, in one phrase."""


@dataclass(frozen=True)
class TimedPlan:
    """What can be done in the time."""

    wish: Wish
    """The edit that was asked for."""
    machine: Machine
    """The machine it would run on."""
    minutes: float
    """The time that was given."""
    choices: dict[str, TimedSettings]
    """By the names of CHOICES; those for which nothing is quick enough are absent."""
    fastest: TimedSettings | None
    """The quickest of all settings that fit into memory; None where no time is known."""
    asked: TimedSettings | None
    """The edit as it was asked for; None where it does not fit, or no time is known."""
    fits: bool
    """Whether any settings fit into memory."""


def plan_minutes(
    wish: Wish, minutes: float, machine: Machine, calibrations: Iterable[Calibration] = ()
) -> TimedPlan:
    """The best settings for the whole time, for half of it and for a sixth.

    Raises InputError for minutes that are no time.
    """
    check_minutes(minutes)
    known, fits = list(calibrations), False
    ways: list[TimedSettings] = []
    for settings in list_settings(wish, machine):
        fits = True
        timed = time_settings(settings, wish, machine, known)
        if timed is None:  # nor is any other: it is the device that is not known
            break
        ways.append(timed)
    return TimedPlan(
        wish,
        machine,
        minutes,
        _choose(ways, 60 * minutes * (1 - RESERVE)),
        min(ways, key=lambda way: way.high, default=None),
        next(
            (way for way in ways if way.settings.request == replace(wish.request, remarks=())), None
        ),
        fits,
    )


def check_minutes(minutes: float, name: str = "minutes") -> None:
    """Raises InputError for minutes that are no time."""
    if not 0 < minutes < float("inf"):
        raise InputError(
            needed(name, f"{minutes:g}", "more than 0", "For example 10, for ten minutes.")
        )


def time_settings(
    settings: Settings, wish: Wish, machine: Machine, calibrations: Iterable[Calibration]
) -> TimedSettings | None:
    """The time of one way to make the edit; None where the machine's speed is not known."""
    request = settings.request
    step = time_step(request, budget(request.load(machine), machine), machine, calibrations)
    if step is None:
        return None
    segments = count_segments(settings.frames, request.clip.lattice, request.clip.frames)
    times = segments * request.steps
    return TimedSettings(settings, segments, times * step.low, times * step.high, step.source)


def _choose(ways: list[TimedSettings], limit: float) -> dict[str, TimedSettings]:
    """The first of `ways` that takes at most `limit` seconds, and those for parts of its time.

    The latter have the full one's weights where they can: others would have to be loaded anew.
    """
    chosen: dict[str, TimedSettings] = {}
    for name, share in CHOICES:
        quick = [way for way in ways if way.high <= share * limit]
        full = chosen.get("full")
        alike = [way for way in quick if full is None or _weights(way) == _weights(full)]
        found = next(iter(alike or quick), None)
        if found is None or found in chosen.values():
            continue
        chosen[name] = found
        if full is None:
            limit = found.high
    return chosen


def _weights(way: TimedSettings) -> tuple:
    request = way.settings.request
    return request.storage, request.weights
