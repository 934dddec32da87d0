"""First weights with which a new SAMA returns its source: training starts from a copy.

    patch (64 values) ──▶ channels 0…63 of every token
    block 0, head 0    target token ──▶ source token at its place ──▶ its patch in channels 64…127
    head               velocity = (noisy patch − source patch) / σ

    cross-attention    queries point away from the padding's key

A text of a dozen tokens is padded to 512 rows, and SAMA attends all of them. Queries with random
weights give padding 97 % of the attention, and a thousand training steps hardly change that
(measured: in 4 of 6 blocks not at all).

Fixed marks in the last channels distinguish the segments. They are so large that the norm of a
token hardly depends on its content. All other residual outputs are zero.
Deviation: SAMA starts from Wan's weights; there are none of this size.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...model.dit import SamaDiT, sinusoidal_embedding
from ...model.rotary import axis_pairs
from ...model.schedule import TRAIN_TIMESTEPS
from ...model.tokens import SEMANTIC, SOURCE, TARGET

CONTENT = 0.5
"""Size of a patch's values in a token."""
MARKS, MARK = 8, 7.0
"""Number of channels that carry the segment's mark, and its values' size."""
_MARK_GAIN = 1 / 16
"""Factor on the random layers' weights for the marks, which would otherwise hide the content."""
_SHARPNESS = 2.0
"""Norm weight of the copying head's queries and keys."""
_QUERY = 9.0
"""Size of the copying head's queries and keys in the channels they use."""
_PADDING_KEY, _AVERSION = 0.02, 0.25
"""Biases of the text's keys, and of the queries that point away from the padding's key."""
_MOST_TRAVEL = 8.0
"""Waves of the timestep whose total variation is larger are too fast for the fit of 1 / σ."""
_SMALLEST_SIGMA = 0.15
"""The velocity's 1 / σ stays constant below this σ."""


@torch.no_grad()
def copy_start(dit: SamaDiT) -> None:
    """Overwrite what the copy needs in weights drawn by `init_weights`.

    Needs at least two heads of 128 and a width of four times the patch's values. The copy is exact
    except for the spread of the norms.
    """
    config = dit.config
    patch = config.in_dim * math.prod(config.patch)
    assert config.num_heads > 1 and config.dim >= 4 * patch, "too narrow for a copy"
    own, copied = slice(0, patch), slice(patch, 2 * patch)
    marks = slice(config.dim - MARKS, config.dim)
    for block in dit.blocks:
        _quieten(block, marks)
        _avoid_padding(block)
    dit.get_parameter("time_projection.1.weight").zero_()
    freeze_padding(dit)

    pattern = MARK * _patterns(MARKS)
    _embed_patches(dit, own)
    _mark_segments(dit, marks, pattern)
    _copy_source(dit, own, copied, marks, pattern[0], _deviation(patch, config.dim))
    _subtract_source(dit, patch, _deviation(2 * patch, config.dim))
    _fit_reciprocal_time(dit, 2 * patch)


def freeze_padding(dit: SamaDiT) -> None:
    """Freeze the biases that determine the key of padding rows.

    In training they would drift within a hundred steps, and the queries would no longer point away
    from that key. Measured after 200 steps of stage 0: with frozen biases padding has 51 to 87 % of
    the weight of a head; without `_avoid_padding` it keeps 97 % in most heads, at an equal loss.
    """
    names = ["text_embedding.0.bias", "text_embedding.2.bias"]
    names += [f"blocks.{index}.cross_attn.k.bias" for index in range(len(dit.blocks))]
    for name in names:
        dit.get_parameter(name).requires_grad_(False)


def _quieten(block: nn.Module, marks: slice) -> None:
    """Residual outputs of zero; layers that hardly react to the marks."""
    for name in ("self_attn.q", "self_attn.k", "self_attn.v", "cross_attn.q", "ffn.0"):
        block.get_parameter(f"{name}.weight")[:, marks] *= _MARK_GAIN
    for name in ("self_attn.o", "cross_attn.o", "ffn.2"):
        block.get_parameter(f"{name}.weight").zero_()


def _avoid_padding(block: nn.Module) -> None:
    """Give every query of the text a part that points away from the padding's key.

    A padding row is 0, so its key is the bias alone: one direction, which the norm makes as long as
    any other key.
    """
    block.get_parameter("cross_attn.k.bias").fill_(_PADDING_KEY)
    block.get_parameter("cross_attn.q.bias").fill_(-_AVERSION)


