"""A LoRA's settings and its file: layers, α, dropout, start, metadata, the loaders of others."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks.lora_loaders import ALPHA, RANK, measure, write_file
from sama_core.errors import SamaError
from sama_core.model.dit import SamaDiT
from sama_core.training.config import TrainConfig
from sama_core.training.lora import add_lora, find_layers, lora_of, start_from
from sama_core.training.lora_file import describe_lora
from sama_core.training.recipe import ConfigError

from .test_trainer import steady
from .tiny_run import DIT, tiny_config, tiny_trainer

ATTENTION = [f"{kind}.{part}" for kind in ("self_attn", "cross_attn") for part in "qkvo"]


def lora_config(folder: Path, **changes) -> TrainConfig:
    return tiny_config(folder, lora_rank=RANK, **changes)


def adapted(config: TrainConfig) -> SamaDiT:
    dit = SamaDiT(DIT)
    add_lora(dit, config)
    return dit


def effect(dit: SamaDiT) -> dict[str, torch.Tensor]:
    """What the adapters add to each weight."""
    found = {
        name: layer.get_delta_weight("default")
        for name, layer in dit.named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    return {name: value.detach() for name, value in found.items() if value.abs().sum() > 0}


# --- layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ("", [f"blocks.{n}.{one}" for n in (0, 1) for one in (*ATTENTION, "ffn.0", "ffn.2")]),
        ("ffn blocks.1.cross_attn.k", ["blocks.0.ffn.0", "blocks.0.ffn.2", "blocks.1.cross_attn.k",
                                       "blocks.1.ffn.0", "blocks.1.ffn.2"]),
        ("blocks.1.self_attn", [f"blocks.1.self_attn.{part}" for part in "qkvo"]),
    ],
)  # fmt: skip
def test_layers_by_name(targets, layers):
    """`blocks.1` is not `blocks.10`: a target is whole parts of a name."""
    assert find_layers(SamaDiT(DIT), targets) == layers


def test_unknown_layers_are_named_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"got attn, ffn\.1, needs parts.*blocks\.0 to blocks\.1 with self_attn"
    ):
        find_layers(SamaDiT(DIT), "attn ffn.0 ffn.1")


# --- the file ----------------------------------------------------------------------------------


def test_every_installed_loader_adds_what_the_training_had(tmp_path):
    """α is not the rank. PEFT is always there; diffusers where it is installed."""
    found = measure()
    assert found["peft"]["layers"] == 20
    assert all(one["largest_error"] < 1e-6 for one in found.values()), found


def test_metadata(tmp_path):
    """Keys of ModelSpec and kohya: rank, α, dropout, base model, trigger."""
    base = tmp_path / "sama.safetensors"
    base.write_bytes(b"\0" * 0x100000 + b"weights")
    config = lora_config(tmp_path, lora_alpha=ALPHA, lora_dropout=0.1, trigger="sks")
    told = describe_lora(config, base)
    assert told["modelspec.sai_model_spec"] == "1.0.0"
    assert told["modelspec.architecture"] == "wan2.1/lora"
    assert told["modelspec.trigger_phrase"] == "sks"
    assert told["ss_network_dim"] == "4" and told["ss_network_alpha"] == "6"
    assert told["ss_network_dropout"] == "0.1"
    assert told["ss_sd_model_name"] == "sama.safetensors"
    # of b"weights": what tools have called a model's hash
    assert told["ss_sd_model_hash"] == "9a129038"
    assert len(told["sama.base_digest"]) == 16
    path, _ = write_file(tmp_path)
    with safe_open(path, "pt") as file:
        stored = file.metadata()
    assert stored["ss_network_alpha"] == "6" and stored["ss_steps"] == "1"
    assert "modelspec.trigger_phrase" not in stored


def test_alpha_is_in_the_file_where_it_is_not_the_rank(tmp_path):
    path, added = write_file(tmp_path)
    stored = load_file(path)
    alphas = [value.item() for name, value in stored.items() if name.endswith(".alpha")]
    assert alphas == [ALPHA] * len(added)
    weights = {f"{layer}.lora_A.default.weight": torch.zeros(4, 8) for layer in added}
    assert not any(name.endswith(".alpha") for name in lora_of(weights, 4.0))


# --- going on from a file ----------------------------------------------------------------------


def as_kohya(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in stored.items():
        layer, part = name.removeprefix("diffusion_model.").replace(".lora_", "|lora_").replace(
            ".alpha", "|alpha").split("|")  # fmt: skip
        part = part.replace("lora_A", "lora_down").replace("lora_B", "lora_up")
        found[f"lora_unet_{layer.replace('.', '_')}.{part}"] = value
    return found


def as_peft(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """PEFT has α in its settings: here it is 6 of rank 4, multiplied in."""
    return {
        name.replace("diffusion_model.", "base_model.model."): value
        * (ALPHA / RANK if ".lora_B." in name else 1)
        for name, value in stored.items()
        if not name.endswith(".alpha")
    }


@pytest.mark.parametrize("spell", [dict, as_kohya, as_peft])
@pytest.mark.parametrize("settings", [{}, {"lora_alpha": 1.0}, {"lora_rank": 7}], ids=str)
def test_a_training_begins_with_the_files_effect(tmp_path, spell, settings):
    """Whatever the names, and with another α and a larger rank too."""
    path, added = write_file(tmp_path)
    save_file(spell(load_file(path)), tmp_path / "start.safetensors")
    config = tiny_config(tmp_path, **{"lora_rank": RANK, **settings})
    dit = adapted(config)
    assert not effect(dit)
    start_from(dit, tmp_path / "start.safetensors", config)
    found = effect(dit)
    assert found.keys() == added.keys()
    for layer, value in added.items():
        assert (found[layer] - value).norm() < 1e-6 * value.norm()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_rank": 2}, "got rank 4, needs no more. Set lora_rank to 4 or more"),
        ({"lora_targets": "ffn"}, "needs adapted layers. Add it to lora_targets"),
    ],
    ids=str,
)
def test_a_file_that_would_be_lost_in_part_is_refused(tmp_path, settings, message):
    path, _ = write_file(tmp_path)
    config = tiny_config(tmp_path, **{"lora_rank": RANK, **settings})
    with pytest.raises(SamaError, match=message):
        start_from(adapted(config), path, config)


def test_other_adapters_are_refused(tmp_path):
    stored = load_file(write_file(tmp_path)[0])
    stored["diffusion_model.blocks.0.ffn.0.dora_scale"] = torch.ones(256, 1)
    save_file(stored, tmp_path / "dora.safetensors")
    with pytest.raises(SamaError, match="dora_scale, needs lora_A and lora_B.*no DoRA"):
        config = lora_config(tmp_path)
        start_from(adapted(config), tmp_path / "dora.safetensors", config)


# --- dropout -----------------------------------------------------------------------------------


def test_dropout_is_the_same_after_a_resume(tmp_path):
    settings = {"lora_dropout": 0.5, "checkpoint_every": 2, "learning_rate": 1e-2}
    tiny_trainer(lora_config(tmp_path / "alone", steps=4, **settings)).run()
    for steps in (2, 4):
        tiny_trainer(lora_config(tmp_path / "two", steps=steps, **settings)).run()
    assert steady(tmp_path / "two") == steady(tmp_path / "alone")
    tiny_trainer(lora_config(tmp_path / "none", steps=4, learning_rate=1e-2)).run()
    assert steady(tmp_path / "none") != steady(tmp_path / "alone")
