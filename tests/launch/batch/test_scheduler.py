"""Which worker does what: the scheduler with workers that are no servers, as others may be."""

import threading
from types import SimpleNamespace

import pytest

from sama_core.launch.batch.scheduler import Flight, Halt, Scheduler, Unfit
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.client import Client, Lost, Unreachable
from sama_core.launch.server.comfy_place import Place

LONGEST = 120
"""Seconds for what another thread does at once, also on a busy machine."""


class Fake:
    """A worker that answers unless told otherwise."""

    def __init__(self, name: str, *refusals: Exception):
        self.name, self.refusals = name, list(refusals)
        self.connected = self.closed = 0

    def connect(self) -> Place:
        self.connected += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return Place(Client("http://nowhere"))

    def close(self) -> None:
        self.closed += 1


class Trial:
    """A scheduler with what it said and how its jobs ended."""

    def __init__(self, workers, work, **settings):
        self.said: list[str] = []
        self.ends: dict = {}
        self.scheduler = Scheduler(
            workers, work, self.end, self.said.append, **{"pause": 0.01, **settings}
        )

    def end(self, flight: Flight, result, failed) -> None:
        assert flight.job not in self.ends
        self.ends[flight.job] = (flight.worker.name, result, failed and str(failed))


def test_every_job_ends_once_and_each_worker_does_one_at_a_time():
    """The first three begin together, however late a thread is."""
    running, together, lock = set(), [], threading.Lock()
    all_at_work = threading.Barrier(3, timeout=LONGEST)

    def work(flight):
        with lock:
            assert flight.worker.name not in running
            running.add(flight.worker.name)
            together.append(len(running))
        if flight.job < 3:
            all_at_work.wait()
        with lock:
            running.discard(flight.worker.name)
        return flight.job * 2

    workers = [Fake(name) for name in "abc"]
    trial = Trial(workers, work)
    trial.scheduler.run(range(60))
    assert {job: end[1] for job, end in trial.ends.items()} == {job: 2 * job for job in range(60)}
    assert max(together) == 3 and {end[0] for end in trial.ends.values()} == set("abc")
    assert trial.scheduler.rest == [] and all(worker.closed for worker in workers)


def test_a_job_whose_worker_dies_is_tried_three_times_in_all():
    tried = []

    def work(flight):
        tried.append((flight.job, flight.tries))
        if flight.job == "bad":
            raise Lost("gone")

    trial = Trial([Fake("a")], work)
    trial.scheduler.run(["bad", "good"])
    assert tried == [("bad", 0), ("bad", 1), ("bad", 2), ("good", 0)]
    assert trial.ends == {"bad": ("a", None, "gone"), "good": ("a", None, None)}


def test_another_error_fails_the_job_at_once():
    def work(flight):
        raise ValueError("a mistake in a node")

    trial = Trial([Fake("a")], work)
    trial.scheduler.run([1])
    assert trial.ends == {1: ("a", None, "a mistake in a node")}


def test_a_worker_that_does_not_answer_is_left_out_until_it_does():
    trial = Trial([Fake("a", Unreachable("no"), Unreachable("no"))], lambda flight: None)
    trial.scheduler.run([1, 2])
    assert len(trial.ends) == 2
    assert trial.said == ["a does not answer, and is left out until it does.", "a answers again."]


def test_a_worker_that_never_can_is_not_asked_again():
    """The other one begins when it was refused."""
    told, well = threading.Event(), Fake("well")
    never = Fake("never", LaunchError("another version"))
    trial = Trial([never, well], lambda flight: told.wait(LONGEST))
    trial.scheduler.say = lambda line: (trial.said.append(line), told.set())
    trial.scheduler.run(range(8))
    assert never.connected == 1 and {end[0] for end in trial.ends.values()} == {"well"}
    assert trial.said == ["never is not used any more: another version"]


@pytest.mark.parametrize("refusal", [LaunchError("never"), Unreachable("not now")])
def test_without_any_worker_it_ends_and_says_what_is_left(refusal):
    refusals = [refusal] * 99_999  # more than a late thread can use up
    trial = Trial([Fake("a", *refusals)], lambda flight: None, patience=0.05)
    trial.scheduler.run([1, 2])
    assert trial.ends == {} and trial.scheduler.rest == [1, 2]


def test_halt_ends_everything_and_loses_no_job():
    def work(flight):
        if flight.job == 2:
            raise Halt("the disk is full")

    trial = Trial([Fake("a")], work)
    trial.scheduler.run([1, 2, 3])
    assert list(trial.ends) == [1] and trial.scheduler.rest == [2, 3]
    assert str(trial.scheduler.halted) == "the disk is full"


def test_a_worker_that_is_unfit_for_a_job_is_used_no_more_and_the_job_has_lost_no_try():
    def work(flight):
        if flight.worker.name == "other":
            unfit.set()
            raise Unfit("it is of another kind")
        assert unfit.wait(LONGEST)
        return flight.tries

    unfit, workers = threading.Event(), [Fake("other"), Fake("same")]
    trial = Trial(workers, work)
    trial.scheduler.run(range(4))
    assert trial.ends == dict.fromkeys(range(4), ("same", 0, None))
    assert trial.said == ["other is not used any more: it is of another kind"]


def test_a_graph_that_was_on_its_way_when_all_stopped_is_cancelled_too():
    cancelled = []
    client = SimpleNamespace(cancel=cancelled.append)
    flight = Flight(1, Fake("a"), Place(client))
    flight.cancel()
    assert cancelled == []
    flight.note_queued("late")
    assert cancelled == ["late"]


def test_jobs_that_follow_come_before_those_that_wait():
    done = []

    def end(flight, result, failed):
        done.append(flight.job)
        if flight.job == "a":
            scheduler.add(["a1", "a2"])
        if flight.job == "a1":
            scheduler.drop(lambda job: job == "a2")

    scheduler = Scheduler([Fake("one")], lambda flight: None, end, print, pause=0.01)
    scheduler.run(["a", "b"])
    assert done == ["a", "a1", "b"] and scheduler.rest == []


def test_what_cannot_be_told_ends_everything():
    """As where nobody reads what is printed: the other jobs are left, and it does not hang."""

    def end(flight, result, failed):
        raise BrokenPipeError

    scheduler = Scheduler([Fake("a"), Fake("b")], lambda flight: None, end, print, pause=0.01)
    with pytest.raises(BrokenPipeError):
        scheduler.run(range(9))
    assert len(scheduler.rest) >= 7
