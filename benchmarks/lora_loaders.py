"""A LoRA of this pack in the loaders of others: what each adds to a weight, against α / r · B·A.

    python -m benchmarks.lora_loaders                   PEFT, and diffusers where it is installed
    python -m benchmarks.lora_loaders --musubi SRC      with a checkout of musubi-tuner's `src`

PEFT loads the adapter into this pack's own model, diffusers into a Wan transformer of its own
after its own conversion of the names, musubi-tuner converts the file, builds its network from it
and merges it into a Wan model of its own. The model is small and random, the file is written as a
training writes it, with an α that is not the rank. Prints the largest relative error of a layer.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.training.config import TrainConfig
from sama_core.training.lora import add_lora, find_layers
from sama_core.training.lora_file import write_lora
from sama_core.training.model_folder import mend_torchvision
from sama_core.weights.names import to_diffusers

from .report import describe_run, finish

SIZES = DitConfig(
    dim=128,
    num_heads=1,
    ffn_dim=256,
    num_layers=2,
    text_dim=32,
    freq_dim=64,
    in_dim=16,
    out_dim=16,
    semantic_dim=24,
    semantic_hidden=32,
)
RANK, ALPHA = 4, 6.0


def write_file(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """A LoRA file as a training writes it, and what it adds to each layer."""
    config = TrainConfig(
        stage=1,
        data="rows.jsonl",
        model="sama",
        output=str(folder),
        steps=1,
        batch_size=1,
        lora_rank=RANK,
        lora_alpha=ALPHA,
    )
    dit = SamaDiT(SIZES)
    add_lora(dit, config)
    generator = torch.Generator().manual_seed(0)
    averaged, added = {}, {}
    for name, weight in dit.named_parameters():
        if "lora_" in name:
            averaged[f"dit.{name}"] = torch.randn(weight.shape, generator=generator) * 0.1
    for layer in find_layers(dit, ""):
        down, up = (averaged[f"dit.{layer}.lora_{side}.default.weight"] for side in "AB")
        added[layer] = (up.double() @ down.double()) * ALPHA / RANK
    return write_lora(folder, averaged, config, folder / "base.safetensors", 1), added


# --- the loaders ---------------------------------------------------------------------------------


def by_peft(path: Path) -> dict[str, Tensor]:
    """PEFT's own `set_peft_model_state_dict`, names without the first part, α in the settings."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    weights = load_file(path)
    names = [name for name in weights if not name.endswith(".alpha")]
    layers = {name.split(".", 1)[1].rsplit(".lora_", 1)[0] for name in names}
    alpha: Any = ALPHA  # declared as a whole number, and divided
    settings = LoraConfig(r=RANK, lora_alpha=alpha, target_modules=sorted(layers))
    model = SamaDiT(SIZES)
    inject_adapter_in_model(settings, model)
    left = set_peft_model_state_dict(
        model, {name.split(".", 1)[1]: weights[name] for name in names}
    )
    if left.unexpected_keys:
        raise SystemExit(f"PEFT does not know {left.unexpected_keys[:3]}")
    modules: dict[str, Any] = dict(model.named_modules())
    return {layer: modules[layer].get_delta_weight("default") for layer in layers}


def by_diffusers(path: Path) -> dict[str, Tensor]:
    """diffusers' conversion and `load_lora_adapter` of its Wan transformer."""
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin

    model = WanTransformer3DModel(
        num_attention_heads=SIZES.num_heads,
        attention_head_dim=SIZES.dim // SIZES.num_heads,
        text_dim=SIZES.text_dim,
        freq_dim=SIZES.freq_dim,
        ffn_dim=SIZES.ffn_dim,
        num_layers=SIZES.num_layers,
    )
    converted = WanLoraLoaderMixin.lora_state_dict(load_file(path))
    model.load_lora_adapter(converted, prefix="transformer")
    modules: dict[str, Any] = dict(model.named_modules())
    names = {layer: to_diffusers(layer) for layer in find_layers(SamaDiT(SIZES), "")}
    return {
        layer: modules[name].get_delta_weight(next(iter(modules[name].lora_A)))
        for layer, name in names.items()
    }


def by_musubi(path: Path) -> dict[str, Tensor]:
    """musubi-tuner's `convert_lora.py`, then its network for Wan, merged into its Wan model."""
    with patch.object(torch.cuda, "current_device", int):  # asked for when it is imported
        from musubi_tuner.convert_lora import convert
        from musubi_tuner.networks.lora_wan import create_arch_network_from_weights
        from musubi_tuner.wan.modules.model import WanModel

    theirs = path.with_name("musubi.safetensors")
    convert(str(path), str(theirs), "default", None)
    weights = load_file(theirs)
    model = WanModel(
        dim=SIZES.dim,
        ffn_dim=SIZES.ffn_dim,
        freq_dim=SIZES.freq_dim,
        text_dim=SIZES.text_dim,
        num_heads=SIZES.num_heads,
        num_layers=SIZES.num_layers,
        attn_mode="torch",
    )
    before = _copy(model)
    network = create_arch_network_from_weights(1.0, weights, unet=model, for_inference=True)
    network.merge_to(None, model, weights, torch.float32, "cpu")
    return {
        layer: model.get_submodule(layer).weight - before[f"{layer}.weight"]
        for layer in find_layers(SamaDiT(SIZES), "")
    }


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


LOADERS: dict[str, tuple[str, Callable[[Path], dict[str, Tensor]]]] = {
    "peft": ("peft", by_peft),
    "diffusers": ("diffusers", by_diffusers),
    "musubi-tuner": ("musubi_tuner", by_musubi),
}


def compare(found: dict[str, Tensor], added: dict[str, Tensor]) -> float:
    """The largest relative error of a layer; layers that are missing count as 1."""
    errors = [
        ((found[layer].double() - value).norm() / value.norm()).item() if layer in found else 1.0
        for layer, value in added.items()
    ]
    return max(errors)


def measure() -> dict[str, Any]:
    """Of each loader that is installed: layers, and the largest relative error."""
    mend_torchvision()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path, added = write_file(Path(folder))
        return {
            name: {"layers": len(added), "largest_error": compare(load(path), added)}
            for name, (package, load) in LOADERS.items()
            if importlib.util.find_spec(package)
        }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--musubi", type=Path, help="the folder `src` of musubi-tuner")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    chosen = parser.parse_args()
    if chosen.musubi:
        sys.path.insert(0, str(chosen.musubi))
    report = describe_run("peft", "diffusers", rank=RANK, alpha=ALPHA, seed=0)
    finish({**report, "loaders": measure()}, chosen.out)


if __name__ == "__main__":
    main()
