"""The benchmark of reusing the source's keys and values, through real ComfyUI."""

import pytest

from ..harness.benchmarks import load_benchmark


@pytest.fixture(scope="module")
def bench():
    return load_benchmark("source_reuse")


def test_settings_are_the_full_sampling_reuse_the_cache_and_fewer_steps(bench):
    names = [setting.name for setting in bench.all_settings(20)]
    assert names[:2] == ["full", "source at every 2. step"] and names[-1] == "10 steps"
    assert "source anew per 0.06 of sigma" in names and "EasyCache 0.05, 0.15 to 0.95" in names


def test_a_reusing_call_of_the_same_inputs_gives_the_same(bench, comfyui):
    found = bench.one_call((2, 4, 4), width=128, turns=1)
    assert (found["tokens"], found["blocks"]) == (2 * 2 * 4 + 65, 2)
    assert found["distance"] < 1e-5 and set(found["seconds"]) == {"full", "reusing"}


def test_clips_are_edited_while_the_source_is_reused(bench, comfyui):
    """Of 5 steps every 2. is steps 0, 2, 4; a sigma that may move by 1 is computed once; by 0, always."""
    saving = bench.step_saving
    settings = [
        bench.Setting(bench.FULL, 5),
        bench.every(2, 5),
        bench.while_near(1.0, 5),
        bench.while_near(0.0, 5),
    ]
    saving.measure(saving.Clips(5.0), settings, "recolour", seed=0, first=0, count=1)
    rows = [setting.row() for setting in settings]
    assert [row["calls"] for row in rows] == [1.0, 1.0, 1.0, 1.0]
    assert [row["work"] for row in rows[1:]] == [0.8, 0.6, 1.0]
    always_old, half_old, never_old = (rows[number]["to_full_db"] for number in (2, 1, 3))
    assert 5 < always_old < half_old <= never_old == 60.0  # dB of frames end at 60
