"""The trainer's parts, one by one, against numbers worked out by hand."""

import json
import math
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sama_core.errors import CheckpointError, SamaError
from sama_core.model.dit import SamaDiT
from sama_core.training.config import load_config
from sama_core.training.lora import lora_of
from sama_core.training.objective import SamaObjective, TrainBatch, edited_cells
from sama_core.training.objectives.noising import chance, stream
from sama_core.training.optim.muon import orthogonalise
from sama_core.training.optim.optimisation import (
    Ema,
    Optimisation,
    build_optimizers,
    lesser_rate_at,
    rate_at,
)
from sama_core.training.outputs import delta_of, metadata, write_weights
from sama_core.training.recipe import ConfigError
from sama_core.training.seeded_draws import draw_from
from sama_core.training.semantics import PixelEncoder
from sama_core.weights.checkpoint import plan_checkpoint
from sama_core.weights.names import SAMA_KEYS

from ..harness.comfy_home import declare_torchvision_schemas
from .tiny_run import DIT, tiny_config, tiny_trainee

# --- settings ----------------------------------------------------------------------------------

RECIPE = (
    'stage = 1\ndata = "rows.jsonl"\nmodel = "sama"\noutput = "out"\nsteps = 5\nbatch_size = 2\n'
)


def recipe(tmp_path, more: str = ""):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + more, encoding="utf-8")
    return path


def test_recipe_and_overrides(tmp_path):
    config = load_config(recipe(tmp_path, "ema = 0.5\nshift = 3\n"), steps=7)
    assert (config.steps, config.ema, config.shift, config.semantic_weight) == (7, 0.5, 3, 0.1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("learing_rate = 1e-3\n", "unknown settings learing_rate"),
        ('learning_rate = "fast"\n', "learning_rate: got 'fast', needs a value of type float"),
        ("accumulation = 0\n", "accumulation: got 0, needs a divisor of batch_size 2"),
        ("learning_rate = inf\n", "learning_rate: got inf, needs a finite number"),
        ("lora_rank = 2\nlora_alpha = inf\n", "lora_alpha: got inf, needs a finite number"),
        (f"seed = {10**23}\n", "seed: got 1000.*, needs a number of 64 bits"),
        ("frames = 16\n", "frames: got 16, needs 4k\\+1"),
        ("height = 60\n", "size: got 64x60"),
        ("ema = 1.0\n", "ema: got 1.0"),
        ("own_path_share = 1.5\n", "own_path_share: got 1.5, needs 0 to 1"),
        ('precision = "fp8"\n', "precision: got fp8"),
        ("pretexts = 1\n", "pretexts: got 1, needs a value of type bool"),
        ("image_share = 1.5\n", "image_share: got 1.5, needs 0 to 1"),
        ("this is no TOML", "recipe.toml, which is not TOML"),
        ('[[align]]\nmethod = "trd"\n', r"align: got \[\{.*\}\], needs a table of settings"),
    ],
)
def test_recipe_with_a_slip_is_refused(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        load_config(recipe(tmp_path, more))


def test_a_setting_of_a_table_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="align: got 'sara', needs a table of settings"):
        load_config(recipe(tmp_path, 'align = "sara"\n'), **{"align.method": "trd"})


def test_no_data_is_not_the_folder_of_the_command(tmp_path):
    with pytest.raises(ConfigError, match="data: got nothing, needs a file or a folder of rows"):
        load_config(recipe(tmp_path), data="")


