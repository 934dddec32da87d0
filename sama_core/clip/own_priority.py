"""The process's own scheduling, kept while an encoder works.

SVT-AV1 makes a process of root real-time (SCHED_FIFO, 99) and leaves it so: whatever that process
starts then keeps all others from the processors.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keep_priority() -> Iterator[None]:
    """Put the scheduling of this thread and of the main one back; nothing where a system has
    none.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    threads = {0, os.getpid()}
    before = {one: (os.sched_getscheduler(one), os.sched_getparam(one)) for one in threads}
    try:
        yield
    finally:
        for one, (policy, parameters) in before.items():
            with contextlib.suppress(OSError):
                os.sched_setscheduler(one, policy, parameters)
