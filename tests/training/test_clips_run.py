"""Training with `[clips]`: the same losses kept or not, resumed, and in two processes."""

import pytest

from sama_core.training.__main__ import main

from .processes import run_two
from .rows_files import BLUE, GREEN, RED, clip, image, jsonl, losses, pair, recipe, settings

CLIPS = {"buckets": True, "lengths": [9], "windows": 3, "rates": "resample", "workers": 2}


@pytest.fixture
def rows(tmp_path):
    """Pairs of two shapes and two lengths, of unequal rates, and of images."""
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN)):
        clip(tmp_path / f"{name}.mp4", colour, frames=7)
        clip(tmp_path / f"{name}_long.mp4", colour, frames=11)
        clip(tmp_path / f"{name}_wide.mp4", colour, frames=5, size=(64, 128))
        image(tmp_path / f"{name}.png", colour)
    endings = (".mp4", "_long.mp4", "_wide.mp4", ".png")
    return jsonl(
        tmp_path / "rows.jsonl",
        [pair(f"a{ending}", f"b{ending}", "make it blue") for ending in endings]
        + [{**pair("b.mp4", "c.mp4", "make it green"), "weight": 2}],
    )


def train(tmp_path, rows, name: str, clips: dict, **changes) -> list[float]:
    """Losses of a run; it goes on where there is a checkpoint."""
    sizes = {"height": 96, "width": 96, "image_share": 0.25, "steps": 6}
    values = settings(rows, tmp_path / name, **{**sizes, "checkpoint_every": 3, **changes})
    assert main(["train", str(recipe(tmp_path / f"{name}.toml", {**values, "clips": clips}))]) == 0
    return losses(tmp_path / name)


def test_losses_do_not_depend_on_what_is_kept_or_read_ahead(rows, tmp_path):
    plain = train(tmp_path, rows, "plain", {**CLIPS, "cache": False, "workers": 0})
    assert len(set(plain)) == 6
    assert train(tmp_path, rows, "kept", CLIPS) == plain
    folder = str(tmp_path / "kept" / "cache")
    assert train(tmp_path, rows, "again", {**CLIPS, "cache_folder": folder}) == plain


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(rows, tmp_path):
    plain = train(tmp_path, rows, "plain", {**CLIPS, "cache": False})
    train(tmp_path, rows, "cut", CLIPS, steps=3)
    assert train(tmp_path, rows, "cut", CLIPS) == plain


def test_two_processes_see_what_one_would(rows, tmp_path):
    plain = train(tmp_path, rows, "one", CLIPS, steps=4)
    train(tmp_path, rows, "two", CLIPS, steps=1)  # writes the recipe
    (tmp_path / "two" / "state.pt").unlink()
    words = ["train", str(tmp_path / "two.toml"), "steps=4", "clips.cache=true"]
    run_two("-m", "sama_core.training", *words)
    assert losses(tmp_path / "two") == pytest.approx(plain, rel=1e-5)
