"""Validation: rows that are never trained on, their loss at fixed noise, and clips of them."""

import json
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sama_core.geometry import WAN_21
from sama_core.training.__main__ import main
from sama_core.training.config import load_config
from sama_core.training.outputs import load_state
from sama_core.training.recipe import ConfigError
from sama_core.training.rows.clips_config import ClipsConfig
from sama_core.training.rows.held_out import hold_out
from sama_core.training.rows.held_out_rows import HeldOutRows
from sama_core.training.rows.rows import Row, RowError, read_rows
from sama_core.training.rows.rows_run import RowsRun
from sama_core.training.validation.config import ValidationConfig
from sama_core.training.validation.held_out_loss import Validation

from ..harness.write_clip import write_clip
from .processes import run_two
from .rows_files import BLUE, GREEN, RED, clip, config, jsonl, pair, recipe, settings
from .test_trainer import steady


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four pairs of two frames that differ in colour; lines 1 to 4."""
    folder = tmp_path_factory.mktemp("rows")
    colours = [(RED, BLUE), (BLUE, GREEN), (GREEN, RED), (RED, GREEN)]
    rows = []
    for number, (source, target) in enumerate(colours):
        names = clip(folder / f"a{number}.mp4", source), clip(folder / f"b{number}.mp4", target)
        rows.append(pair(*names, f"edit number {number}"))
    return jsonl(folder / "rows.jsonl", rows)


def lines(folder) -> list[dict]:
    text = (folder / "validation.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A LoRA of six steps, validated on line 2 and shown, stopped at step 4 and resumed; and the
    same training without validation."""
    folder = tmp_path_factory.mktemp("runs")
    table = {"rows": [2], "every": 4, "sigmas": [0.5, 0.9], "samples": 1, "steps": 2}
    values = settings(
        data,
        folder / "shown",
        steps=4,
        lora_rank=2,
        learning_rate=1e-2,
        checkpoint_every=4,
        validation=table,
    )
    path = recipe(folder / "shown.toml", values)
    assert main(["train", str(path)]) == 0
    assert main(["train", str(path), "steps=6"]) == 0
    del values["validation"]
    three = [line for number, line in enumerate(data.read_text().splitlines(), 1) if number != 2]
    values["data"] = str(jsonl(data.with_name("three.jsonl"), three))
    values |= {"output": str(folder / "plain"), "steps": 6}
    assert main(["train", str(recipe(folder / "plain.toml", values))]) == 0
    return folder


def test_it_changes_nothing_of_the_training(run):
    """Steps and averages are bit for bit those of the three other rows without validation."""
    assert steady(run / "shown") == steady(run / "plain")
    one, two = (load_state(run / name)["ema"] for name in ("shown", "plain"))
    assert one.keys() == two.keys() and all(torch.equal(v, two[name]) for name, v in one.items())


def test_losses_are_of_the_same_rows_noise_and_levels_every_time(run):
    """Before the first step, every four, and after the last; a resumed run does not write twice."""
    found = lines(run / "shown")
    assert [line["step"] for line in found] == [0, 4, 6]
    keys = {"step", "validation", "validation_0.5", "validation_0.9", "validation_semantic"}
    assert set(found[0]) == keys
    mean = (found[0]["validation_0.5"] + found[0]["validation_0.9"]) / 2
    assert found[0]["validation"] == pytest.approx(mean)
    assert len({line["validation"] for line in found}) == 3


def test_a_level_that_stands_twice_counts_twice(tmp_path):
    rows = [SimpleNamespace(number=1)]
    table = ValidationConfig(rows=1, sigmas=(0.5, 0.9, 0.5))
    validation = Validation(table, SimpleNamespace(rows=rows), 0, tmp_path)
    validation.losses = lambda trainer, row, level: (torch.tensor(level), torch.tensor(1.0))
    alone = SimpleNamespace(
        device="cpu", num_processes=1, process_index=0, reduce=lambda value, how: value
    )
    trainer = SimpleNamespace(accelerator=alone, config=SimpleNamespace(semantic_weight=0))
    found = validation.measure(trainer)
    assert found["validation"] == pytest.approx(1.9 / 3)
    assert found["validation_0.5"] == 0.5


