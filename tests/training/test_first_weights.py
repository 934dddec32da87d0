"""The model training begins with: full file, delta over shards, plain Wan; and the files that come
out.
"""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.errors import CheckpointError
from sama_core.model.dit import SamaDiT
from sama_core.training.alignment import ARMS
from sama_core.training.alignment.teachers import TeacherSource
from sama_core.training.config import TrainConfig, load_config
from sama_core.training.recipe import ConfigError, refuse_changes
from sama_core.training.rows.first_weights import ModelFiles, new_tensors
from sama_core.training.rows.rows_run import RowsRun
from sama_core.weights.checkpoint import plan_checkpoint
from sama_core.weights.names import SAMA_KEYS

from ..harness.imports import REPO_ROOT
from .rows_files import BLUE, RED, clip, config, jsonl, models, pair, recipe, settings

SEED = 0


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return load_file(models() / "diffusion_models" / "sama_untrained.safetensors")


@pytest.fixture(scope="module")
def wan(weights, tmp_path_factory):
    """The same weights without SAMA's, as two shards in a folder."""
    folder = tmp_path_factory.mktemp("wan")
    names = sorted(set(weights) - set(SAMA_KEYS))
    for index, part in enumerate((names[:20], names[20:]), 1):
        save_file(
            {name: weights[name] for name in part},
            folder / f"diffusion_pytorch_model-{index:05}-of-00002.safetensors",
        )
    return folder


@pytest.fixture
def delta(weights, tmp_path):
    """SAMA's tensors, and one of Wan's that differs."""
    path = tmp_path / "delta.safetensors"
    save_file(
        {
            **{key: weights[key] for key in SAMA_KEYS},
            "blocks.1.ffn.0.bias": weights["blocks.1.ffn.0.bias"] + 1,
        },
        path,
    )
    return path


@pytest.fixture
def data(tmp_path):
    clip(tmp_path / "a.mp4", RED)
    clip(tmp_path / "b.mp4", BLUE)
    return jsonl(tmp_path / "data.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])


def load(model, base="", dtype=torch.float32) -> SamaDiT:
    return ModelFiles.of(str(model), str(base), 48).load(dtype, torch.Generator().manual_seed(SEED))


def state(dit: SamaDiT) -> dict[str, torch.Tensor]:
    return dict(dit.state_dict())


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], wanted[name]) for name in wanted
    )


# --- in ----------------------------------------------------------------------------------------


def test_full_file(weights):
    dit = load(models() / "diffusion_models" / "sama_untrained.safetensors")
    assert same(state(dit), weights)
    assert dit.config.num_heads == 2 and all(weight.requires_grad for weight in dit.parameters())


def test_dtype(weights):
    """Matrices that autocast would round anyway; what it uses as it is stays exact."""
    found = state(
        load(models() / "diffusion_models" / "sama_untrained.safetensors", dtype=torch.bfloat16)
    )
    kept = {name for name, value in found.items() if value.dtype == torch.float32}
    assert {
        "blocks.0.norm3.weight",
        "blocks.0.modulation",
        "head.modulation",
        "segment_embedding.weight",
        "blocks.1.ffn.0.bias",
        "blocks.0.self_attn.norm_q.weight",
    } <= kept
    assert {name for name in found if name not in kept} >= {
        "blocks.0.ffn.0.weight",
        "patch_embedding.weight",
        "text_embedding.2.weight",
        "semantic_head.proj.weight",
    }
    assert same(
        found,
        {name: value if name in kept else value.bfloat16() for name, value in weights.items()},
    )


def test_delta_over_shards(weights, wan, delta):
    assert same(
        state(load(delta, wan)),
        {**weights, "blocks.1.ffn.0.bias": weights["blocks.1.ffn.0.bias"] + 1},
    )


def test_plain_wan_gets_new_sama_tensors(weights, wan):
    """Segments are 0, so that a sequence without a source gives what Wan gives."""
    found = state(load(wan))
    assert all(
        torch.equal(found[name], value) for name, value in weights.items() if name not in SAMA_KEYS
    )
    assert set(found) - set(weights) == set() and len(found) == len(weights)
    assert not found["segment_embedding.weight"].any()
    assert found["siglip_feat_mlp.fc1.weight"].shape == (1024, 48)
    assert found["siglip_feat_mlp.fc1.weight"].abs().max() == pytest.approx(48**-0.5, rel=0.01)
    assert found["semantic_head.proj.weight"].abs().max() == pytest.approx(
        (6 / (48 + 256)) ** 0.5, rel=0.01
    )
    assert found["semantic_head.proj.bias"].std() == pytest.approx(1e-3, rel=0.4)
    assert same(state(load(wan)), found)


