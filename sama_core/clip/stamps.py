"""When pictures are shown, where a file's time stamps are equal, missing or fall.

Good stamps are kept. A stamp is good if it rises above the one before, and the stamps after it rise
above it. Any other picture is placed between its neighbours, on a tick of the file's clock where
there is room. Pictures are examined one by one; the next few are read ahead only where a stamp is
in doubt.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Generic, TypeVar

LOOK_AHEAD = 8
"""Pictures that are read ahead to judge a stamp in doubt."""
DOUBTFUL_STEPS = 2
"""A stamp more than so many steps after the one before may be wrong."""

Item = TypeVar("Item")
Stamp = Fraction | None
"""Seconds on the file's clock at which a picture is shown; None where the file has no stamp."""
Times = Iterator[tuple[Item, Fraction, bool]]


@dataclass(frozen=True)
class Clock:
    """The clock of a file's pictures."""

    origin: Fraction | None
    """When picture 0 is shown, in seconds; None where the file has no time stamps."""
    tick: Fraction | None
    """Its unit in seconds; None where the file has no time stamps."""
    step: Fraction
    """The usual time from one picture to the next."""

    def times(self, stamped: Iterable[tuple[Item, Stamp]], from_first: bool = True) -> Times[Item]:
        """`(item, stamp)` in the order shown → `(item, time, moved)`.

        Times are seconds after picture 0 and rise strictly; `moved` says that a stamp was not used.
        `from_first` says that the first item is picture 0; otherwise its stamp must be good.
        """
        is_timed, origin = self.origin is not None, self.origin or Fraction(0)
        stamped = iter(stamped)
        first = next(stamped, None)
        if first is None:
            return
        begin = None if from_first else first[1]
        before = -self.step if begin is None else begin - origin - self.step
        relative = (
            (item, stamp - origin if is_timed and stamp is not None else None)
            for item, stamp in chain([first], stamped)
        )
        tick = self.tick if is_timed else None
        for item, time, moved in mend_times(relative, self.step, tick, before):
            yield item, time, moved and is_timed

    def floor_to_tick(self, seconds: float) -> Fraction:
        """`seconds` down to a whole tick, as ComfyUI calculates with seconds."""
        return int(seconds / self.tick) * self.tick if self.tick else Fraction(seconds)


def mend_times(
    stamped: Iterable[tuple[Item, Stamp]], step: Fraction, tick: Fraction | None, before: Fraction
) -> Times[Item]:
    """`(item, stamp)` in the order shown → `(item, time, moved)`, with strictly rising times.

    All in seconds; `moved` says that the stamp was not good. `step` is the distance where the
    neighbours give none. Mended times lie on a `tick` where they can; the first time is later than
    `before`. A clock that was set back inside the file goes on where it stopped.
    """
    ahead, shift = _Ahead(stamped), Fraction(0)
    last = exact = before  # `exact` is not rounded to ticks, so that a rate does not drift
    for item, stamp in ahead:
        time, moved = _shift(stamp, shift), False
        if time is None or not last < time <= last + DOUBTFUL_STEPS * step:
            times = [time, *(_shift(one, shift) for _, one in ahead.peek(LOOK_AHEAD))]
            rise = _find_rise(times, last)
            if rise:
                place, good = rise[0]
                if place > 0:
                    exact, moved = last + (good - last) / (place + 1), True
                time = _on_tick(exact, tick, last, good) if moved else good
            else:
                exact = max(exact, last - step / 2) + step
                placed = _on_tick(exact, tick, last)
                moved = time is None or not _is_set_back(times)
                if time is not None and not moved:
                    shift += placed - time
                time = placed
        if not moved:
            exact = time
        yield item, time, moved
        last = time


def origin_of(stamps: Iterable[Stamp], step: Fraction) -> Fraction | None:
    """When picture 0 is shown: its stamp or, if that is not good, the time before the good ones.

    None where the first pictures have no stamps. Only two stamps are read if the second follows the
    first as usual.
    """
    ahead = _Ahead(stamps)
    first, second = (*ahead.peek(2), None, None)[:2]
    if first is not None and second is not None and 0 < second - first <= DOUBTFUL_STEPS * step:
        return first
    rise = _find_rise(ahead.peek(1 + LOOK_AHEAD))
    return rise[0][1] - rise[0][0] * step if rise else None


def longest_rise(times: Sequence[Stamp], above: Fraction | None = None) -> list[int]:
    """Places of the most `times` that rise strictly and lie above `above`.

    Of several choices the one that ends lowest, then the earliest.
    """
    return [place for place, _ in _find_rise(times, above)]


def _find_rise(times: Sequence[Stamp], above: Fraction | None = None) -> list[tuple[int, Fraction]]:
    """As `longest_rise`: places with their times."""
    best: list[list[tuple[int, Fraction]]] = []
    for place, time in enumerate(times):
        if time is None or (above is not None and time <= above):
            continue
        before = [rise for rise in best if rise[-1][1] < time]
        best.append([*max(before, key=len, default=[]), (place, time)])
    return min(best, key=lambda rise: (-len(rise), rise[-1][1]), default=[])


def _is_set_back(times: Sequence[Stamp]) -> bool:
    """Whether times that all lie too low come from a clock that was set back, and are not bad."""
    good = longest_rise(times)
    return len(good) > 2 and good[0] == 0 and 2 * len(good) > len(times)


def _shift(stamp: Stamp, shift: Fraction) -> Stamp:
    """A stamp on a clock that was set by `shift` seconds."""
    return None if stamp is None else stamp + shift


def _on_tick(
    time: Fraction, tick: Fraction | None, above: Fraction, below: Fraction | None = None
) -> Fraction:
    """The tick nearest to `time`; `time` itself where no tick lies between the bounds."""
    rounded = round(time / tick) * tick if tick else time
    return rounded if rounded > above and (below is None or rounded < below) else time


class _Ahead(Generic[Item]):
    """An iterator that can be read ahead; an error on the way is raised when its turn comes."""

    def __init__(self, items: Iterable[Item]):
        self.items = iter(items)
        self.taken: deque[Item] = deque()
        self.error: Exception | None = None

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
