"""The ablation's command: what arms differ in, intervals by hand, no run is repeated."""

import json
from dataclasses import asdict

import pytest

from benchmarks.shapes import ablation

TINY = {
    "frames": 5,
    "batch_size": 2,
    "image_batch_size": 2,
    "image_pairs": 0,
    "clip_pairs": 0,
    "log_every": 1,
    "checkpoint_every": 10,
}


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(ablation, "SCALE", {**ablation.SCALE, **TINY})
    return ablation


def options(bench, folder, *more: str):
    return bench.parser().parse_args(
        [
            "--output",
            str(folder),
            "--steps",
            "2",
            "2",
            "--clips",
            "1",
            "--sampling-steps",
            "1",
            *more,
        ]
    )


def test_arms_differ_in_anchoring_and_pretexts_alone(bench, tmp_path):
    chosen = options(bench, tmp_path)
    settings = {arm: asdict(bench.stage_config(arm, 3, 0, 2, "", chosen)) for arm in bench.ARMS}
    base = settings["base"]
    differing = {
        name for other in settings.values() for name, value in other.items() if value != base[name]
    }
    assert differing == {"semantic_weight", "pretexts", "output"}
    assert {
        arm: (found["semantic_weight"], found["pretexts"]) for arm, found in settings.items()
    } == {"base": (0.0, False), "sa": (0.1, False), "ma": (0.0, True), "sama": (0.1, True)}


def test_interval_is_students(bench):
    """Three values 1, 2, 3: mean 2, deviation 1, half width 4.30 / √3."""
    assert bench.interval([1.0, 2.0, 3.0], ".2f") == "2.00 ± 2.48"
    assert bench.interval([5.0], ".1f") == "5.0"


def test_roughness_is_the_mean_jump_as_a_part_of_the_mean(bench):
    """Losses 1, 3, 2: jumps 2 and 1, mean loss 2."""
    assert bench.roughness([1.0, 3.0, 2.0]) == pytest.approx(0.75)


def test_an_arm_is_trained_measured_and_not_repeated(bench, tmp_path, monkeypatch):
    chosen = options(bench, tmp_path)
    result = bench.run_arm("sama", 0, chosen)
    assert set(result["edits"]) == set(bench.TAUGHT) and result["flow"] > 0
    assert json.loads((tmp_path / "sama_0" / "result.json").read_text()) == result
    monkeypatch.setattr(bench, "Trainer", None)
    assert bench.run_arm("sama", 0, chosen) == result
    assert "| sama | 1 |" in bench.table(
        [result, *({**result, "arm": arm} for arm in ("base", "sa", "ma"))]
    )
