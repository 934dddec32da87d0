"""One thread of torch for one piece of work, and for nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, torch works with one thread when called from this one; other threads keep their number.

    Short operations on a megabyte at a time gain nothing by more threads, and on a busy machine lose most of their time
    waiting for the slowest of them.
    """
    number = torch.get_num_threads()
    _set(1)
    # torch keeps the number for this thread, and for threads that have not worked yet. The latter is given back by
    # another thread: ComfyUI's own, or another pack's, may begin while a conversion runs.
    other = Thread(target=_set, args=(number,))
    other.start()
    other.join()
    try:
        yield
    finally:
        _set(number)


def _set(number: int) -> None:
    torch.set_num_threads(number)
