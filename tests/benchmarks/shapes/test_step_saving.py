"""The benchmark of EasyCache, on one clip and two steps, through real ComfyUI."""

import pytest

from benchmarks.shapes import step_saving as bench


def test_a_row_is_the_mean_over_clips_and_batches():
    setting = bench.Setting(
        "x",
        4,
        calls=[0.5, 1.0],
        seconds=[0.25, 0.75],
        to_full=[20.0, 40.0],
        to_truth=[10.0, 12.0],
        right=[True, False],
        values={"reuse_threshold": 0.1},
    )
    row = setting.row()
    assert (row["clips"], row["accuracy"], row["calls"], row["seconds"]) == (2, 0.5, 0.75, 0.5)
    assert (row["to_full_db"], row["to_full_db_worst"], row["to_truth_db"]) == (30.0, 20.0, 11.0)
    assert (row["reuse_threshold"], row["seconds_spread"]) == (0.1, [0.25, 0.75])
    assert bench.table([row]).splitlines()[2] == "| x | 75% | 50% | 30.0 (20.0) | 50% | 11.0 |"


def test_settings_are_the_full_sampling_the_cache_and_fewer_steps():
    names = [setting.name for setting in bench.default_settings(20)]
    assert names[0] == "full" and names[-3:] == ["14 steps", "10 steps", "7 steps"]
    assert "EasyCache 0.2, 0.15 to 0.95" in names
    assert [setting.steps for setting in bench.default_settings(10)][-1] == 7


def test_clips_are_edited_with_every_setting(comfyui):
    """Full sampling is its own reference.

    A threshold that skips all it may leaves two calls of three.
    """
    settings = [
        bench.Setting("full", 3),
        bench.easycache(3.0, 0.0, 1.0, 3),
        bench.Setting("1 step", 1),
    ]
    bench.measure(bench.Clips(5.0), settings, "recolour", seed=0, first=0, count=1)
    assert [setting.calls for setting in settings] == [[1.0], [2 / 3], [1 / 3]]
    assert settings[0].seconds == [1.0] and settings[0].to_full == [60.0]
    assert all(10 < setting.to_full[0] < 60 for setting in settings[1:])
    assert [len(setting.right) for setting in settings] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--n", "0"], "--n"),
        (["--edits", "paint"], "paint"),
        (["--steps", "0"], "--steps"),
        (["--json", "nowhere/x.json"], "folder that exists"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_loaded(capsys, arguments, told):
    assert bench.main(arguments) == 2
    assert told in capsys.readouterr().err
