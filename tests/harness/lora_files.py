"""LoRA files for a Wan model in every spelling trainers use, right ones and wrong ones, made from
seeds.

`right(shapes)` and `wrong(shapes)` yield cases over the layers given: name → (outputs, inputs).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

RANK = 4
_DIFFUSERS = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}


class Spelling(NamedTuple):
    """How one trainer writes a low-rank pair."""

    prefix: str
    """Before every layer's name."""
    down: str
    """Name of the first factor."""
    up: str
    """Name of the second factor."""
    alpha: bool = False
    """Whether an alpha is beside them."""
    diffusers: bool = False
    """Whether layers have diffusers' names."""
    flat: bool = False
    """Whether dots are underscores."""

    def key(self, layer: str, part: str) -> str:
        """The whole name of a layer's part."""
        if self.diffusers:
            block, number, rest = layer.split(".", 2)
            layer = f"{block}.{number}.{_DIFFUSERS[rest]}"
        return f"{self.prefix}{layer.replace('.', '_') if self.flat else layer}.{part}"


_A, _B, _DOWN, _UP = "lora_A.weight", "lora_B.weight", "lora_down.weight", "lora_up.weight"
_OLD = ("lora.down.weight", "lora.up.weight")
SPELLINGS = {
    "comfy": Spelling("diffusion_model.", _A, _B),
    "official": Spelling("", "lora_A.default.weight", "lora_B.default.weight"),
    "bare": Spelling("", _A, _B),
    "peft plain": Spelling("base_model.model.", _A, _B),
    "peft named": Spelling("base_model.model.", "lora_A.adapter1.weight", "lora_B.adapter1.weight"),
    "peft in comfy": Spelling("base_model.model.diffusion_model.", _A, _B),
    "kohya": Spelling("lora_unet_", _DOWN, _UP, alpha=True, flat=True),
    "wan fun": Spelling("lora_unet__", _DOWN, _UP, alpha=True, flat=True),
    "lightx2v": Spelling("diffusion_model.", _DOWN, _UP, alpha=True),
    "ai toolkit": Spelling("transformer.", _A, _B),
    "diffusers": Spelling("transformer.", _A, _B, diffusers=True),
    "diffusers without prefix": Spelling("", _A, _B, diffusers=True),
    "diffusers in comfy": Spelling("diffusion_model.", _A, _B, diffusers=True),
    "old diffusers": Spelling("transformer.", *_OLD, diffusers=True),
    "second transformer": Spelling("transformer_2.", _A, _B, diffusers=True),
    "onetrainer": Spelling("lora_transformer_", _DOWN, _UP, alpha=True, diffusers=True, flat=True),
    "onetrainer dotted": Spelling("transformer.", _DOWN, _UP, alpha=True, diffusers=True),
    "lora.up": Spelling("diffusion_model.", *_OLD),
    "whole checkpoint": Spelling("model.diffusion_model.", _A, _B),
    "DiffSynth": Spelling("pipe.dit.", "lora_A.default.weight", "lora_B.default.weight"),
}


class LoraCase(NamedTuple):
    """One file, and what must come of it."""

    name: str
    """Of the case."""
    tensors: dict[str, Tensor]
    """The file's."""
    words: str = ""
    """Part of the refusal; empty where the file is right."""


def pairs(
    shapes: dict[str, tuple[int, int]], spelling: Spelling, scale: float = 0.05
) -> dict[str, Tensor]:
    """The same low-rank pairs in one spelling; alpha, where written, equals the rank."""
    draw, tensors = torch.Generator().manual_seed(0), {}
    for layer, (out, into) in shapes.items():
        tensors[spelling.key(layer, spelling.down)] = (
            torch.randn(RANK, into, generator=draw) * scale
        )
        tensors[spelling.key(layer, spelling.up)] = torch.randn(out, RANK, generator=draw) * scale
        if spelling.alpha:
            tensors[spelling.key(layer, "alpha")] = torch.tensor(float(RANK))
    return tensors


