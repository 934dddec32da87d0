"""The cost of an alignment: the laws at small sizes, not the time."""

import pytest

from benchmarks.alignment_cost import (
    METHODS,
    compare_with_dense,
    main,
    measure_memory,
)
from benchmarks.own_process import measure_in_child

CODE = "benchmarks.alignment_cost"


def test_pairs_are_those_of_the_dense_form():
    found = compare_with_dense()
    assert found["value"] < 1e-6 and found["gradient"] < 1e-6


@pytest.mark.parametrize(("case", "shape"), [("pairs", (3, 16, 8)), ("flow", (3, 4, 5, 8))])
def test_a_case_says_what_it_measured(case, shape):
    found = measure_memory(case, shape)
    assert found["shape"] == shape and found["growth_mib"] < found["limit_mib"]
    assert found["loss"] > 0


def test_pairs_take_memory_of_a_frames_rows_and_not_of_all_pairs():
    """Of 12 frames of 256 tokens one matrix of all pairs takes 36 MiB, a frame's rows 3."""
    small = measure_memory("pairs", (12, 256, 16))
    assert small["growth_mib"] < 36


@pytest.mark.parametrize("method", METHODS)
def test_a_step_with_each_method(method, monkeypatch):
    from benchmarks import alignment_cost

    monkeypatch.setattr(alignment_cost, "_BATCH", 1)
    found = alignment_cost.measure_share(method, repeats=1)
    assert (
        found["seconds"] > 0 and found["share"] == 1 - found["seconds_without"] / found["seconds"]
    )


def test_a_case_runs_in_a_process_of_its_own():
    assert measure_in_child(CODE, "--case", "dense").keys() == {"shape", "value", "gradient"}


def test_what_cannot_be(capsys):
    with pytest.raises(SystemExit):
        main(["--case", "none"])
    assert "invalid choice" in capsys.readouterr().err
