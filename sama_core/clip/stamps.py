"""When pictures are shown, where a file's time stamps are equal, missing or fall: the good ones are kept.

A stamp is good if it rises above the one before and the stamps behind it rise above it. Any other picture is placed
between its neighbours, to the tick of the file's clock where there is room. Pictures are looked at one by one; only
where a stamp is in doubt are the next few taken ahead.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Generic, TypeVar

LOOK_AHEAD = 8
"""Pictures that are taken ahead to judge a stamp in doubt."""
DOUBTFUL_STEPS = 2
"""A stamp more than so many frames behind the one before may be wrong."""

Item = TypeVar("Item")
Stamp = Fraction | None
Times = Iterator[tuple[Item, Fraction, bool]]


@dataclass(frozen=True)
class Clock:
    """The clock of a file's pictures."""

    origin: Fraction | None
    "When picture 0 is shown, in seconds; None where the file has no time stamps."
    tick: Fraction | None
    "Its unit in seconds; None where the file has no time stamps."
    step: Fraction
    "The usual time from one picture to the next."

    def times(self, stamped: Iterable[tuple[Item, Stamp]], from_first: bool = True) -> Times:
        """`(item, stamp)` in the order shown → `(item, time after picture 0, whether a stamp was not used)`.

        Times rise strictly. `from_first` says that the first item is picture 0; else it needs a stamp, a good one.
        """
        untimed, origin = self.origin is None, self.origin or 0
        stamped = iter(stamped)
        first = next(stamped, None)
        if first is None:
            return
        before = -self.step if from_first else first[1] - origin - self.step
        relative = (
            (item, None if untimed or stamp is None else stamp - origin)
            for item, stamp in chain([first], stamped)
        )
        for item, time, moved in rising(
            relative, self.step, None if untimed else self.tick, before
        ):
            yield item, time, moved and not untimed

    def ticked(self, seconds: float) -> Fraction:
        """Down to a whole tick, as ComfyUI reckons with seconds."""
        return int(seconds / self.tick) * self.tick if self.tick else Fraction(seconds)


def rising(
    stamped: Iterable[tuple[Item, Stamp]], step: Fraction, tick: Fraction | None, before: Fraction
) -> Times:
    """`(item, stamp)` in the order shown → `(item, time, whether the stamp was no good)`, times strictly rising.

    All in seconds. `step` is used where no neighbour tells better; times that are mended lie on a `tick` where they
    can; the first lies behind `before`. A clock that was set back inside the file goes on where it stopped.
    """
    ahead, shift = _Ahead(stamped), Fraction(0)
    last = exact = before  # `exact` is not rounded to ticks, so that a rate does not drift
    for item, stamp in ahead:
        time, moved = _shifted(stamp, shift), False
        if time is None or not last < time <= last + DOUBTFUL_STEPS * step:
            times = [time, *(_shifted(one, shift) for _, one in ahead.peek(LOOK_AHEAD))]
            good = longest_rise(times, last)
            if not good:
                exact = max(exact, last - step / 2) + step
                placed, moved = _on_tick(exact, tick, last), not _was_set_back(times)
                shift += 0 if moved else placed - time
                time = placed
            elif good[0] > 0:
                exact, moved = last + (times[good[0]] - last) / (good[0] + 1), True
                time = _on_tick(exact, tick, last, times[good[0]])
        if not moved:
            exact = time
        yield item, time, moved
        last = time


def origin_of(stamps: Iterable[Stamp], step: Fraction) -> Fraction | None:
    """When picture 0 is shown: its stamp or, if that is no good, as the good ones behind it tell.

    None where the first pictures have no stamps. Two stamps are read if they follow each other as usual, else a few.
    """
    ahead = _Ahead(stamps)
    first = ahead.peek(2)
    if len(first) == 2 and None not in first and 0 < first[1] - first[0] <= DOUBTFUL_STEPS * step:
        return first[0]
    stamps = ahead.peek(1 + LOOK_AHEAD)
    good = longest_rise(stamps)
    return stamps[good[0]] - good[0] * step if good else None


def longest_rise(times: Sequence[Stamp], above: Fraction | None = None) -> list[int]:
    """Places of the most `times` that rise strictly and lie above `above`; of several choices the lowest, earliest."""
    best: list[list[int]] = []
    for place, time in enumerate(times):
        if time is None or (above is not None and time <= above):
            continue
        before = [rise for rise in best if times[rise[-1]] < time]
        best.append([*max(before, key=len, default=[]), place])
    return min(best, key=lambda rise: (-len(rise), times[rise[-1]]), default=[])


def _was_set_back(times: Sequence[Stamp]) -> bool:
    """Whether times that all lie too low are those of a clock which was set back, and not just bad."""
    good = longest_rise(times)
    return len(good) > 2 and good[0] == 0 and 2 * len(good) > len(times)


def _shifted(stamp: Stamp, shift: Fraction) -> Stamp:
    return None if stamp is None else stamp + shift


def _on_tick(
    time: Fraction, tick: Fraction | None, above: Fraction, below: Fraction | None = None
) -> Fraction:
    """The tick nearest to `time`; `time` itself where no tick lies between the bounds."""
    rounded = round(time / tick) * tick if tick else time
    return rounded if rounded > above and (below is None or rounded < below) else time


class _Ahead(Generic[Item]):
    """An iterator that can be looked into; an error met on the way comes when its turn is there."""

    def __init__(self, items: Iterable[Item]):
        self.items, self.taken, self.error = iter(items), deque(), None

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self.taken:
            return self.taken.popleft()
        if self.error is not None:
            raise self.error
        return next(self.items)

    def peek(self, count: int) -> list[Item]:
        """The next `count` items, fewer at the end."""
        while len(self.taken) < count and self.error is None:
            try:
                self.taken.append(next(self.items))
            except Exception as error:
                self.error = error  # StopIteration too
        return list(islice(self.taken, count))
