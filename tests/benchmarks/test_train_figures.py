"""`benchmarks/train_figures.py`: how its figures are made of seconds, and what is kept of rows."""

from benchmarks.train_figures import measure_batches, summarise, time_in_turn, write_rows


def test_ratios_are_those_of_each_turn():
    """Of turns that were slow for both: 1.5, 1.5 and 2, whose median is 1.5."""
    found = summarise({"plain": [1.0, 4.0, 1.0], "ours": [1.5, 6.0, 2.0]}, "plain")
    assert found["ours"] == {"median_s": 2.0, "least_s": 1.5, "most_s": 6.0, "ratio": 1.5}
    assert found["plain"]["ratio"] == 1.0


def test_they_take_turns():
    seen = []
    steps = {name: (lambda name=name: seen.append(name)) for name in ("a", "b")}
    assert {name: len(one) for name, one in time_in_turn(steps, 2).items()} == {"a": 2, "b": 2}
    assert seen == ["a", "b"] * 3


def test_a_batch_that_is_kept(tmp_path):
    """Both kinds are read, and a pair takes less than the plan says it does at most."""
    write_rows(tmp_path, 1)
    found = measure_batches(tmp_path, 1, 1)
    assert set(found) == {"uncached", "cached", "cache"}
    assert 10_000 < found["cache"]["bytes_per_pair"] < found["cache"]["planned_at_most"]