def test_first_loss_is_the_formula(run, data):
    """σ = 0.5: the mean of (v̂ - (noise - clean))² over the row, with the stream's noise."""
    from sama_core.training.objectives.noising import stream

    made = RowsRun.of(load_config(run / "shown.toml"))
    row = made.validation().held.rows[0].batch
    generator = stream(0, "validation", 2, "0.5")
    noise = torch.randn(row.target_latents.shape, generator=generator)
    plan = torch.randn(row.semantic.shape, generator=generator)
    trainee = made.trainee.eval()
    with torch.no_grad():
        predicted = trainee(
            (row.target_latents + noise) / 2,
            torch.tensor([500.0]),
            row.text,
            row.source_latents,
            (row.semantic + plan) / 2,
        )[0]
    loss = (predicted - (noise - row.target_latents)).square().mean().item()
    assert lines(run / "shown")[0]["validation_0.5"] == pytest.approx(loss, rel=1e-4)


def test_clips_show_source_result_and_target(run):
    """Of the row at every turn, three pictures of 32 pixels with gaps of four."""
    names = sorted(path.name for path in (run / "shown" / "samples").iterdir())
    assert names == [f"row-2-step-{step:06}.mp4" for step in (0, 4, 6)]
    pictures = []
    for name in (names[0], names[-1]):
        with av.open(str(run / "shown" / "samples" / name)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 5 and frames[0].shape == (32, 3 * 32 + 2 * 4, 3)
        pictures.append(torch.from_numpy(frames[0]).float())
    first, last = pictures
    assert (first[16, 12] - torch.tensor([30.0, 30.0, 220.0])).abs().max() < 60  # blue, the source
    assert (first[16, 84] - torch.tensor([30.0, 200.0, 30.0])).abs().max() < 60  # green, the target
    assert (first[:, :32] - last[:, :32]).abs().mean() < 2
    assert (first[:, 36:68] - last[:, 36:68]).abs().mean() > 0.1, "the result does not change"


def test_processes_share_the_rows_whole_and_sharded(run, data):
    """Two processes, FSDP2: three losses, two clips and a LoRA as of one. Its checkpoint, which is
    in parts, can be exported by one process."""
    folder = run / "sharded"
    table = {"rows": [2, 3, 4], "every": 2, "samples": 1, "steps": 2, "sigmas": [0.5]}
    values = settings(data, run / "whole", steps=2, lora_rank=2, validation=table)
    path = recipe(run / "whole.toml", values)
    assert main(["train", str(path)]) == 0
    task = ["-m", "sama_core.training", "train", str(path), f"output={folder}", "shard=true"]
    run_two(*task)
    for one, two in zip(lines(run / "whole"), lines(folder), strict=True):
        assert one == pytest.approx(two, abs=1e-5)
    assert len(list((folder / "samples").iterdir())) == 2
    written = load_file(folder / "sama_lora.safetensors")
    assert main(["export", str(path), f"output={folder}"]) == 0
    again = load_file(folder / "sama_lora.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in written.items())


# --- which rows --------------------------------------------------------------------------------


def rows_of(data, tmp_path, wanted, **changes):
    made = config(data, tmp_path, validation=ValidationConfig(rows=wanted), **changes)
    left, apart = hold_out(made, read_rows(data, 1)[0])
    return [row.number for row in left], [row.number for row in apart]


@pytest.mark.parametrize(
    ("wanted", "left", "apart"),
    [((4, 1), [2, 3], [4, 1]), ((2,), [1, 3, 4], [2])],
)
def test_named_rows_are_not_trained_on(data, tmp_path, wanted, left, apart):
    assert rows_of(data, tmp_path, wanted) == (left, apart)


def test_drawn_rows_are_those_of_the_seed(data, tmp_path):
    left, apart = rows_of(data, tmp_path, 2)
    assert sorted(left + apart) == [1, 2, 3, 4] and len(apart) == 2
    assert rows_of(data, tmp_path, 2) == (left, apart)
    assert any(rows_of(data, tmp_path, 2, seed=seed)[1] != apart for seed in range(1, 9))


def test_rows_of_another_file(data, tmp_path):
    """One that has a target of the trained rows takes that row out of the training."""
    other = jsonl(data.with_name("other.jsonl"), [pair("a0.mp4", "b3.mp4", "the same, said anew")])
    assert rows_of(data, tmp_path, str(other)) == ([1, 2, 3], [1])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (4, "got 4 of 4 rows, needs some to train on"),
        (9, "got 9, needs at most the 4 pairs"),
        ((7,), "validation.rows: got 7, needs lines of rows.jsonl with a pair"),
    ],
)
def test_rows_that_cannot_be_held_out(data, tmp_path, wanted, message):
    with pytest.raises(ConfigError, match=message):
        rows_of(data, tmp_path, wanted)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            1,
            r"held out by \[validation\], rows = 1\. .* set validation\.rows to the numbers",
        ),
        ((1,), r"held out by \[validation\], rows = \[1\]\. Correct the row, or set"),
        ("other.jsonl", r"held out by other\.jsonl in \[validation\]\. Correct the row there"),
    ],
)
def test_a_damaged_row_says_that_it_is_held_out(tmp_path, wanted, message):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    made = config(tmp_path, tmp_path, validation=ValidationConfig(rows=wanted))
    encoders = SimpleNamespace(text=lambda _: torch.zeros(2, 32))
    row = Row(1, tmp_path / "broken.mp4", tmp_path / "broken.mp4", "x")
    with pytest.raises(RowError, match=rf"^row 1: video 'broken.mp4': .*{message}"):
        HeldOutRows(made, [row], encoders, WAN_21)


