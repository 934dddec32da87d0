"""Reading what comes next while a step is computed, in threads.

What is read is a function of (step, sample), so that reading ahead changes nothing but the time.
Decoding and resizing leave Python's lock, so threads are enough.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Read = TypeVar("Read")
Key = tuple[int, int]
"""Step and sample."""


class ReadAhead(Generic[Read]):
    """Answers of `read`, some of them begun before they are asked for."""

    def __init__(self, read: Callable[[int, int], Read], workers: int):
        """`read(step, sample)` must be safe to call from several threads; 0 workers read when
        asked.
        """
        self.read, self.workers = read, workers
        self._pool = ThreadPoolExecutor(workers, "rows") if workers else None
        self._begun: dict[Key, Future[Read]] = {}

    def take(self, step: int, sample: int) -> Read:
        """The answer, once; raises what `read` raised."""
        begun = self._begun.pop((step, sample), None)
        return begun.result() if begun else self.read(step, sample)

    def expect(self, keys: Iterable[Key]) -> None:
        """Begin with what comes next; what was begun and is not among `keys` is dropped."""
        if self._pool is None:
            return
        wanted = list(keys)
        for key in [key for key in self._begun if key not in wanted]:
            self._begun.pop(key).cancel()
        for key in wanted:
            if key not in self._begun:
                self._begun[key] = self._pool.submit(self.read, *key)
