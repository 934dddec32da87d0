"""Work on several threads: its order, its errors, and torch's number of threads."""

import threading
import time
from functools import partial

import pytest
import torch

from sama_core.threads import count_workers, in_order, open_pool

LONGEST = 120
"""Seconds for what another thread does at once, also on a busy machine."""


def test_results_come_in_order_however_long_each_takes():
    def work(number: int) -> int:
        time.sleep(0.01 * (number % 3 == 0))
        return number

    with open_pool(4) as pool:
        assert list(in_order(pool, (partial(work, n) for n in range(20)), 8)) == list(range(20))


def test_no_more_is_begun_than_asked_for():
    """So memory stays bounded, whatever is waiting."""
    begun = []
    with open_pool(2) as pool:
        results = in_order(pool, (partial(begun.append, n) for n in range(50)), 5)
        next(results)
        until = time.monotonic() + LONGEST
        while len(begun) < 6 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(begun) == 6
        results.close()
    assert len(begun) == 6


def test_a_broken_job_raises_when_its_turn_comes():
    def work(number: int) -> int:
        if number == 3:
            raise KeyError(number)
        return number

    got = []
    with open_pool(2) as pool, pytest.raises(KeyError):
        got.extend(in_order(pool, (partial(work, n) for n in range(50)), 4))
    assert got == [0, 1, 2]


def test_leaving_drops_what_was_not_begun():
    begun, held, done = threading.Event(), threading.Event(), []

    def work() -> bool:
        begun.set()
        return held.wait(LONGEST)

    with pytest.raises(KeyError), open_pool(1) as pool:
        running = pool.submit(work)
        dropped = pool.submit(done.append, 1)
        dropped.add_done_callback(lambda _: held.set())
        assert begun.wait(LONGEST)
        raise KeyError
    assert running.result() and dropped.cancelled() and not done
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sama_")]


def test_torch_takes_one_thread_there_and_keeps_its_number_elsewhere():
    """Also in threads that first use torch while the pool works."""
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        with open_pool(2) as pool:
            inside = {pool.submit(torch.get_num_threads).result() for _ in range(8)}
            other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            other.start()
            other.join()
            assert (inside, seen, torch.get_num_threads()) == ({1}, [3], 3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_there_are_as_many_threads_as_processors_and_four_at_most(monkeypatch):
    for processors, expected in ((1, 1), (2, 2), (64, 4)):
        allowed = frozenset(range(processors))
        monkeypatch.setattr("os.sched_getaffinity", lambda _, a=allowed: a, raising=False)
        assert count_workers() == expected


def test_a_thread_that_cannot_start_is_an_error(monkeypatch):
    """As in a container that may have no more threads; the others must not wait for it."""
    start, number, raised = threading.Thread.start, torch.get_num_threads(), []

    def start_only_one(thread: threading.Thread) -> None:
        if thread.name == "sama_1":
            raise RuntimeError("can't start new thread")
        start(thread)

    def work() -> None:
        torch.set_num_threads(3)
        try:
            with open_pool(2):
                pass
        except RuntimeError as refused:
            raised.append(str(refused))

    monkeypatch.setattr(threading.Thread, "start", start_only_one)
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(LONGEST)
    assert raised == ["can't start new thread"]
    later = threading.Thread(target=lambda: raised.append(torch.get_num_threads()))
    later.start()
    later.join()
    torch.set_num_threads(number)
    assert raised[1] == 3
