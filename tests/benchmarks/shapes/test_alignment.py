"""The alignment experiments: what is fixed beforehand, tiny runs, and a report of known numbers."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.shapes import alignment, alignment_arms, alignment_run
from benchmarks.shapes.alignment_arms import CLIPS, EXPERIMENTS, REPLAYED_CLIPS
from benchmarks.shapes.alignment_report import analyse, rank, read_runs, write_report
from benchmarks.shapes.alignment_run import Plan, make_config, pack, plain, unpack
from benchmarks.shapes.alignment_scores import draw_hidden
from sama_core.shapes.world import Movement

TINY = {"batch_size": 2, "image_batch_size": 2, "image_pairs": 0, "clip_pairs": 0, "warmup": 1}


def tiny(experiment: str, folder, monkeypatch, *more: str) -> list[str]:
    """Options of a run of two steps and two clips, with settings to match."""
    chosen = EXPERIMENTS[experiment]
    small = replace(chosen, settings={**chosen.settings, **TINY})
    monkeypatch.setitem(EXPERIMENTS, experiment, small)
    return [
        *("--experiment", experiment, "--results", str(folder / "results")),
        *("--work", str(folder / "work"), "--steps", "2", "--clips", "2"),
        *("--replayed", "1", "--teacher-steps", "1", *more),
    ]


def test_what_was_fixed_before_the_first_run():
    edits, motion = EXPERIMENTS["A"], EXPERIMENTS["B"]
    assert edits.primary == ("or", "trd") and motion.primary == ("lgf_fusion", "forward")
    assert (edits.outcome, motion.outcome) == ("right", "track")
    assert set(edits.arms) == {"sft", "trd", "or", "and", "xor", "changed_or", "learned_or"}
    assert set(motion.arms) == {
        "sft", "features_l2", "lgf_l2", "forward", "feature_fusion", "lgf_fusion", "lgf_salient",
        "separate",
    }  # fmt: skip
    assert (CLIPS, REPLAYED_CLIPS) == (240, 24)
    assert len(edits.runs()) == 2 * 10 + 5 * 3 and len(motion.runs()) == 2 * 10 + 6 * 3
    assert edits.runs()[:2] == [("or", 0), ("trd", 0)] and len(set(motion.runs())) == 38
    assert (edits.settings["steps"], motion.settings["steps"]) == (250, 150)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_arms_of_a_seed_differ_in_their_alignment_alone(experiment, tmp_path):
    plan = Plan(tmp_path)
    configs = [make_config(experiment, arm, 1, plan) for arm in EXPERIMENTS[experiment].arms]
    base = replace(configs[0], output="", align=None)
    assert all(replace(config, output="", align=None) == base for config in configs)
    assert len({repr(config.align) for config in configs}) == len(configs)
    assert base.seed == 1 and make_config(experiment, "sft", 2, plan).pool != base.pool


def test_hidden_clips_are_a_function_of_seed_and_number():
    scenes, hidden = draw_hidden(1000, 0, 6, Movement(3.0, True))
    again, same = draw_hidden(1000, 4, 2, Movement(3.0, True))
    assert torch.equal(again.place, scenes.place[4:]) and torch.equal(same, hidden[4:])
    assert scenes.present.any(1).all() and (hidden.sum(1) == 5).all()
    assert not hidden[:, [0, 1, 15, 16]].any() and len(hidden.unique(dim=0)) > 1


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_run_is_kept_and_not_done_again(experiment, tmp_path, monkeypatch, capsys):
    options = tiny(experiment, tmp_path, monkeypatch, "--arm", "sft", "--seed", "0")
    assert alignment.main(options) == 0
    (path,) = (tmp_path / "results").glob(f"{experiment}_*.json")
    result = json.loads(path.read_text())
    chosen = EXPERIMENTS[experiment]
    assert (result["experiment"], result["arm"], result["seed"]) == (experiment, "sft", 0)
    assert len(unpack(result["clips"][chosen.outcome])) == 2 and result["losses"]["flow"] > 0
    assert result["ran"]["settings"]["steps"] == 2 and result["seconds"]["training"] > 0
    assert str(tmp_path) not in path.read_text()
    assert not list((tmp_path / "work").glob("*/state.pt"))
    monkeypatch.setattr(alignment, "run_arm", None)
    assert alignment.main(options) == 0
    assert "| sft | 1 |" in capsys.readouterr().out


def test_a_run_with_a_learned_saliency_describes_it(tmp_path, monkeypatch, capsys):
    options = tiny("A", tmp_path, monkeypatch, "--arm", "learned_or")
    assert alignment.main(options) == 0
    path = tmp_path / "results" / "A_learned_or_0.json"
    result = json.loads(path.read_text())
    found = {"mean", "max", "coverage", "entropy"}
    assert set(result["saliency"]) == {*found, "overlap", *(f"named_{name}" for name in found)}
    assert 0.05 < result["saliency"]["named_mean"] < result["saliency"]["named_max"] < 0.5
    assert result["ran"]["settings"]["align"]["saliency_model"] == "saliency_1.safetensors"
    assert str(tmp_path) not in path.read_text()
    assert "Saliency of learned_or: mean 0." in capsys.readouterr().out


def test_a_stopped_training_goes_on(tmp_path, monkeypatch):
    options = tiny("A", tmp_path, monkeypatch, "--arm", "sft")
    evaluate = alignment_run.EVALUATIONS["A"]
    monkeypatch.setitem(alignment_run.EVALUATIONS, "A", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        alignment.main(options)
    assert (tmp_path / "work" / "A_sft_0" / "state.pt").is_file()
    monkeypatch.setitem(alignment_run.EVALUATIONS, "A", evaluate)
    monkeypatch.setattr(alignment_run.Trainer, "train_step", None)
    assert alignment.main(options) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--arm", "sara"], "--arm"),
        (["--arm", "sft", "--seed", "3"], "0 to 2"),
        (["--arm", "or", "--seed", "10"], "0 to 9"),
        (["--arm", "sft", "--clips", "0"], "--clips"),
        (["--arm", "sft", "--steps", "3"], "--results"),
    ],
)
def test_runs_that_were_not_planned(more, message, tmp_path, capsys):
    assert alignment.main(["--experiment", "A", *more, "--work", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def fake_run(experiment: str, arm: str, seed: int, bits: list[int]) -> dict:
    """A result of known numbers: `bits` are right or not, everything else is 1."""
    names = {"A": ("counted", "whole", "kept"), "B": ("track",)}[experiment]
    columns = {"right": bits, **dict.fromkeys(names, [1] * len(bits))}
    packed = {name: pack(part) for name, part in columns.items()}
    return {
        "experiment": experiment, "arm": arm, "seed": seed, "agreement": None,
        "seconds": {"training": 1800.0, "evaluation": 0.0},
        "means": {name: sum(values) / len(values) for name, values in columns.items()},
        "clips": {"nearest": "truth source", **packed},
    }  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two arms and all of three seeds: `or` has 1, 2 and 3 of 10 more right than `trd`; `sft` as
    `trd`.
    """
    monkeypatch.setattr(alignment_arms, "PRIMARY_SEEDS", 3)
    for seed in range(3):
        for arm, right in (("trd", 4), ("or", 5 + seed), ("sft", 4)):
            bits = [1] * right + [0] * (10 - right)
            path = tmp_path / f"A_{arm}_{seed}.json"
            path.write_text(json.dumps(fake_run("A", arm, seed, bits)))
    return tmp_path


