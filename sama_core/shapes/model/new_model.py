"""A new embedded model: its sizes, its random first weights, and its vocabulary."""

import io
import math
import string

import torch
from torch import Generator, Tensor, nn

from ...encoders.umt5 import Umt5Encoder
from ...encoders.umt5_layout import Umt5Sizes
from ...model.config import DitConfig
from ...model.dit import SamaDiT
from ...released_files import SAMA_SHAPES
from ...text import EDIT_TAG
from ...training.pretext import PRETEXTS
from ..world import vocabulary as words

SHAPES_TEXT_DIM = 128
"""Width of the embedded text encoder's embeddings."""
PIECES = 512
"""Largest vocabulary; 256 of its pieces are the bytes that spell unknown characters."""

_MARKS = (".", ",", "!", "?", "'", "-")
_LETTERS = string.ascii_lowercase + string.digits


def shapes_dit_config(semantic_dim: int) -> DitConfig:
    """Sizes of the embedded DiT: 7.6 M weights, head size 128 as in all Wan models."""
    return DitConfig(
        dim=256,
        num_heads=2,
        ffn_dim=1024,
        num_layers=6,
        text_dim=SHAPES_TEXT_DIM,
        freq_dim=256,
        in_dim=SAMA_SHAPES.lattice.channels,
        out_dim=SAMA_SHAPES.lattice.channels,
        semantic_dim=semantic_dim,
        semantic_hidden=128,
        patch=SAMA_SHAPES.lattice.patch,
    )


def shapes_text_sizes(vocab_size: int) -> Umt5Sizes:
    """Sizes of the embedded text encoder."""
    return Umt5Sizes(
        vocab_size=vocab_size, d_model=SHAPES_TEXT_DIM, d_ff=256, d_kv=32, num_heads=4, num_layers=2
    )


@torch.no_grad()
def init_weights(model: nn.Module, generator: Generator) -> None:
    """Draw the first weights of all SamaDiTs and Umt5Encoders in `model`, in parameter order."""
    for part in model.modules():
        if isinstance(part, SamaDiT):
            for name, weight in part.named_parameters():
                _init_dit(name, weight, len(part.blocks), generator)
        if isinstance(part, Umt5Encoder):
            for name, weight in part.named_parameters():
                _init_text(name, weight, part.sizes, generator)


def _init_dit(name: str, weight: Tensor, layers: int, generator: Generator) -> None:
    """Variance 1 / fan-in; residual outputs divided by √(3 layers); both heads zero; gates open.

    Open gates were better in a trial.
    """
    if "norm" in name:
        weight.fill_(1.0 if name.endswith("weight") else 0.0)
    elif name.endswith("bias") or name in (
        "head.head.weight",
        "semantic_head.proj.weight",
        "head.modulation",
    ):
        weight.zero_()
    elif name.endswith("modulation"):  # shift, scale, gate of attention, then of the feed-forward
        weight.copy_(torch.tensor([0.0, 0, 1, 0, 0, 1])[None, :, None].expand_as(weight))
    elif name == "segment_embedding.weight":
        _draw(weight, 0.5, generator)
    else:
        scale = 1 / math.sqrt(weight[0].numel())
        if name.endswith((".o.weight", "ffn.2.weight")):
            scale /= math.sqrt(3 * layers)
        if name.startswith("time_projection."):
            scale *= 0.1
        _draw(weight, scale, generator)


def _init_text(name: str, weight: Tensor, sizes: Umt5Sizes, generator: Generator) -> None:
    """T5's own initialisation: attention is not scaled, so queries start small."""
    if "norm" in name:
        weight.fill_(1.0)
        return
    inner = sizes.d_kv * sizes.num_heads
    fan_in = {
        "q.weight": sizes.d_model * sizes.d_kv,
        "o.weight": inner,
        "wo.weight": sizes.d_ff,
        "relative_attention_bias.weight": sizes.d_model,
        "shared.weight": 1,
    }
    _draw(weight, fan_in.get(".".join(name.split(".")[-2:]), sizes.d_model) ** -0.5, generator)


def _draw(weight: Tensor, scale: float, generator: Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * scale)


def train_vocabulary() -> bytes:
    """A sentencepiece model: the same bytes every time.

    Padding is 0, the end 1, unknown 2; upper case becomes lower case. Every word of the world and
    of the tags is one piece; other text is spelt in letters and bytes.
    """
    import sentencepiece

    model, whole = io.BytesIO(), [f"▁{word}" for word in sorted({*words(), *_tag_words()})]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*words(), *_tag_words(), *_LETTERS]),
        model_writer=model,
        vocab_size=PIECES,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc_cf",
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=[*whole, *_MARKS],
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
    )
    return model.getvalue()


def _tag_words() -> list[str]:
    """The tags' words with the brackets that touch them: "[video", "edit]", …"""
    tags = [EDIT_TAG, *(pretext.tag for pretext in PRETEXTS.values())]
    return " ".join(tags).lower().split()
