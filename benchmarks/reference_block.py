"""A block of the DiT: ours, a plain restatement of the reference's, and the official one."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from benchmarks.random_models import random_weights
from sama_core.model.attention import sdpa
from sama_core.model.blocks import DitBlock
from sama_core.model.config import DitConfig
from sama_core.model.rotary import RotaryTable, grid_table, sequence_table

SEMANTIC, TEXT = 65, 512


def block_config(width: int, heads: int, hidden: int) -> DitConfig:
    """Sizes of a model with one block."""
    outside = {"text_dim": 64, "freq_dim": 64, "semantic_dim": 64, "semantic_hidden": 64}
    sizes = {"dim": width, "num_heads": heads, "ffn_dim": hidden, "num_layers": 1}
    return DitConfig(**sizes, in_dim=16, out_dim=16, **outside)


def random_block(config: DitConfig, seed: int = 0) -> DitBlock:
    """Our block with random float32 weights, without gradients."""
    block = DitBlock(config, nn, sdpa, None, None).requires_grad_(False)
    shapes = {name: tuple(weight.shape) for name, weight in block.named_parameters()}
    block.load_state_dict(random_weights(shapes, torch.Generator().manual_seed(seed)))
    return block


def draw_inputs(
    config: DitConfig,
    grid: tuple[int, int, int],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict:
    """Random inputs of a block, as keywords.

    X (1, L, dim), e (1, 6, dim), freqs, context (1, 512, dim).
    """
    freqs = sequence_table(grid_table(grid, config.head_dim, torch.device(device)), True, SEMANTIC)

    def draw(*shape: int) -> Tensor:
        return torch.randn(1, *shape, device=device, dtype=dtype)

    return {
        "x": draw(len(freqs.cos), config.dim),
        "e": draw(6, config.dim),
        "freqs": freqs,
        "context": draw(TEXT, config.dim),
    }


def run_plainly(
    block: DitBlock, x: Tensor, e: Tensor, freqs: RotaryTable, context: Tensor
) -> Tensor:
    """What the reference's block computes, in its order, with its temporaries."""
    mine, text = block.self_attn, block.cross_attn
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (block.modulation + e).chunk(6, dim=1)
    h = block.norm1(x) * (1 + scale) + shift
    q, k, v = _normalise(mine.q(h), mine.norm_q), _normalise(mine.k(h), mine.norm_k), mine.v(h)
    turn = torch.complex(freqs.cos.double(), freqs.sin.double())[:, None]
    q, k = _rotate(q, turn, mine.num_heads), _rotate(k, turn, mine.num_heads)
    x = x + gate * mine.o(mine.attention(q, k, v, mine.num_heads))
    h = block.norm3(x)
    q, k, v = (
        _normalise(text.q(h), text.norm_q),
        _normalise(text.k(context), text.norm_k),
        text.v(context),
    )
    x = x + text.o(text.attention(q, k, v, text.num_heads))
    h = block.norm2(x) * (1 + scale_mlp) + shift_mlp
    return x + gate_mlp * block.ffn(h)


def _normalise(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + norm.eps)).to(
        x.dtype
    ) * norm.weight


def _rotate(x: Tensor, turn: Tensor, heads: int) -> Tensor:
    pairs = torch.view_as_complex(x.to(torch.float64).unflatten(-1, (heads, -1, 2)))
    return torch.view_as_real(pairs * turn).flatten(2).to(x.dtype)


def official_block(
    folder: Path, block: DitBlock, config: DitConfig
) -> Callable[..., Tensor] | None:
    """The official block with our block's weights, as a function of our inputs.

    None where the code is absent.
    """
    if not (folder / "diffsynth" / "models" / "wan_video_dit.py").is_file():
        return None
    for package in (
        "diffsynth",
        "diffsynth.models",
    ):  # by path: their own __init__ files import everything
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(folder.joinpath(*package.split(".")))]
    official = import_module("diffsynth.models.wan_video_dit").DiTBlock
    theirs = official(
        False, config.dim, config.num_heads, config.ffn_dim, config.eps
    ).requires_grad_(False)
    theirs.load_state_dict(block.state_dict())

    def run(x: Tensor, e: Tensor, freqs: RotaryTable, context: Tensor) -> Tensor:
        return theirs(x, context, e, torch.complex(freqs.cos.double(), freqs.sin.double())[:, None])

    return run
