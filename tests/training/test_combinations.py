"""Settings beside one another: each combination takes a step, or is refused with a reason.

A combination that is not in these tables is not promised to work.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from sama_core.errors import SamaError
from sama_core.shapes.config import load_config as load_shapes
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.training.config import load_config
from sama_core.training.recipe import ConfigError
from sama_core.training.sharding import shard
from sama_core.training.trainer import Trainer

from .rows_files import BLUE, RED, clip, jsonl, pair, recipe, settings
from .test_trainer import SHARDED, losses, run_program
from .tiny_run import tiny_config, tiny_trainee, tiny_trainer

RECIPE = Path(__file__).parents[2] / "sama_core" / "shapes" / "recipes" / "shapes_stage1.toml"
LORA = {"lora_rank": 2}
ALIGN = {"align": {"method": "sara_named", "warmup": 0}}
FLOW = {"align": {"method": "sam2videox", "warmup": 0}}


# --- any data ----------------------------------------------------------------------------------

TRAINS = [
    {},
    {"muon_rate": 0.02},
    {"precision": "bf16"},
    {"gradient_checkpointing": True},
    {"semantic_weight": 0.0},
    {"semantic_share": 0.0},
    {"own_path_share": 0.5},
    {"edit_weight": 1.0},
    {"accumulation": 2},
    {"clip_norm": 0.0},
    ALIGN,
    FLOW,
    {**ALIGN, "precision": "bf16", "gradient_checkpointing": True},
]
"""Beside a LoRA, and beside the training of all weights and of a part of them."""
LORA_ONLY = [
    {"lora_alpha": 4.0},
    {"lora_dropout": 0.5, "gradient_checkpointing": True},
    {"lora_targets": "cross_attn ffn.0"},
    {"lora_targets": "blocks.1", "trigger": "sks"},
]


@pytest.mark.parametrize("beside", TRAINS, ids=str)
@pytest.mark.parametrize("trained", [LORA, {}, {"trained_parts": "blocks.1."}], ids=str)
def test_trains(tmp_path, trained, beside):
    """Every trained weight gets a gradient in a step, for which processes would wait."""
    found = take_steps(tiny_config(tmp_path, **trained, **beside, steps=1, batch_size=2))
    without = [name for name, grad in found.items() if grad is None]
    assert found and not without


@pytest.mark.parametrize("beside", LORA_ONLY, ids=str)
def test_a_lora_trains_with_its_own_settings(tmp_path, beside):
    found = take_steps(tiny_config(tmp_path, **LORA, **beside, steps=1, batch_size=2))
    assert found and not [name for name, grad in found.items() if grad is None]


def take_steps(config) -> dict[str, torch.Tensor | None]:
    """Train; the last gradients by name."""
    trainer, found = tiny_trainer(config), {}
    step = trainer.optimisation.step

    def keep(number):
        found.update({name: one.grad for name, one in trainer._parameters() if one.requires_grad})
        step(number)

    trainer.optimisation.step = keep
    trainer.run()
    return found


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({**LORA, "trained_parts": "blocks.1."}, "trained_parts.*needs empty with a lora_rank"),
        ({"lora_alpha": 4.0}, "lora_alpha: got 4.0, needs a lora_rank"),
        ({"lora_dropout": 0.1}, "lora_dropout: got 0.1, needs a lora_rank"),
        ({"lora_targets": "ffn"}, "lora_targets: got ffn, needs a lora_rank"),
        ({"trigger": "sks"}, "trigger: got sks, needs a lora_rank"),
        ({**LORA, "lora_dropout": 1.0}, "lora_dropout: got 1.0"),
        ({**LORA, "lora_alpha": -1.0}, "lora_alpha: got -1.0"),
        ({**LORA, "lora_targets": "ffn.1 head"}, "lora_targets: got ffn.1, head, needs parts"),
        ({"track": "mlflow"}, "track: got mlflow, needs tensorboard or wandb"),
        ({"keep_checkpoints": -1}, "keep_checkpoints: got -1"),
    ],
    ids=str,
)
def test_is_refused(tmp_path, beside, message):
    with pytest.raises(ConfigError, match=message):
        tiny_trainer(tiny_config(tmp_path, **beside))


def test_a_lora_is_sharded_too(tmp_path):
    """Frozen and trained weights of two precisions, over two processes: the losses of one."""
    told = ["steps=2", "lora_rank=2", "learning_rate=0.01", "gradient_checkpointing=true"]
    run_program(tmp_path / "one", *told)
    run_program(tmp_path / "two", *told, processes=2, program=SHARDED)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert losses(tmp_path / "one", "grad_norm")[0] > 0


def test_a_card_gets_one_block_after_the_other(tmp_path, monkeypatch):
    """FSDP2 moves what it shards; to move all of a large model first would need room for it."""
    trainee, sharded = tiny_trainee(tiny_config(tmp_path)), []
    monkeypatch.setattr(torch.distributed.device_mesh, "init_device_mesh", lambda *_: "mesh")
    monkeypatch.setattr(
        torch.distributed.fsdp, "fully_shard", lambda part, **_: sharded.append(part) or part
    )
    monkeypatch.setattr(trainee, "to", lambda *_: pytest.fail("all of it at once"))
    process = SimpleNamespace(device=torch.device("cuda"), num_processes=2)
    assert shard(trainee, process) is trainee
    assert sharded == [*trainee.dit.blocks, trainee]


# --- SAMA-Shapes -------------------------------------------------------------------------------

SHAPES = [
    LORA,
    {**LORA, "reading_weight": 0.1},
    {**LORA, "pixel_weight": 0.5, "own_path_share": 0.5},
    {**LORA, "lora_targets": "self_attn", "lora_alpha": 1.0},
    {"trained_parts": "blocks.1."},
]


@pytest.mark.parametrize("beside", SHAPES, ids=str)
def test_shapes_train(tmp_path, beside):
    """A LoRA's file holds the LoRA alone."""
    config = shapes(tmp_path, init="embedded", **beside)
    run = ShapesRun.of(config)
    trainer = Trainer(config, run.trainee, run.data, run.objective, run.digests)
    trainer.run()
    names = [path.name for path in run.write(trainer.average(), trainer.step)]
    if "lora_rank" not in beside:
        assert "weights.safetensors" in names
        return
    assert names == ["sama_lora.safetensors"]
    stored = load_file(tmp_path / names[0])
    assert stored and all(name.startswith("diffusion_model.blocks.") for name in stored)


