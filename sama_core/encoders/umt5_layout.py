"""umT5 text encoder files: their sizes, and ComfyUI's names for those of the official release."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError, needed
from ..weights.header import BUNDLE_ADVICE, is_bundle
from ..weights.names import ALL_IN_ONE

PAD, END = 0, 1
"""Token ids of padding and of the text's end."""
BUCKETS = 32
"""Buckets of relative positions."""

# Official (Wan release) → ComfyUI, without the block number.
_BLOCK_NAMES = {
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "norm1.weight": "layer.0.layer_norm.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
}
_TOP_NAMES = {
    "token_embedding.weight": "shared.weight",
    "norm.weight": "encoder.final_layer_norm.weight",
}
_OFFICIAL_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_BLOCK = re.compile(r"encoder\.block\.(\d+)\.")
_BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
_SECOND_BIAS = _BIAS.replace("block.0", "block.1")  # T5 has a bias in the first block only
_QUERY = "encoder.block.0.layer.0.SelfAttention.q.weight"
_HIDDEN = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
_TOKENIZER_PLACES = ("spiece.model", "google/umt5-xxl/spiece.model")

_UMT5 = "umT5, Wan 2.1's text encoder"
_CHOOSE_UMT5 = "Choose umt5_xxl_fp16 or umt5_xxl_fp8_e4m3fn_scaled.safetensors."
_DOWNLOAD_AGAIN = "Download the file again."


def is_official(sd: Mapping[str, Tensor]) -> bool:
    """True for the names of the official `models_t5_umt5-xxl-enc-bf16.pth`."""
    return "token_embedding.weight" in sd and "blocks.0.pos_embedding.embedding.weight" in sd


def comfy_name(official: str) -> str | None:
    """ComfyUI's name of an official tensor, None if there is none."""
    block = _OFFICIAL_BLOCK.fullmatch(official)
    if block and block[2] in _BLOCK_NAMES:
        return f"encoder.block.{block[1]}.{_BLOCK_NAMES[block[2]]}"
    return _TOP_NAMES.get(official)


