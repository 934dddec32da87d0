"""Which rows a step takes: groups of one shape, the order in a group, and how often a row comes.

Everything is a function of (seed, step): a resumed run, and each of several processes, sees the
rows that one process would have seen.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, chain
from threading import Lock

import torch

from ...geometry import ClipShape
from ..config import TrainConfig
from ..objectives.noising import stream
from .rows import Row

GOLDEN = 0.6180339887498949
"""Spreads the rounds in which rows of small weights come."""


@dataclass(frozen=True)
class Group:
    """Rows that make batches of one shape."""

    name: str
    """Names its random order."""
    rows: tuple[Row, ...]
    """In the order of the file. Each comes `weight` times a round, on average."""
    shape: ClipShape
    """What their clips are fitted to."""
    _starts: list[int] = field(default_factory=lambda: [0], compare=False, repr=False)
    """The place at which each round begins, as far as it was looked up."""
    _lock: Lock = field(default_factory=Lock, compare=False, repr=False)
    """Rows are looked up in several threads."""

    @property
    def weight(self) -> float:
        """Samples of a round, on average."""
        return sum(row.weight for row in self.rows)

    def candidates(self, seed: int, place: int) -> Iterator[Row]:
        """The row at `place` of the endless order, then those that stand in for it if it is bad:
        the next ones of the file.
        """
        start = self._row_at(seed, place)
        return chain(self.rows[start:], self.rows[:start])

    def _row_at(self, seed: int, place: int) -> int:
        if all(row.weight == 1 for row in self.rows):
            round_, at = divmod(place, len(self.rows))
            return shuffle_rows(len(self.rows), seed, self.name, round_)[at]
        with self._lock:
            while self._starts[-1] <= place:
                self._starts.append(self._starts[-1] + len(self._entries(len(self._starts) - 1)))
        round_ = bisect_right(self._starts, place) - 1
        entries = self._entries(round_)
        order = shuffle_rows(len(entries), seed, self.name, round_)
        return entries[order[place - self._starts[round_]]]

    def _entries(self, round_: int) -> list[int]:
        """Places of the rows of a round, each as often as it comes there."""
        counts = [count_in_round(row.weight, row.number, round_) for row in self.rows]
        return [place for place, count in enumerate(counts) for _ in range(count)]


def count_in_round(weight: float, number: int, round_: int) -> int:
    """How often a row comes in a round: 2 times with weight 2, in every second round with 0.5."""
    phase = 0.0 if weight == int(weight) else number * GOLDEN % 1
    return int(weight * (round_ + 1) + phase) - int(weight * round_ + phase)


class Schedule:
    """The group that each step takes, and how many of its samples the steps before took."""

    def __init__(self, config: TrainConfig, groups: Sequence[Group]):
        """`groups` of pictures are for the steps on images, the others for those on clips."""
        self.config = config
        self.groups = {
            image: [group for group in groups if group.rows[0].is_image is image]
            for image in (True, False)
        }
        self._taken: Counter[str] = Counter()
        self._steps: list[tuple[Group, int]] = []
        self._lock = Lock()

    def at(self, step: int) -> tuple[Group, int]:
        """The group of `step`, and the place in its order of the step's first sample.

        May be asked in several threads.
        """
        with self._lock:
            while len(self._steps) <= step:
                now = len(self._steps)
                group = self._choose(now)
                self._steps.append((group, self._taken[group.name]))
                self._taken[group.name] += self.config.size_at(now)
            return self._steps[step]

    def instead(self, group: Group) -> list[Group]:
        """`group`, and those that may take its place once no row of it is good."""
        others = self.groups[group.rows[0].is_image]
        start = others.index(group)
        return [*others[start:], *others[:start]]

    def _choose(self, step: int) -> Group:
        """One of the step's kind, with a chance in proportion to its samples."""
        groups = self.groups[self.config.is_image_step(step)]
        if len(groups) == 1:
            return groups[0]
        edges = list(accumulate(group.weight for group in groups))
        draw = torch.rand(
            1, generator=stream(self.config.seed, "bucket", step), dtype=torch.float64
        )
        return groups[min(bisect_right(edges, draw.item() * edges[-1]), len(groups) - 1)]


@lru_cache(maxsize=64)
def shuffle_rows(count: int, seed: int, kind: str, round_: int) -> list[int]:
    """All rows of a kind in the random order of one round."""
    return torch.randperm(count, generator=stream(seed, "rows", kind, round_)).tolist()
