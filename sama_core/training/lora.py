"""The LoRA of a training: which layers it adapts, how it begins, and its file.

lora_targets ──▶ find_layers ──▶ add_lora (peft) ──▶ trained ──▶ lora_of ──▶ file
init ──▶ read_start ─────────────┘
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError, RuntimeSetupError, needed
from ..model.dit import SamaDiT
from ..weights.checkpoint import model_shapes
from ..weights.lora_names import PREFIX, name_layers
from ..weights.names import BLOCK_LAYERS
from .model_folder import mend_torchvision
from .recipe import ConfigError
from .seeded_draws import draw_from

if TYPE_CHECKING:
    from .config import TrainConfig

A, B = ".lora_A.default.weight", ".lora_B.default.weight"
"""What peft adds to a layer's name: (rank, inputs) and (outputs, rank)."""


def find_layers(dit: nn.Module, targets: str) -> list[str]:
    """The attention and feed-forward layers of the blocks that `targets` name, in order.

    A target is a run of a layer's name between dots, e.g. "ffn", "cross_attn.k" or "blocks.3".
    ConfigError names the targets that no layer has.
    """
    layers = [name for name, _ in dit.named_modules() if re.fullmatch(BLOCK_LAYERS, name)]
    wanted = targets.split()
    unknown = [one for one in wanted if not any(_has(layer, one) for layer in layers)]
    if unknown:
        kinds = dict.fromkeys(layer.split(".", 2)[2] for layer in layers)
        fix = f"Layers are blocks.0 to blocks.{_last_block(layers)} with {', '.join(kinds)}."
        got = ", ".join(unknown)
        raise ConfigError(needed("lora_targets", got, "parts of the layers' names", fix))
    return [layer for layer in layers if takes_layer(layer, targets)]


def takes_layer(layer: str, targets: str) -> bool:
    """Whether `targets` name a layer; empty ones name all."""
    wanted = targets.split()
    return not wanted or any(_has(layer, one) for one in wanted)


def count_adapted(shapes: Mapping[str, tuple[int, ...]], rank: int, targets: str) -> int:
    """Weights of a LoRA of a rank over a model whose tensors have these shapes."""
    return rank * sum(sum(shape) for name, shape in shapes.items() if _takes(name, shape, targets))


def _takes(name: str, shape: tuple[int, ...], targets: str) -> bool:
    layer = name.removesuffix(".weight")
    is_matrix = len(shape) == 2 and layer != name and re.fullmatch(BLOCK_LAYERS, layer)
    return bool(is_matrix) and takes_layer(layer, targets)


def _has(layer: str, target: str) -> bool:
    return f".{target}." in f".{layer}."


def _last_block(layers: list[str]) -> int:
    return max(int(layer.split(".")[1]) for layer in layers)


def add_lora(dit: nn.Module, config: "TrainConfig") -> None:
    """peft's adapters on the layers that the settings name, in place; they begin without effect.

    Raises RuntimeSetupError without a working peft, ConfigError for unknown layers.
    """
    mend_torchvision()
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except (ImportError, RuntimeError) as broken:
        raise RuntimeSetupError(
            needed(
                "LoRA",
                f"peft, which does not load ({broken})",
                "a working peft",
                "Install requirements-train.txt, or set lora_rank to 0.",
            )
        ) from broken
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=choose_alpha(config),  # type: ignore[arg-type]  # peft divides it, and no more
        lora_dropout=config.lora_dropout,
        target_modules=find_layers(dit, config.lora_targets),
    )
    with draw_from(config.seed):
        inject_adapter_in_model(settings, dit)


def choose_alpha(config: "TrainConfig") -> float:
    """α of the settings; the rank where they have none."""
    return config.lora_alpha or config.lora_rank


# --- the file ------------------------------------------------------------------------------------


