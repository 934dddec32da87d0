"""The table `[clips]`: what it may hold, and that a recipe without it has none."""

import pytest

from sama_core.training.config import load_config
from sama_core.training.recipe import ConfigError, refuse_changes
from sama_core.training.rows.clips_config import ClipsConfig

from .rows_files import jsonl, recipe, settings


def load(tmp_path, **clips):
    values = settings(jsonl(tmp_path / "rows.jsonl", []), tmp_path / "out")
    return load_config(recipe(tmp_path / "recipe.toml", {**values, "clips": clips}))


def test_a_table_of_a_recipe(tmp_path):
    found = load(tmp_path, buckets=True, lengths=[17, 33], windows=0, rates="resample", fps=16)
    assert found.clips == ClipsConfig(True, (17, 33), 0, "resample", 16)
    assert load_config(tmp_path / "recipe.toml", **{"clips.fps": 24.0}).clips.fps == 24.0


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("lengths", [16], r"clips.lengths: got \[16\], needs numbers of 4k\+1"),
        ("windows", -1, "clips.windows: got -1, needs 0 to 1000"),
        ("windows", 10**20, "clips.windows: got 100000000000000000000, needs 0 to 1000"),
        ("rates", "any", "clips.rates: got 'any', needs refuse or resample or frames"),
        ("fps", -1.0, "clips.fps: got -1.0, needs 0 or more"),
        ("workers", 1.5, "workers: got 1.5, needs a value of type int"),
        ("cache_gb", 0.0, "clips.cache_gb: got 0.0, needs more than 0"),
        ("bucket", True, "got unknown settings bucket"),
    ],
)
def test_values_that_are_refused(tmp_path, setting, value, said):
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, **{setting: value})


def test_a_resumed_run_may_move_its_cache_and_not_change_its_clips(tmp_path):
    now = load(tmp_path, cache_folder="elsewhere", workers=4, cache_gb=2.0, cache=False)
    before = {**settings(tmp_path / "rows.jsonl", tmp_path / "out"), "clips": {}}
    refuse_changes(before, now, now.FREE_TO_CHANGE)
    with pytest.raises(ConfigError, match="clips.windows 1 → 0"):
        refuse_changes(before, load(tmp_path, windows=0), now.FREE_TO_CHANGE)