def kinds(out: int, into: int) -> dict[str, dict[str, Tensor]]:
    """Parts of one layer for each kind of patch core knows, by kind."""
    draw = torch.Generator().manual_seed(1)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw) * 0.05

    low = {_A: rand(RANK, into), _B: rand(out, RANK)}
    return {
        "lora": low,
        "lora with alpha": {**low, "alpha": torch.tensor(2.0)},
        "dora": {**low, "dora_scale": rand(out, 1).abs() + 1},
        "dora of PEFT": {**low, "lora_magnitude_vector": rand(out).abs() + 1},
        "loha": {
            "hada_w1_a": rand(out, RANK),
            "hada_w1_b": rand(RANK, into),
            "hada_w2_a": rand(out, RANK),
            "hada_w2_b": rand(RANK, into),
            "alpha": torch.tensor(2.0),
        },
        "lokr": {"lokr_w1": rand(4, 4), "lokr_w2": rand(out // 4, into // 4)},
        "lokr of pairs": {
            "lokr_w1_a": rand(4, 2),
            "lokr_w1_b": rand(2, 4),
            "lokr_w2_a": rand(out // 4, 2),
            "lokr_w2_b": rand(2, into // 4),
        },
        "oft": {"oft_blocks": rand(4, out // 4, out // 4)},
        "oft with alpha": {"oft_blocks": rand(4, out // 4, out // 4), "alpha": torch.tensor(0.1)},
        "boft": {"oft_blocks": rand(2, out // 4, 4, 4), "alpha": torch.tensor(0.1)},
        "glora": {
            "a1.weight": rand(into, RANK),
            "a2.weight": rand(RANK, into),
            "b1.weight": rand(out, RANK),
            "b2.weight": rand(RANK, into),
        },
        "diff": {"diff": rand(out, into)},
        "diff_b": {"diff_b": rand(out)},
        "set": {"set_weight": rand(out, into)},
        "norm": {"w_norm": rand(out, into), "b_norm": rand(out)},
        "reshape": {**low, "reshape_weight": torch.tensor([out, into])},
    }


def right(shapes: dict[str, tuple[int, int]]) -> Iterator[LoraCase]:
    """Every spelling, and every kind of patch, all of whose layers fit."""
    for name, spelling in SPELLINGS.items():
        yield LoraCase(name, pairs(shapes, spelling))
    for kind in kinds(16, 16):
        yield LoraCase(kind, _all(shapes, lambda out, into, kind=kind: kinds(out, into)[kind]))


def wrong(shapes: dict[str, tuple[int, int]]) -> Iterator[LoraCase]:
    """Every spelling and kind × every size, half and value that makes it useless, one case each."""
    wider = {layer: (2 * out, 2 * into) for layer, (out, into) in shapes.items()}
    for name, spelling in SPELLINGS.items():
        whole, other = pairs(shapes, spelling), "a part is missing"
        yield LoraCase(f"{name}, wider", pairs(wider, spelling), "of another size")
        yield LoraCase(f"{name}, only down", _only(whole, spelling.down), other)
        yield LoraCase(f"{name}, only up", _only(whole, spelling.up), other)
        for value in ("nan", "inf"):
            yield LoraCase(
                f"{name}, {value}", _spoil(whole, float(value)), "NaN or infinite values"
            )
    for kind in kinds(16, 16):
        yield LoraCase(
            f"{kind}, wider",
            _all(wider, lambda out, into, kind=kind: kinds(out, into)[kind], shapes),
            "of another size",
        )
        yield LoraCase(
            f"{kind}, integers",
            {key: value.to(torch.int8) for key, value in _all(shapes, _kind(kind)).items()},
            "a part is",
        )
    halved = {"loha": "hada_w2_b", "lokr of pairs": "lokr_w1_b", "glora": "b2.weight"}
    for kind, lost in halved.items():
        tensors = _all(shapes, _kind(kind))
        yield LoraCase(
            f"{kind} without {lost}",
            {k: v for k, v in tensors.items() if not k.endswith(lost)},
            "0 of",
        )
    for part in ("alpha", "dora_scale", "reshape_weight", "hada_w1_b", "lora_mid.weight"):
        yield LoraCase(
            f"only {part}",
            {f"diffusion_model.{layer}.{part}": torch.ones(1) for layer in shapes},
            "a part is missing",
        )
    yield LoraCase(
        "boft without alpha",
        {k: v for k, v in _all(shapes, _kind("boft")).items() if "alpha" not in k},
        "a part is missing",
    )
    yield LoraCase(
        "complex",
        {k: v.to(torch.complex64) for k, v in pairs(shapes, SPELLINGS["comfy"]).items()},
        "0 of",
    )
    yield LoraCase(
        "rank 0",
        {
            k: v[:0] if "lora_A" in k else v[:, :0]
            for k, v in pairs(shapes, SPELLINGS["comfy"]).items()
        }
        | {f"diffusion_model.{layer}.alpha": torch.tensor(4.0) for layer in shapes},
        "0 of",
    )
    yield LoraCase(
        "another model",
        {
            "lora_unet_down_blocks_0.lora_down.weight": torch.zeros(4, 8),
            "lora_unet_down_blocks_0.lora_up.weight": torch.zeros(8, 4),
        },
        "not in this model",
    )
    yield LoraCase("no LoRA", {"encoder.conv1.weight": torch.zeros(4, 8)}, "not in this model")
    yield LoraCase("empty", {}, "0 of 0")
    one, two = (pairs(shapes, SPELLINGS[name]) for name in ("diffusers", "second transformer"))
    yield LoraCase(
        "two in one", one | {key: value + 1 for key, value in two.items()}, "two LoRAs in one file"
    )


def _kind(kind: str) -> Callable[[int, int], dict[str, Tensor]]:
    return lambda out, into: kinds(out, into)[kind]


def _all(
    sizes: dict[str, tuple[int, int]],
    parts: Callable[[int, int], dict[str, Tensor]],
    layers: dict | None = None,
) -> dict[str, Tensor]:
    """One kind of patch for every layer, under ComfyUI's names."""
    return {
        f"diffusion_model.{layer}.{part}": value
        for layer in layers or sizes
        for part, value in parts(*sizes[layer]).items()
    }


def _only(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key.endswith(part)}


def _spoil(tensors: dict[str, Tensor], value: float) -> dict[str, Tensor]:
    """One value of the last tensor that has more than one is not finite."""
    key = [key for key in tensors if tensors[key].numel() > 1][-1]
    bad = tensors[key].clone()
    bad.view(-1)[0] = value
    return {**tensors, key: bad}
