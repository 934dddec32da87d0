"""Work shared out to threads, and its results in order.

Short operations, on a frame or a megabyte, gain nothing by several threads each, and on a busy
machine lose most of their time waiting for the slowest. So every thread here does whole pieces of
work, and torch computes in it with one thread.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Thread
from typing import TypeVar

Result = TypeVar("Result")
MOST = 4
"""Threads at most: with more, the thread that takes the results keeps them waiting."""


def count_workers() -> int:
    """Threads for a pool: as many as there are processors for this process, and no more than
    `MOST`.
    """
    allowed = getattr(os, "sched_getaffinity", None)
    return min(MOST, len(allowed(0)) if allowed else os.cpu_count() or 1)


@contextmanager
def open_pool(workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads (as many as `count_workers` says) in each of which torch computes with one thread.

    The rest of the process keeps its number. On leaving, work that was not begun is dropped, and
    what is being done is waited for.
    """
    import torch

    workers = workers or count_workers()
    number, begin = torch.get_num_threads(), Barrier(workers)

    def prepare() -> None:
        torch.get_num_threads()  # else a thread's first operation takes the process's number
        torch.set_num_threads(1)
        begin.wait()

    pool = ThreadPoolExecutor(workers, "sama")
    try:
        try:
            for begun in [pool.submit(prepare) for _ in range(workers)]:
                begun.result()
        except BaseException:
            begin.abort()  # Else those that have begun wait for ever for one that could not.
            torch.set_num_threads(number)
            raise
        # torch keeps the number for each thread, and for threads that have not worked yet. The
        # latter is given back by another thread: ComfyUI's own, or another pack's, may begin while
        # these work.
        other = Thread(target=torch.set_num_threads, args=(number,))
        other.start()
        other.join()
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], Result]], ahead: int
) -> Iterator[Result]:
    """What `jobs` return, in their order. Up to `ahead` of them are begun before they are needed.

    Raises what a job raised when its turn comes. Jobs are taken from `jobs` in the calling thread,
    no earlier than they are begun; where the iterator is closed, those not begun are dropped.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            begun.append(pool.submit(job))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