@pytest.mark.parametrize("rates", ["resample", "refuse"])
def test_held_out_rows_are_read_at_the_rates_of_the_trained_ones(tmp_path, rates):
    """A source of twice the target's rate: every second frame of it, or no row."""
    for name, frames, rate, step in (("a.mp4", 10, 16, 20), ("b.mp4", 5, 8, 40)):
        pictures = [np.full((32, 32, 3), 20 + step * number, np.uint8) for number in range(frames)]
        write_clip(tmp_path / name, pictures, Fraction(rate))
    table = {"validation": ValidationConfig(rows=1), "clips": ClipsConfig(rates=rates, cache=False)}
    encoders = SimpleNamespace(
        text=lambda _: torch.zeros(2, 32),
        latents=lambda frames: frames,
        semantic=lambda frame: frame,
    )
    row = Row(1, tmp_path / "b.mp4", tmp_path / "a.mp4", "x")
    if rates == "refuse":
        with pytest.raises(RowError, match="row 1: got a target of 8 frames per second and a sour"):
            HeldOutRows(config(tmp_path, tmp_path, **table), [row], encoders, WAN_21)
        return
    (found,) = HeldOutRows(config(tmp_path, tmp_path, **table), [row], encoders, WAN_21).rows
    assert found.fps == 8
    assert (found.source.int() - found.target.int()).abs().max() <= 6


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rows": 0}, "validation.rows: got 0"),
        ({"rows": 2, "sigmas": (0.0,)}, "validation.sigmas"),
        ({"rows": 2, "every": 0}, "validation.every"),
        ({"rows": 2, "cfg": -2.0}, "validation.cfg"),
        ({"rows": 2, "cfg": float("inf")}, "validation.cfg"),
        ({"rows": 2, "steps": 10**20}, "validation.steps"),
        ({"rows": 1.5}, "validation.rows: got 1.5"),
    ],
)
def test_settings_that_cannot_be(table, message):
    with pytest.raises(ConfigError, match=message):
        ValidationConfig(**table)