def test_recipe_that_lacks_something(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("stage = 0\nsteps = 4\n")
    with pytest.raises(ConfigError, match="no data, model, output, batch_size"):
        load_config(path)
    with pytest.raises(ConfigError, match="no file"):
        load_config(tmp_path / "absent.toml")


# --- optimisers, schedule, average -------------------------------------------------------------


def test_learning_rate_schedule(tmp_path):
    config = tiny_config(tmp_path, steps=10, warmup=4, decay_from=0.6)
    assert [rate_at(step, config) for step in range(10)] == [
        0.25,
        0.5,
        0.75,
        1,
        1,
        1,
        1,
        0.75,
        0.5,
        0.25,
    ]
    assert [rate_at(step, tiny_config(tmp_path, steps=4, warmup=0)) for step in range(4)] == [
        1,
        1,
        1,
        1,
    ]


def test_where_warm_up_reaches_into_the_decay_the_trainer_multiplies_both(tmp_path):
    """As it always did; the codec's own training takes the lesser one."""
    config = tiny_config(tmp_path, steps=8, warmup=6, decay_from=0.25)
    assert [rate_at(step, config) for step in range(8)] == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6 * 5 / 6, 5 / 6 * 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    assert [lesser_rate_at(step, config) for step in range(8)] == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    trainee = tiny_trainee(config)
    named = list(trainee.named_parameters())
    (adamw,) = optimizers = build_optimizers(named, config)
    for _, weight in named:
        weight.grad = torch.zeros_like(weight)
    Optimisation(named, optimizers, config).step(3)
    assert adamw.param_groups[0]["lr"] == pytest.approx(config.learning_rate * 4 / 6 * 5 / 6)


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest(tmp_path):
    config = tiny_config(tmp_path, muon_rate=0.02)
    trainee = tiny_trainee(config)
    names = {id(weight): name for name, weight in trainee.named_parameters()}
    adamw, muon = build_optimizers(trainee.named_parameters(), config)
    chosen = {names[id(weight)] for weight in muon.param_groups[0]["params"]}
    rest = {names[id(weight)] for weight in adamw.param_groups[0]["params"]}
    per_block = [
        f"{attention}.{layer}" for attention in ("self_attn", "cross_attn") for layer in "qkvo"
    ]
    per_layer = [
        *(f"0.SelfAttention.{layer}" for layer in "qkvo"),
        *(f"1.DenseReluDense.{layer}" for layer in ("wi_0", "wi_1", "wo")),
    ]
    assert chosen == {
        *(
            f"dit.blocks.{block}.{layer}.weight"
            for block in (0, 1)
            for layer in (*per_block, "ffn.0", "ffn.2")
        ),
        *(
            f"text_encoder.encoder.block.{block}.layer.{layer}.weight"
            for block in (0, 1)
            for layer in per_layer
        ),
    }
    assert not chosen & rest and len(chosen | rest) == len(names)
    assert {f"dit.{name}" for name in SAMA_KEYS} <= rest
    optimisation = Optimisation(trainee.named_parameters(), [adamw, muon], config)
    optimisation.set_rates(0.5)
    optimisation.set_rates(0.25)
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (2.5e-4, 5e-3)


def test_adamw_alone_without_a_muon_rate(tmp_path):
    config = tiny_config(tmp_path)
    assert [
        type(found).__name__
        for found in build_optimizers(tiny_trainee(config).named_parameters(), config)
    ] == ["AdamW"]


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_muon_orthogonalises(shape):
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert (values > 0.3).all() and (values < 1.3).all()
    assert torch.allclose(orthogonalise(matrix)[1], orthogonalise(matrix[1]), atol=1e-5)


def test_average_on_literal_numbers():
    """Decays 1/10, 2/11, then the limit 0.25."""
    weight = nn.Parameter(torch.tensor([10.0]))
    ema = Ema([("w", weight)], 0.25)
    seen = []
    for step, value in enumerate([20.0, 40.0, 80.0, 0.0]):
        weight.data.fill_(value)
        ema.update([("w", weight)], step)
        seen.append(ema.shadows["w"].item())
    assert seen == pytest.approx([19, 2 / 11 * 19 + 9 / 11 * 40, 69.0455, 17.2614], abs=1e-3)


def test_average_of_frozen_weights_is_not_kept():
    assert Ema([("w", nn.Parameter(torch.zeros(1), requires_grad=False))], 0.9).shadows == {}


# --- random streams ----------------------------------------------------------------------------


def test_streams_depend_on_every_part_of_their_key():
    first = {
        key: torch.rand(1, generator=stream(*key)).item()
        for key in [
            (0, "noise", 1, 2),
            (0, "noise", 2, 1),
            (0, "text", 1, 2),
            (1, "noise", 1, 2),
            (0, "noise", 12),
        ]
    }
    assert len(set(first.values())) == 5
    assert torch.rand(1, generator=stream(0, "noise", 1, 2)).item() == first[0, "noise", 1, 2]


@pytest.mark.parametrize("settings", [{"align": {"method": "trd"}}, {"lora_rank": 2}], ids=str)
def test_first_weights_start_no_card(tmp_path, monkeypatch, settings):
    """Where there are two, torch's own way would start both, in each of two processes."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = tiny_config(tmp_path, **settings)
    one, other = (tiny_trainee(config) for _ in range(2))
    assert not torch.cuda.is_initialized()
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


def test_the_generator_is_what_it_was():
    before = torch.get_rng_state()
    with draw_from(-5):
        drawn = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(-5)))


def test_chance():
    assert sum(chance(0.2, "test", step) for step in range(2000)) == pytest.approx(400, abs=60)
    assert not chance(0.0, 1) and chance(1.0, 1)


# --- losses ------------------------------------------------------------------------------------


def pair() -> TrainBatch:
    """Three cells of one frame: one as it was, one nearly, one edited."""
    source, target = torch.zeros(1, 16, 1, 2, 6), torch.zeros(1, 16, 1, 2, 6)
    target[..., 2:4], target[..., 4:] = 0.3, -0.4
    return TrainBatch(target, source, torch.tensor([[5, 1, 0, 0, 0, 0]]), None, ["pair"])


def test_edited_cells():
    assert edited_cells(pair())[0, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1]


def test_edit_weights(tmp_path):
    """1, and 1 + the setting where the edit changes a cell."""
    config = tiny_config(tmp_path, edit_weight=2.0)
    assert SamaObjective(config).element_weight(pair())[0, 0, 0, 0].tolist() == [1, 1, 1, 1, 3, 3]


def test_teacher_of_another_width_is_refused():
    with pytest.raises(SamaError, match="tokens 48 wide, needs the model's 24"):
        PixelEncoder().check_width(DIT.semantic_dim)


# --- weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return {
        name: value.detach().clone().normal_(std=0.1)
        for name, value in SamaDiT(DIT).state_dict().items()
    }


def test_full_file_is_accepted(tmp_path, weights):
    path = tmp_path / "full.safetensors"
    write_weights(
        path,
        weights,
        metadata(DIT, "Tiny", 64 * 64, steps="7", recipe=json.dumps({"seed": 3})),
        torch.half,
    )
    plan = plan_checkpoint(path)
    assert plan.config == DIT and plan.report.ok
    assert plan.metadata["modelspec.title"] == "Tiny" and plan.metadata["steps"] == "7"
    assert json.loads(plan.metadata["config"])["transformer"] == {
        "num_heads": 1,
        "semantic_tokens": 65,
        "area": 4096,
    }
    assert {value.dtype for value in load_file(path).values()} == {torch.half}


def test_delta_file_is_accepted_over_its_base(tmp_path, weights):
    base = {name: value for name, value in weights.items() if name not in SAMA_KEYS}
    trained = {**weights, "blocks.1.ffn.0.bias": weights["blocks.1.ffn.0.bias"] + 1}
    delta = delta_of(trained, base)
    assert set(delta) == {*SAMA_KEYS, "blocks.1.ffn.0.bias"}
    write_weights(tmp_path / "base.safetensors", base, {"format": "pt"})
    write_weights(tmp_path / "delta.safetensors", delta, metadata(DIT, "Delta"))
    with pytest.raises(CheckpointError, match="delta without the base"):
        plan_checkpoint(tmp_path / "delta.safetensors")
    assert (
        plan_checkpoint(tmp_path / "delta.safetensors", tmp_path / "base.safetensors").config == DIT
    )


def test_failed_write_leaves_the_old_file(tmp_path, weights, monkeypatch):
    path = tmp_path / "full.safetensors"
    path.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sama_core.weights.write.save_file", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(path, weights, {})
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == [
        "full.safetensors"
    ]


def test_a_written_file_has_the_mode_of_any_new_file(tmp_path, weights):
    before = os.umask(0o027)
    try:
        write_weights(tmp_path / "full.safetensors", weights, {})
        assert os.umask(0o027) == 0o027, "the user's mask is put back"
    finally:
        os.umask(before)
    assert (tmp_path / "full.safetensors").stat().st_mode & 0o777 == 0o640


def test_lora_trains_alone_and_has_the_names_comfyui_knows(tmp_path, comfyui):
    """Rank 4 on every attention and feed-forward layer; nothing else gets a gradient."""
    from sama_core.weights.lora_names import split

    declare_torchvision_schemas()  # peft imports transformers, which imports torchvision
    trainee = tiny_trainee(tiny_config(tmp_path, lora_rank=4))
    trained = {name for name, weight in trainee.named_parameters() if weight.requires_grad}
    assert trained and all(".lora_" in name for name in trained)
    state = {name.removeprefix("dit."): value for name, value in trainee.state_dict().items()}
    lora = lora_of(state)
    layers = {split(name)[0] for name in lora}
    assert layers == {
        f"diffusion_model.blocks.{block}.{layer}"
        for block in (0, 1)
        for layer in (
            *(
                f"{attention}.{part}"
                for attention in ("self_attn", "cross_attn")
                for part in "qkvo"
            ),
            "ffn.0",
            "ffn.2",
        )
    }
    down, up = (lora[f"diffusion_model.blocks.0.ffn.0.lora_{side}.weight"] for side in "AB")
    assert (tuple(down.shape), tuple(up.shape)) == ((4, 128), (256, 4))
    assert not math.isclose(down.abs().sum().item(), 0) and up.abs().sum() == 0
