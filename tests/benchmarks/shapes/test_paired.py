"""Student's t, McNemar and Holm against tables and by hand."""

import math

import pytest

from benchmarks.shapes.paired import (
    compare_clips,
    compare_pairs,
    correct_by_holm,
    find_t,
    share_below,
)


@pytest.mark.parametrize(
    ("share", "free", "value"),
    [
        (0.975, 1, 12.706205),
        (0.975, 2, 4.302653),
        (0.975, 9, 2.262157),
        (0.80, 2, 1.060660),
        (0.80, 9, 0.883404),
        (0.975, 30, 2.042272),
    ],
)
def test_quantiles_are_those_of_the_tables(share, free, value):
    assert find_t(share, free) == pytest.approx(value, abs=2e-6)
    assert share_below(value, free) == pytest.approx(share, abs=1e-6)
    assert share_below(-value, free) == pytest.approx(1 - share, abs=1e-6)


def test_paired_differences_by_hand():
    """1, 2, 3: mean 2, s 1, 4.302653 / √3 either way; t = 3.4641 has p = 0.0742."""
    found = compare_pairs([1.0, 2.0, 3.0])
    assert (found.pairs, found.mean, found.spread) == (3, 2.0, 1.0)
    assert (found.low, found.high) == pytest.approx((-0.484138, 4.484138), abs=1e-5)
    assert found.p == pytest.approx(0.074180, abs=1e-5)
    assert found.detectable == pytest.approx((4.302653 + 1.060660) / math.sqrt(3), abs=1e-5)


def test_what_seeds_permit_to_see():
    """In spreads: 3.1 for 3 seeds, 1.0 for 10 (alignment design, power)."""
    for count, factor in ((3, 3.1), (4, 2.1), (6, 1.4), (10, 1.0)):
        seen = (find_t(0.975, count - 1) + find_t(0.8, count - 1)) / math.sqrt(count)
        assert round(seen, 1) == factor


def test_too_few_pairs():
    only = compare_pairs([0.5])
    assert only.mean == 0.5 and math.isnan(only.low) and math.isnan(only.detectable)
    assert compare_pairs([0.5, 0.5]).p == 0.0 and compare_pairs([0.0, 0.0]).p == 1.0
    with pytest.raises(ValueError, match="pairs"):
        compare_pairs([])


def test_mcnemar_by_hand():
    """5 gained, 1 lost: 2 · (1 + 6) / 64 = 0.21875. None differ: 1."""
    first = [True] * 5 + [False] + [True] * 9 + [False] * 4
    second = [False] * 5 + [True] + [True] * 9 + [False] * 4
    found = compare_clips(first, second)
    assert (found.gained, found.lost, found.p) == (5, 1, 0.21875)
    assert compare_clips(first, first).p == 1.0
    assert compare_clips([True] * 2400, [False] * 2400).p < 1e-300
    with pytest.raises(ValueError):
        compare_clips([True], [True, False])


def test_holm_by_hand():
    """0.01, 0.03, 0.04 of three tests: 0.03, 0.06, 0.06 (never below the one before)."""
    adjusted = correct_by_holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": math.nan})
    assert math.isnan(adjusted.pop("d"))
    assert adjusted == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert correct_by_holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