def shapes(folder, **changes):
    small = {"frames": 1, "image_share": 1.0, "batch_size": 2, "image_batch_size": 2, "steps": 1}
    plain = {"reading_weight": 0.0, "pixel_weight": 0.0, "own_path_share": 0.0, "init": ""}
    none = {"image_pairs": 0, "clip_pairs": 0, "accumulation": 1}
    return load_shapes(RECIPE, output=str(folder), **{**small, **plain, **none, **changes})


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (LORA, "init: got nothing, needs weights for a LoRA to lie over"),
        (
            {"trained_parts": "head.", "reading_weight": 0.1},
            "trained_parts.*empty with a reading_weight",
        ),
    ],
    ids=str,
)
def test_shapes_refuse(tmp_path, beside, message):
    with pytest.raises(ConfigError, match=message):
        shapes(tmp_path, **beside)


def test_a_lora_of_shapes_goes_on_from_a_lora(tmp_path):
    """Over the pack's own weights: what the first one wrote is where the second begins."""
    config = shapes(tmp_path / "one", init="embedded", **LORA, ema=0.0, learning_rate=0.01)
    run = ShapesRun.of(config)
    trainer = Trainer(config, run.trainee, run.data, run.objective)
    trainer.run()
    [path] = run.write(trainer.average(), 1)
    second = ShapesRun.of(replace(config, init=str(path), output=str(tmp_path / "two")))
    here, there = (dict(one.trainee.named_parameters()) for one in (run, second))
    assert all(torch.equal(value, there[name]) for name, value in here.items())
    assert second.digests.keys() == {"model"}


# --- rows of a file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"init": "a.safetensors"}, "init.*Set model to the sama.safetensors"),
        (
            {"init": "a.st", "validation": {"rows": "held.jsonl"}, **LORA},
            "2 things are missing.*init a.st: got no file.*validation.rows: got no file held.jsonl",
        ),
    ],
    ids=str,
)
def test_rows_refuse(tmp_path, beside, message):
    from sama_core.training.rows.rows_run import RowsRun

    names = clip(tmp_path / "a.mp4", RED), clip(tmp_path / "b.mp4", BLUE)
    data = jsonl(tmp_path / "rows.jsonl", [pair(*names, "make it blue")])
    path = recipe(tmp_path / "recipe.toml", settings(data, tmp_path / "out", **beside))
    with pytest.raises(SamaError, match=f"(?s){message}"):
        RowsRun.of(load_config(path))