def _embed_patches(dit: SamaDiT, own: slice) -> None:
    """Every token carries the values of its patch in the channels `own`."""
    weight = dit.get_parameter("patch_embedding.weight")
    weight.zero_()
    weight[own] = CONTENT * torch.eye(own.stop).view(own.stop, *weight.shape[1:])


def _mark_segments(dit: SamaDiT, marks: slice, pattern: Tensor) -> None:
    """Source +, target −, semantic a pattern orthogonal to both."""
    weight = dit.get_parameter("segment_embedding.weight")
    weight.zero_()
    for segment, row in ((SOURCE, pattern[0]), (TARGET, -pattern[0]), (SEMANTIC, pattern[1])):
        weight[segment, marks] = row


def _patterns(width: int) -> Tensor:
    """(2, width) of ±1, each row with mean 0, orthogonal to each other."""
    ones = torch.ones(width)
    first, second = ones.clone(), ones.clone()
    first[1::2] = -1
    second[2::4], second[3::4] = -1, -1
    return torch.stack([first, second])


def _deviation(values: int, dim: int) -> float:
    """Standard deviation over the channels of a token with `values` unit values and a mark."""
    return math.sqrt((values * CONTENT**2 + MARKS * MARK**2) / dim)


def _copy_source(
    dit: SamaDiT, own: slice, copied: slice, marks: slice, source: Tensor, spread: float
) -> None:
    """Block 0, head 0: keys point along +place for source tokens and along −place for targets."""
    attention, width = dit.blocks[0].get_submodule("self_attn"), dit.config.head_dim
    time, height, _ = axis_pairs(width)
    fastest = [2 * pair for start in (0, time, time + height) for pair in (start, start + 1)]
    for name in "qkv":
        attention.get_parameter(f"{name}.weight")[:width].zero_()
    attention.get_parameter("q.bias")[fastest] = _QUERY
    from_mark = source * spread / source.square().sum()
    for channel in fastest:
        attention.get_parameter("k.weight")[channel, marks] = _QUERY * from_mark
    for name in ("norm_q", "norm_k"):
        attention.get_parameter(f"{name}.weight")[:width] = _SHARPNESS
    attention.get_parameter("v.weight")[own, own] = spread * torch.eye(own.stop)
    attention.get_parameter("o.weight")[copied, own] = torch.eye(own.stop)


def _subtract_source(dit: SamaDiT, patch: int, spread: float) -> None:
    """The output head: a token's own patch minus the copied one, in the order of `unpatchify`."""
    config = dit.config
    weight = dit.get_parameter("head.head.weight").view(*config.patch, config.out_dim, config.dim)
    channels = torch.arange(patch).view(config.in_dim, *config.patch)
    for t, y, x in torch.cartesian_prod(*(torch.arange(n) for n in config.patch)).tolist():
        for channel in range(config.out_dim):
            value = int(channels[channel, t, y, x])
            weight[t, y, x, channel, value] = spread / CONTENT
            weight[t, y, x, channel, patch + value] = -spread / CONTENT


def _fit_reciprocal_time(dit: SamaDiT, channels: int) -> None:
    """1 / σ − 1 in the first channels of the time embedding: a fit of its second layer.

    The first layer stays random, without the fastest waves.
    """
    sigmas = torch.linspace(0.005, 1, 4000, dtype=torch.float64)
    first = dit.get_parameter("time_embedding.0.weight")
    second = dit.get_parameter("time_embedding.2.weight")
    bias = dit.get_parameter("time_embedding.0.bias").double()
    waves = sinusoidal_embedding(sigmas * TRAIN_TIMESTEPS, dit.config.freq_dim)
    first[:, (waves.diff(dim=0).abs().sum(0) > _MOST_TRAVEL)] = 0
    hidden = functional.silu(waves.double() @ first.double().T + bias)
    held = sigmas.clamp(min=_SMALLEST_SIGMA)
    relative = held[:, None] * hidden
    gram = relative.T @ relative + torch.eye(hidden.shape[1], dtype=torch.float64)
    second[:channels] = torch.linalg.solve(gram, relative.T @ (1 - held)).float()
