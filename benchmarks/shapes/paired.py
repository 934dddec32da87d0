"""Statistics of runs that differ in one thing and share seeds and clips: intervals, tests, power.

Differences are paired: those of two runs with the same seed (same samples, noise and clips), or of
the same clip in both. Only the standard library is used; the tests compare it with tables.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

LEVEL, POWER = 0.05, 0.80
"""Of a two-sided test: how often it sees what is not there, and how often what is."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences and how sure it is; NaN where one pair cannot tell."""

    pairs: int
    """n"""
    mean: float
    """Of the differences"""
    spread: float
    """s_d, their standard deviation"""
    low: float
    """Lower end of the 95 % interval of the mean (Student's t)"""
    high: float
    """Upper end"""
    p: float
    """Two-sided, of no difference"""
    detectable: float
    """s_d · (t.975 + t.80) / √n: the true difference that such runs show in 80 of 100 cases"""


def compare_pairs(differences: Sequence[float]) -> Difference:
    """What one or more paired differences say. Raises ValueError for none."""
    if not differences:
        raise ValueError("no pairs to compare")
    count, centre = len(differences), mean(differences)
    if count == 1:
        return Difference(1, centre, *[math.nan] * 5)
    spread = stdev(differences)
    error, free = spread / math.sqrt(count), count - 1
    reach = error * find_t(1 - LEVEL / 2, free)
    chance = 2 * (1 - share_below(abs(centre) / error, free)) if error else float(centre == 0)
    seen = error * (find_t(1 - LEVEL / 2, free) + find_t(POWER, free))
    return Difference(count, centre, spread, centre - reach, centre + reach, chance, seen)


def share_below(t: float, free: int) -> float:
    """Student's cumulative distribution with `free` ≥ 1 degrees of freedom, exactly.

    The finite series of Abramowitz and Stegun 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(free))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = free % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for number in range(free // 2):
        total += term
        step = 2 * number + 2 if odd else 2 * number + 1
        term *= square * step / (step + 1)
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + within) / 2


def find_t(share: float, free: int) -> float:
    """The quantile of Student's distribution, for a share above a half and below 1."""
    low, high = 0.0, 1.0
    while share_below(high, free) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if share_below(middle, free) < share else (low, middle)
    return high


@dataclass(frozen=True)
class ClipChanges:
    """Clips that two arms judge differently, and McNemar's exact test of them."""

    gained: int
    """Right in the first arm only"""
    lost: int
    """Right in the second arm only"""
    p: float
    """Two-sided: of gaining and losing equally often"""


def compare_clips(first: Sequence[bool], second: Sequence[bool]) -> ClipChanges:
    """McNemar's test of the same clips in two arms. Clips of one seed share a training: the test
    is of these trainings, not of others. Raises ValueError for other numbers of clips.
    """
    pairs = list(zip(first, second, strict=True))
    gained = sum(one and not other for one, other in pairs)
    lost = sum(other and not one for one, other in pairs)
    count, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(count, number) for number in range(fewer + 1))
    # In integers, for a thousand clips overflow a float.
    return ClipChanges(gained, lost, min(1.0, 2 * tail / 2**count))


def correct_by_holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p of several tests by name: below 0.05 means so for all of them together.

    A NaN stays one and does not count.
    """
    known = sorted((p, name) for name, p in chances.items() if not math.isnan(p))
    adjusted, largest = dict(chances), 0.0
    for rank, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[name] = largest
    return adjusted
