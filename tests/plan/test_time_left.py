"""The time that is left, with a clock that the test moves."""

import pytest

from sama_core.plan.time_left import StepClock, duration, short_seconds


class Clock:
    """A clock that stands still until it is moved."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now():
    return Clock()


def run(times: StepClock, now: Clock, seconds: list[float]) -> list[str]:
    """What a sampling with these steps says."""
    times.begin()
    said = []
    for done, took in enumerate(seconds, start=1):
        now.seconds += took
        said.append(times.step(done, len(seconds)))
    return said


def test_the_slow_first_step_does_not_count_when_others_are_known(now):
    """Loading 30 s of weights in the first step does not make 50 s of sampling 150 s."""
    assert run(StepClock(now, 5), now, [40, 8, 8, 9.5, 8]) == [
        "40.0 s for the first, at most 2 min 40 s left",
        "8.0 s a step, about 24 s left",
        "8.0 s a step, about 16 s left",
        "8.5 s a step, about 8 s left",
        "8.4 s a step",
    ]


def test_what_comes_before_the_sampling_is_not_part_of_a_step(now):
    times = StepClock(now, 2)
    now.seconds += 500  # reading the instruction, encoding the source
    assert run(times, now, [2, 1])[0] == "2.0 s for the first, at most 2 s left"


def test_segments_that_wait_are_counted_and_kept_ones_are_not(now):
    """Three segments of two steps: one is sampled, one is in the store, one more is sampled."""
    times = StepClock(now, 2, runs=3)
    assert run(times, now, [20, 10]) == [
        "20.0 s for the first, at most 1 min 40 s left",
        "10.0 s a step, about 40 s left",
    ]
    times.skip()
    times.between = 7
    now.seconds += 7
    assert run(times, now, [20, 10]) == ["10.0 s a step, about 10 s left", "10.0 s a step"]


def test_the_time_between_two_samplings_is_part_of_what_is_left(now):
    times = StepClock(now, 2, runs=3)
    times.between = 6
    assert run(times, now, [1, 1])[1] == "1.0 s a step, about 16 s left"


def test_a_run_more_than_planned_is_not_negative(now):
    """A sampler may be called again, for example by a node that samples twice."""
    times = StepClock(now, 2)
    run(times, now, [1, 1])
    assert run(times, now, [1, 1])[0] == "1.0 s a step, about 1 s left"


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (308, "5 min 8 s"),
        (3599.6, "1 h 0 min"),
        (7496, "2 h 5 min"),
        (7199, "2 h 0 min"),
    ],
)
def test_two_units_are_enough(seconds, text):
    assert duration(seconds) == text


def test_seconds_of_a_step_are_short():
    assert [short_seconds(s) for s in (0.349, 8.06, 123.4)] == ["0.35 s", "8.1 s", "123 s"]