def official_to_comfy(sd: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """ComfyUI's names for an official state dict, with the tokenizer found beside `path`.

    Raises CheckpointError for tensors without a counterpart or a missing tokenizer.
    """
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in sd.items():
        name = comfy_name(key)
        if name is None:
            unknown.append(key)
        else:
            renamed[name] = value
    if unknown:
        raise CheckpointError(
            needed(
                path.name,
                f"unknown tensors ({', '.join(unknown[:5])})",
                "umT5's tensors and no other",
                "Download models_t5_umt5-xxl-enc-bf16.pth again.",
            )
        )
    return {**renamed, "spiece_model": find_tokenizer(path)}


def find_tokenizer(path: Path) -> Tensor:
    """The sentencepiece model beside an official encoder file, as the bytes tensor for ComfyUI.

    Raises CheckpointError if there is none.
    """
    for place in _TOKENIZER_PLACES:
        candidate = path.parent / place
        if candidate.is_file():
            return torch.frombuffer(bytearray(candidate.read_bytes()), dtype=torch.uint8)
    raise CheckpointError(
        needed(
            path.name,
            "no tokenizer beside it",
            f"{_TOKENIZER_PLACES[0]} in {path.parent.name}/",
            "Take google/umt5-xxl/spiece.model from the Wan-AI/Wan2.1-T2V-14B repository, "
            "or use umt5_xxl_fp16.safetensors, which carries it.",
        )
    )


@dataclass(frozen=True)
class Umt5Sizes:
    """Sizes of a umT5 encoder. The values of umT5-xxl, as in Wan 2.1, are given with each field."""

    vocab_size: int
    """Token ids (256,384)."""
    d_model: int
    """Width of the embeddings (4096)."""
    d_ff: int
    """Hidden width of the feed-forward layers (10,240)."""
    d_kv: int
    """Size of a head (64)."""
    num_heads: int
    """Attention heads (64)."""
    num_layers: int
    """Blocks (24)."""

    @classmethod
    def from_state_dict(cls, sd: Mapping[str, Tensor], name: str) -> "Umt5Sizes":
        """Sizes from the shapes under ComfyUI's names. Raises CheckpointError unless it is umT5."""
        layers = _count_layers(sd, name)
        try:
            query, hidden = sd[_QUERY], sd[_HIDDEN]
        except KeyError as missing:
            got, need = f"umT5 weights without {missing}", "all tensors of the encoder"
            raise CheckpointError(needed(name, got, need, _DOWNLOAD_AGAIN)) from missing
        try:
            (vocab_size, d_model), (_, heads) = sd["shared.weight"].shape, sd[_BIAS].shape
            return cls(
                vocab_size=vocab_size,
                d_model=d_model,
                d_ff=hidden.shape[0],
                d_kv=query.shape[0] // heads,
                num_heads=heads,
                num_layers=layers,
            )
        except (ValueError, IndexError, ZeroDivisionError) as odd:
            got = "tensors of shapes that no umT5 has"
            raise CheckpointError(needed(name, got, _UMT5, _DOWNLOAD_AGAIN)) from odd

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of such an encoder, under ComfyUI's names."""
        inner = self.d_kv * self.num_heads
        shapes = {
            "shared.weight": (self.vocab_size, self.d_model),
            "encoder.final_layer_norm.weight": (self.d_model,),
        }
        for index in range(self.num_layers):
            attention, feed = f"encoder.block.{index}.layer.0", f"encoder.block.{index}.layer.1"
            shapes |= {
                f"{attention}.SelfAttention.{name}.weight": (inner, self.d_model) for name in "qkv"
            }
            shapes |= {
                f"{attention}.SelfAttention.o.weight": (self.d_model, inner),
                f"{attention}.SelfAttention.relative_attention_bias.weight": (
                    BUCKETS,
                    self.num_heads,
                ),
                f"{attention}.layer_norm.weight": (self.d_model,),
                f"{feed}.DenseReluDense.wi_0.weight": (self.d_ff, self.d_model),
                f"{feed}.DenseReluDense.wi_1.weight": (self.d_ff, self.d_model),
                f"{feed}.DenseReluDense.wo.weight": (self.d_model, self.d_ff),
                f"{feed}.layer_norm.weight": (self.d_model,),
            }
        return shapes

    def config(self) -> dict:
        """The configuration for ComfyUI's T5 class."""
        return {
            "d_ff": self.d_ff,
            "d_kv": self.d_kv,
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "num_layers": self.num_layers,
            "vocab_size": self.vocab_size,
            "model_type": "umt5",
            "dense_act_fn": "gelu_pytorch_tanh",
            "is_gated_act": True,
            "layer_norm_epsilon": 1e-6,
            "relative_attention_num_buckets": BUCKETS,
            "eos_token_id": END,
            "pad_token_id": PAD,
        }


_OTHER_ENCODERS = {
    "text_model.encoder.layers.0.self_attn.q_proj.weight": "a CLIP text encoder",
    "transformer.resblocks.0.ln_1.weight": "a CLIP text encoder",
    "model.layers.0.self_attn.q_proj.weight": "a language model",
    "decoder.middle.0.residual.0.gamma": "a Wan VAE",
    "head.modulation": "a Wan diffusion model",
}


def _count_layers(sd: Mapping[str, Tensor], name: str) -> int:
    """Blocks of the encoder; CheckpointError unless `sd` is umT5 with its tokenizer."""
    if "shared.weight" not in sd or _BIAS not in sd:
        raise CheckpointError(_not_umt5(name, sd))
    layers = 1 + max(int(match[1]) for match in map(_BLOCK.match, sd) if match)
    if layers > len(sd):
        got = f"a block {layers - 1} in a file of {len(sd)} tensors"
        raise CheckpointError(needed(name, got, _UMT5, _DOWNLOAD_AGAIN))
    if layers > 1 and _SECOND_BIAS not in sd:
        raise CheckpointError(needed(name, "a T5 encoder (Flux, SD3)", _UMT5, _CHOOSE_UMT5))
    if "spiece_model" not in sd:
        raise CheckpointError(
            needed(
                name,
                "no tokenizer inside",
                "umT5 weights with their spiece_model",
                "Choose the umT5 file of Comfy-Org/Wan_2.1_ComfyUI_repackaged.",
            )
        )
    return layers


def _not_umt5(name: str, sd: Mapping[str, Tensor]) -> str:
    if is_bundle(sd):
        return needed(name, ALL_IN_ONE, "umT5 by itself", BUNDLE_ADVICE)
    kind = next(
        (kind for key, kind in _OTHER_ENCODERS.items() if key in sd), "another kind of file"
    )
    return needed(name, kind, _UMT5, _CHOOSE_UMT5)