def test_the_report_of_known_numbers(results):
    """Differences 0.1, 0.2, 0.3: mean 0.2, s 0.1, ± 0.2484; 6 clips gained, none lost."""
    report = analyse("A", read_runs(results, "A"))
    primary = report["primary"]
    assert primary["seeds"] == [0, 1, 2] and primary["mean"] == pytest.approx(0.2)
    assert (primary["low"], primary["high"]) == pytest.approx((-0.0484138, 0.4484138))
    assert primary["detectable"] == pytest.approx(0.1 * (4.302653 + 1.060660) / 3**0.5, abs=1e-6)
    assert primary["clips"] == {"gained": 6, "lost": 0, "p": 0.03125}
    assert primary["verdict"] == "not distinguishable"
    assert report["others"]["or - sft"]["p_holm"] == pytest.approx(2 * primary["p"])
    assert report["others"]["trd - sft"]["p_holm"] == 1.0 and "sft - sft" not in report["others"]
    assert report["hours"] == 4.5
    assert report["arms"]["or"]["right"]["mean"] == pytest.approx(0.6)
    assert report["arms"]["or"]["nearest"] == {"source": 0.5, "truth": 0.5}


def test_the_report_is_written(results):
    table = write_report(results)
    assert "| or | 3 | 0.600 ± 0.100 |" in table and "not distinguishable" in table
    assert "**or - trd**" in table and "+0.200 (-0.048 to +0.448)" in table
    assert (results / "report.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((results / "report.json").read_text())["A"]["primary"]["pairs"] == 3
    assert write_report(results) == table  # the report is no run


def test_one_seed_decides_nothing(tmp_path):
    for arm in ("or", "trd"):
        path = tmp_path / f"A_{arm}_0.json"
        path.write_text(json.dumps(fake_run("A", arm, 0, [1, 0])))
    assert "not decided" in write_report(tmp_path)


@pytest.mark.parametrize("rights", [(5, 6, 7), (9, 9, 10)])
def test_a_part_of_the_planned_seeds_decides_nothing(results, monkeypatch, rights):
    """Also where it looks clear: the question is asked once, of all of them."""
    monkeypatch.setattr(alignment_arms, "PRIMARY_SEEDS", 10)
    for seed, right in enumerate(rights):
        bits = [1] * right + [0] * (10 - right)
        path = results / f"A_or_{seed}.json"
        path.write_text(json.dumps(fake_run("A", "or", seed, bits)))
    found = analyse("A", read_runs(results, "A"))["primary"]
    assert found["verdict"] == "not decided: 3 of 10 seeds" and found["p"] < 0.1


def test_a_clear_difference_names_the_better_arm(results):
    for seed, right in enumerate((9, 9, 10)):
        path = results / f"A_or_{seed}.json"
        bits = [1] * right + [0] * (10 - right)
        path.write_text(json.dumps(fake_run("A", "or", seed, bits)))
    assert analyse("A", read_runs(results, "A"))["primary"]["verdict"] == "or is better"


def test_small_parts():
    assert unpack(pack([1, None, 0.25]))[::2] == [1.0, 0.25] and pack([None]) == "-"
    assert rank({"a": 1.0, "b": 3.0, "c": 2.0}, higher=True) == {"b": 1, "c": 2, "a": 3}
    assert plain({"decay": float("inf"), "output": "x", "teacher": "tracker:/a/b.safetensors"}) == {
        "decay": "inf",
        "teacher": "tracker:b.safetensors",
    }