def test_new_tensors_depend_on_the_seed():
    shapes = {"semantic_head.proj.bias": (4,)}
    drawn = [
        new_tensors(shapes, torch.Generator().manual_seed(seed))["semantic_head.proj.bias"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_a_single_wan_file(wan, weights, tmp_path):
    save_file(
        {name: value for name, value in weights.items() if name not in SAMA_KEYS},
        tmp_path / "wan.safetensors",
    )
    assert same(state(load(tmp_path / "wan.safetensors")), state(load(wan)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {"clip.weight": torch.zeros(2)}, "a file of another model"),
        (
            lambda w: {
                **w,
                "blocks.0.ffn.0.scale_weight": torch.ones(1),
                "scaled_fp8": torch.zeros(2),
            },
            (
                r"quantised weights \(blocks.0.ffn.0.scale_weight\), "
                r"needs weights in bfloat16 or float32"
            ),
        ),
        (
            lambda w: {**w, "blocks.0.ffn.0.scale_weight": torch.ones(1)},
            r"quantisation scales that nothing applies \(blocks.0.ffn.0.scale_weight\)",
        ),
        (lambda w: {key: w[key] for key in SAMA_KEYS}, "a SAMA delta without the base model"),
        (
            lambda w: {name: value for name, value in w.items() if name != "head.head.bias"},
            "no tensor 'head.head.bias'",
        ),
    ],
)
def test_files_that_cannot_be_trained(weights, tmp_path, change, message):
    save_file(change(weights), tmp_path / "file.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "file.safetensors")


def test_missing_file_and_shard(wan, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load(tmp_path / "gone.safetensors")
    (tmp_path / "x-00001-of-00002.safetensors").write_bytes(
        (wan / "diffusion_pytorch_model-00001-of-00002.safetensors").read_bytes()
    )
    with pytest.raises(
        CheckpointError, match="1 of 2 shards.*Missing: x-00002-of-00002.safetensors"
    ):
        load(tmp_path)


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "shapes"}, "model: got 'shapes', needs the path of a SAMA or Wan 2.1 file"),
        ({"vae": ""}, "vae: got '', needs the path of the model's Wan 2.1 VAE"),
        ({"text_encoder": ""}, "text_encoder: got '', needs the path of umT5"),
        ({"init": "weights.safetensors"}, "Set model to the sama.safetensors of the earlier stage"),
    ],
)
def test_settings_that_mean_nothing(data, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        values = settings(data, tmp_path / "out", **changes)
        RowsRun.of(load_config(recipe(tmp_path / "recipe.toml", values)))


def test_lora_on_plain_wan_is_refused(data, wan, tmp_path):
    with pytest.raises(
        ConfigError, match="lora_rank: got 4 on plain Wan, needs a trained SAMA model"
    ):
        RowsRun.of(config(data, tmp_path / "out", model=str(wan), lora_rank=4))


# --- out ---------------------------------------------------------------------------------------


def trained(run: RowsRun) -> dict[str, torch.Tensor]:
    """Weights as the trainer gives them, two of them changed."""
    averaged = {name: value.clone() for name, value in run.trainee.state_dict().items()}
    averaged["dit.segment_embedding.weight"] += 1
    averaged["dit.blocks.0.ffn.2.bias"] += 1
    return averaged


def test_full_file_out(data, tmp_path, weights):
    run = RowsRun.of(config(data, tmp_path / "out"))
    [path] = run.write(trained(run), steps=7)
    assert path == tmp_path / "out" / "sama.safetensors"
    plan, found = plan_checkpoint(path), load_file(path)
    assert plan.report.ok and not plan.is_merged
    assert same(
        found,
        {
            **weights,
            "segment_embedding.weight": weights["segment_embedding.weight"] + 1,
            "blocks.0.ffn.2.bias": weights["blocks.0.ffn.2.bias"] + 1,
        },
    )
    assert json.loads(plan.metadata["config"]) == {
        "transformer": {"num_heads": 2, "semantic_tokens": 65, "area": 1024}
    }
    assert plan.metadata["sama.training"] == "stage 1, 7 steps, seed 0"


def test_delta_file_out(data, tmp_path, wan, delta, weights):
    """SAMA's tensors, the one the delta came with and the one training changed; over the shards,
    the whole model.
    """
    run = RowsRun.of(config(data, tmp_path / "out", model=str(delta), base_model=str(wan)))
    averaged = trained(run)
    [path] = run.write(averaged, steps=7)
    assert path.name == "sama_delta.safetensors"
    assert set(load_file(path)) == {*SAMA_KEYS, "blocks.1.ffn.0.bias", "blocks.0.ffn.2.bias"}
    assert plan_checkpoint(path, wan).report.ok
    assert same(
        state(load(path, wan)),
        {name.removeprefix("dit."): value for name, value in averaged.items()},
    )


def test_files_have_the_precision_of_the_arithmetic(data, tmp_path):
    run = RowsRun.of(config(data, tmp_path / "out", precision="bf16"))
    assert {weight.dtype for weight in run.trainee.parameters()} == {torch.float32}
    assert {value.dtype for value in load_file(run.write(trained(run), 1)[0]).values()} == {
        torch.bfloat16
    }


def test_a_lora_leaves_the_rest_in_16_bit(data, tmp_path):
    """What is trained stays float32, so that small steps are not rounded away."""
    run = RowsRun.of(config(data, tmp_path / "out", precision="bf16", lora_rank=2))
    kinds = {
        (weight.requires_grad, weight.dtype)
        for name, weight in run.trainee.named_parameters()
        if name.endswith(("lora_A.default.weight", "lora_B.default.weight", "base_layer.weight"))
    }
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


# --- recipes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "batches", "rest"),
    [
        ("stage0", (112, 448), {"stage": 0, "learning_rate": 2e-5, "ema": 0.9998, "lora_rank": 0}),
        ("stage1", (112, 448), {"stage": 1, "learning_rate": 2e-5, "ema": 0.9998, "lora_rank": 0}),
        ("lora", (8, 0), {"stage": 1, "lora_rank": 32}),
    ],
)
def test_recipes_of_the_large_model(name, batches, rest):
    """They load, hold the paper's values, and say that nobody has run them."""
    path = REPO_ROOT / "sama_core" / "training" / "recipes" / f"sama_14b_{name}.toml"
    found = load_config(path)
    assert (found.batch_size, found.image_batch_size) == batches
    wanted = {
        "semantic_weight": 0.1,
        "precision": "bf16",
        "gradient_checkpointing": True,
        "height": 480,
        **rest,
    }
    assert {setting: getattr(found, setting) for setting in wanted} == wanted
    assert "# UNRUN" in path.read_text(
        encoding="utf-8"
    ) and f"sama_14b_{name}.toml" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "arm", "kind", "block", "lora"),
    [
        ("structure", "sam2videox", "sam2", 24, (256, 128, "self_attn cross_attn")),
        ("edit", "sara_changed", "vjepa2", 18, (32, 0, "")),
    ],
)
def test_recipes_of_aligned_loras(name, arm, kind, block, lora):
    """They load, name teachers that there are, and say that nobody has run them.

    SAM2VideoX' LoRA has rank 256 and alpha 128 on attention alone (§5, App. A).
    """
    path = REPO_ROOT / "sama_core" / "training" / "recipes" / f"sama_14b_lora_{name}.toml"
    found = load_config(path)
    assert (found.steps, found.learning_rate, found.align.weight) == (3000, 1e-4, 0.5)
    assert (found.lora_rank, found.lora_alpha, found.lora_targets) == lora
    assert TeacherSource.of(found.align.teacher).kind == kind
    assert found.align.choose_block(40) == block
    own = {field: getattr(found.align, field) for field in ("teacher", "cell", "warmup")}
    assert found.align == replace(ARMS[arm], **own)
    assert "# UNRUN" in path.read_text(encoding="utf-8")


# --- settings that are newer than a checkpoint -------------------------------------------------


def test_a_checkpoint_without_base_model_goes_on(data, tmp_path):
    """A setting that a checkpoint does not know had its default; another value is a change."""
    now = config(data, tmp_path / "out")
    saved = {name: value for name, value in asdict(now).items() if name != "base_model"}
    refuse_changes(saved, now, TrainConfig.FREE_TO_CHANGE)
    with pytest.raises(
        ConfigError, match="changed settings: base_model '' → 'wan', needs those of the checkpoint"
    ):
        refuse_changes(
            saved, config(data, tmp_path / "out", base_model="wan"), TrainConfig.FREE_TO_CHANGE
        )
    with pytest.raises(ConfigError, match="changed settings: ema 0.5 → 0.9, needs"):
        refuse_changes(saved, config(data, tmp_path / "out", ema=0.9), TrainConfig.FREE_TO_CHANGE)