def lora_of(weights: Mapping[str, Tensor], alpha: float | None = None) -> dict[str, Tensor]:
    """A peft adapter's tensors under the names ComfyUI's LoRA loaders know.

    `alpha` is written where it is not the rank, which is what a file without one means.
    """
    found = {}
    for name, value in weights.items():
        if ".lora_A." in name or ".lora_B." in name:
            clean = name.replace("base_model.model.", "").replace(".default.", ".")
            found[f"{PREFIX}{clean}"] = value
            if ".lora_A." in name and alpha not in (None, len(value)):
                layer = clean.removesuffix(".lora_A.weight")
                found[f"{PREFIX}{layer}.alpha"] = torch.tensor(float(alpha))
    return found


# --- going on from a file ------------------------------------------------------------------------


@torch.no_grad()
def start_from(dit: SamaDiT, path: Path, config: "TrainConfig") -> None:
    """Lay a LoRA file into the adapters of `dit`, so that the training goes on from it.

    Names may be this pack's, PEFT's, diffusers' or kohya's. A file of smaller rank fills a part of
    the adapters, and its α is brought to that of the settings: the effect is the file's. Raises
    CheckpointError for a file that the adapters cannot hold whole.
    """
    weights = dict(dit.named_parameters())
    for layer, (down, up) in read_start(path, dit).items():
        first, second = weights.get(layer + A), weights.get(layer + B)
        if first is None or second is None:
            fix = "Add it to lora_targets, or leave lora_targets empty."
            raise CheckpointError(needed(f"init {path.name}", layer, "adapted layers", fix))
        rank = len(down)
        if rank > len(first):
            fix = f"Set lora_rank to {rank} or more."
            raise CheckpointError(needed(f"init {path.name}", f"rank {rank}", "no more", fix))
        if down.shape[1:] != first.shape[1:] or up.shape[:1] != second.shape[:1]:
            got = f"{layer} of {down.shape[1]} to {len(up)}"
            need = f"{first.shape[1]} to {len(second)}"
            fix = "Choose a LoRA that was trained on this model."
            raise CheckpointError(needed(f"init {path.name}", got, need, fix))
        first[:rank] = down.to(first)
        second[:, :rank] = (up * (len(first) / choose_alpha(config))).to(second)


def is_lora(path: Path) -> bool:
    """Whether a file is a safetensors file of a LoRA, by its names; no values are read."""
    try:
        with safe_open(path, "pt") as file:
            return any("lora" in name for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return False


def read_start(path: Path, dit: SamaDiT) -> dict[str, tuple[Tensor, Tensor]]:
    """The factors of a LoRA file by layer: (rank, inputs), and (outputs, rank) times α / rank.

    Raises CheckpointError for a file that is no plain LoRA of this model.
    """
    try:
        stored = load_file(path)
    except Exception as broken:
        why = "no file" if not path.is_file() else f"no weights ({type(broken).__name__})"
        fix = "Set init in the recipe."
        raise CheckpointError(needed(f"init {path}", why, "a LoRA file", fix)) from broken
    named = name_layers(stored, model_shapes(dit.config), {}, path.name)
    return {
        layer.removeprefix(PREFIX): _factors(layer, parts, path.name)
        for layer, parts in named.layers.items()
    }


_DOWN = (".lora_A.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight")
_UP = (".lora_B.weight", ".lora_up.weight", ".lora.up.weight", "_lora.up.weight")


def _factors(layer: str, parts: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    rest = {key.removeprefix(layer): value.float() for key, value in parts.items()}
    down, up = (_take(rest, spellings) for spellings in (_DOWN, _UP))
    alpha = rest.pop(".alpha", None)
    if down is None or up is None or rest:
        got = f"{layer} with {', '.join(rest) or 'a part missing'}"
        fix = "Only plain LoRAs can be gone on from: no DoRA, LoHa or LoKr."
        raise CheckpointError(needed(f"init {name}", got, "lora_A and lora_B", fix))
    scale = 1.0 if alpha is None else float(alpha) / len(down)
    return down, up * scale


def _take(parts: dict[str, Tensor], names: tuple[str, ...]) -> Tensor | None:
    found = next((name for name in names if name in parts), None)
    return None if found is None else parts.pop(found)
