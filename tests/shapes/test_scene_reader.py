"""What is where in scenes, and reading it from the model's tokens while it trains."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sama_core import embedded
from sama_core.errors import SamaError
from sama_core.shapes.config import load_config
from sama_core.shapes.training.scene_reader import EDIT_LABELS, PLANS, SCENE_LABELS, edit_labels
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.world import EditSampler, edit_mask
from sama_core.shapes.world.scene import COLOURS, SHAPES
from sama_core.training.config import load_config as load_rows_config
from sama_core.training.objectives.noising import stream
from sama_core.training.trainer import Trainer

RECIPES = Path(__file__).parents[2] / "sama_core" / "shapes" / "recipes"
CHANGES = ("recolour", "remove", "replace")


def pairs(frames: int, size: int = 24, edits=CHANGES):
    sampler = EditSampler(3, "train", edits, frames, 64, 64)
    batch = sampler.batch(0, size)
    return batch, edit_labels(batch.source_scenes, batch.edits, frames, 64, 64)


# --- labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames, cells", [(1, 16), (17, 80)])
def test_a_label_per_token_of_the_dit(frames, cells):
    _, labels = pairs(frames)
    assert labels.shape == (24, cells, EDIT_LABELS) and labels.dtype == torch.bool
    assert EDIT_LABELS == 2 * (len(SHAPES) + len(COLOURS)) + 1


def test_the_labels_name_the_objects_of_the_scene():
    batch, labels = pairs(1)
    for row, scene in enumerate(batch.source_scenes.shape.tolist()):
        colours = batch.source_scenes.colour[row].tolist()
        there = {SHAPES[shape] for shape in scene if shape >= 0}
        painted = {
            list(COLOURS)[colour]
            for colour, shape in zip(colours, scene, strict=True)
            if shape >= 0
        }
        seen = labels[row, :, :SCENE_LABELS].any(0)
        assert {name for name, one in zip(SHAPES, seen, strict=False) if one} == there
        assert {
            name for name, one in zip(COLOURS, seen[len(SHAPES) :], strict=True) if one
        } == painted


@pytest.mark.parametrize("frames", [1, 17])
def test_what_an_edit_changes_lies_where_the_object_is_meant(frames):
    batch, labels = pairs(frames)
    changed = edit_mask(batch.source, batch.target, 0.2).float()
    cells = torch.nn.functional.avg_pool2d(changed, 16)
    cells = torch.cat(
        [cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).mean(2)] if frames > 1 else [cells], 1
    )
    much = cells.flatten(1) > 0.15
    assert much.any(1).float().mean() > 0.9
    assert not (much & ~labels[..., -1]).any()


def test_background_and_style_mean_no_object():
    assert not pairs(1, edits=("background", "style"))[1][..., -1].any()


def test_a_removed_object_is_in_the_source_and_not_in_the_target():
    batch, labels = pairs(1, edits=("remove",))
    before, after = labels[..., :SCENE_LABELS], labels[..., SCENE_LABELS:-1]
    alone = ~batch.source_scenes.present.all(1)
    assert alone.any() and before.any((1, 2)).all()
    assert not after[alone].any()


# --- the reader --------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    return load_config(
        RECIPES / "shapes_stage1.toml",
        output=str(tmp_path / "run"),
        pool=str(tmp_path / "pool"),
        init="embedded",
        steps=3,
        warmup=1,
        batch_size=4,
        image_batch_size=4,
        frames=5,
        image_pairs=8,
        clip_pairs=8,
        reading_weight=1.0,
        checkpoint_every=2,
        log_every=1,
    )


def small_shards(monkeypatch):
    monkeypatch.setattr("sama_core.shapes.training.sample_pools.IMAGE_SHARD", 8)
    monkeypatch.setattr("sama_core.shapes.training.sample_pools.CLIP_SHARD", 8)


def losses(run, config, step=0):
    size = config.size_at(step)
    batch = run.data.batch(step, slice(0, size))
    return run.objective(run.trainee, batch, [stream("noise", row) for row in range(size)])


def test_reading_changes_no_prediction_and_starts_at_a_coin_toss(config, monkeypatch):
    small_shards(monkeypatch)
    reading = losses(ShapesRun.of(config), config)
    plain_config = replace(config, reading_weight=0.0)
    plain = losses(ShapesRun.of(plain_config), plain_config)
    assert torch.equal(reading.flow, plain.flow)
    assert reading.parts()["reading"].tolist() == pytest.approx(
        [torch.tensor(2.0).log().item()] * 4
    )
    assert torch.equal(reading.total, plain.total + reading.parts()["reading"])
    assert "reading" not in plain.parts()


def test_gradients_reach_the_blocks_that_are_read_and_not_the_later_ones(config, monkeypatch):
    small_shards(monkeypatch)
    run = ShapesRun.of(config)
    torch.nn.init.normal_(
        run.trainee.reader.plans.weight, generator=torch.Generator().manual_seed(0)
    )
    losses(run, config).parts()["reading"].sum().backward()
    reached = [
        any(
            weight.grad is not None and weight.grad.abs().sum() > 0 for weight in block.parameters()
        )
        for block in run.trainee.dit.blocks
    ]
    assert reached == [number <= PLANS for number in range(6)]


def test_a_lora_leaves_the_reader_trained(config):
    """All other weights stay; a reader that did not learn would train the LoRA against zeros."""
    run = ShapesRun.of(replace(config, lora_rank=2, init="embedded"))
    reader = list(run.trainee.reader.parameters())
    assert reader and all(weight.requires_grad for weight in reader)
    trained = [name for name, weight in run.trainee.named_parameters() if weight.requires_grad]
    assert all("lora_" in name or name.startswith("reader.") for name in trained)


def test_labels_belong_to_the_samples_they_come_with(config, monkeypatch):
    small_shards(monkeypatch)
    data = ShapesRun.of(config).data
    for step in range(4):
        whole = data.batch(step, slice(0, 4))
        part = data.batch(step, slice(1, 3))
        assert torch.equal(whole.labels[1:3], part.labels)
        changed = (whole.source_latents - whole.target_latents).abs().mean(1).amax((1, 2, 3)) > 0.35
        meant = whole.labels[..., -1].any(1)
        assert not (meant & ~changed).any()


def test_a_run_with_reading_writes_files_without_the_reader(config, monkeypatch):
    small_shards(monkeypatch)
    run = ShapesRun.of(config)
    trainer = Trainer(config, run.trainee, run.data, run.objective)
    trainer.run()
    written = run.write(trainer.average(), trainer.step)
    assert set(load_file(written[1])) == set(load_file(embedded.DIT))
    assert not [name for path in written for name in load_file(path) if "reader" in name]
    resumed = ShapesRun.of(config)
    assert Trainer(config, resumed.trainee, resumed.data, resumed.objective).step == 3


def test_data_of_your_own_has_nothing_to_read(config, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("")
    own = {"data": str(rows), "model": "m.safetensors", "vae": "v", "text_encoder": "t", "init": ""}
    with pytest.raises(SamaError, match="Only procedural scenes say what is where"):
        load_rows_config(RECIPES / "shapes_stage1.toml", reading_weight=1.0, **own)
