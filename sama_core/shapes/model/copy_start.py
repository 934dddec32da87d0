"""First weights with which a new SAMA returns its source: training starts from a perfect copy and learns the edits.

    patch (64 values) ──▶ channels 0…63 of every token
    block 0, head 0    target token ──▶ source token at its place, whose patch goes to channels 64…127
    head               velocity = (noisy patch - source patch) / σ

    cross-attention    queries point away from the padding's key

A text of a dozen tokens is padded to 512 rows, all of which SAMA attends: queries that know nothing would listen to the
padding for 97 %, and a training of a thousand steps hardly changes that (measured: in 4 of 6 blocks not at all).

Segments are told apart by fixed marks in the last channels, so large that a token's norm hardly depends on its content.
All other residual outputs are zero. Deviation: SAMA starts from Wan's weights; there are none of this size.
"""

import math

import torch
from torch import Tensor

from ...geometry import PATCH
from ...model.attention import CrossAttention
from ...model.dit import SamaDiT, sinusoidal_embedding
from ...model.rotary import axis_pairs
from ...model.schedule import TRAIN_TIMESTEPS
from ...model.tokens import SEMANTIC, SOURCE, TARGET

CONTENT = 0.5
"""Size of a patch's values in a token."""
MARKS, MARK = 8, 7.0
"""Channels that carry the segment's mark, and their size."""
_HEARD = 1 / 16
"""What the random layers hear of the marks, so that these do not drown the content."""
_SHARPNESS = 2.0
_QUERY = 9.0
_PADDING_KEY, _AVERSION = 0.02, 0.25
_MOST_TRAVEL = 8.0
"""Waves of the timestep that go up and down by more than this are too fast to fit anything with."""
_SMALLEST_SIGMA = 0.15
"""Below it the velocity's 1 / σ is held."""


@torch.no_grad()
def copy_start(dit: SamaDiT) -> None:
    """Overwrite what the copy needs in weights drawn by `init_weights`.

    Needs at least two heads of 128, and twice the patch's values in the width. Exact but for the norms' spread.
    """
    config = dit.config
    patch = config.in_dim * math.prod(PATCH)
    assert config.num_heads > 1 and config.dim >= 4 * patch, "too narrow for a copy"
    own, copied, marks = (
        slice(0, patch),
        slice(patch, 2 * patch),
        slice(config.dim - MARKS, config.dim),
    )
    for block in dit.blocks:
        for layer in (
            block.self_attn.q,
            block.self_attn.k,
            block.self_attn.v,
            block.cross_attn.q,
            block.ffn[0],
        ):
            layer.weight[:, marks] *= _HEARD
        for layer in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
            layer.weight.zero_()
    dit.time_projection[1].weight.zero_()
    for block in dit.blocks:
        _heed_text(block.cross_attn)
    hold_padding(dit)

    dit.patch_embedding.weight.zero_()
    dit.patch_embedding.weight[own] = CONTENT * torch.eye(patch).view(
        patch, *dit.patch_embedding.weight.shape[1:]
    )
    pattern = MARK * _patterns(MARKS)
    dit.segment_embedding.weight.zero_()
    for segment, row in ((SOURCE, pattern[0]), (TARGET, -pattern[0]), (SEMANTIC, pattern[1])):
        dit.segment_embedding.weight[segment, marks] = row
    _copy_head(dit, own, copied, marks, pattern[0], _spread(patch, config.dim))
    spread = _spread(2 * patch, config.dim)

    weight = dit.head.head.weight.view(*PATCH, config.out_dim, config.dim)
    channels = torch.arange(patch).view(config.in_dim, *PATCH)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in PATCH)).tolist():
        for channel in range(config.out_dim):
            value = int(channels[channel, place[0], place[1], place[2]])
            weight[place[0], place[1], place[2], channel, value] = spread / CONTENT
            weight[place[0], place[1], place[2], channel, patch + value] = -spread / CONTENT
    _reciprocal_time(dit, 2 * patch)


def hold_padding(dit: SamaDiT) -> None:
    """Freeze the biases that decide what padding's key is. Left free they drift within a hundred steps, and the queries
    lose what they turned away from. Measured after 200 steps of stage 0: held, padding has 51 to 87 % of the weight of
    a head, where without `_heed_text` 97 % stay in most; the loss is the same so far.
    """
    held = [
        dit.text_embedding[0].bias,
        dit.text_embedding[2].bias,
        *(block.cross_attn.k.bias for block in dit.blocks),
    ]
    for bias in held:
        bias.requires_grad_(False)


def _patterns(width: int) -> Tensor:
    """(2, width) of ±1 with mean 0, orthogonal to each other."""
    ones = torch.ones(width)
    first, second = ones.clone(), ones.clone()
    first[1::2] = -1
    second[2::4], second[3::4] = -1, -1
    return torch.stack([first, second])


def _spread(values: int, dim: int) -> float:
    """Deviation over the channels of a token that carries so many unit values, and a mark."""
    return math.sqrt((values * CONTENT**2 + MARKS * MARK**2) / dim)


def _copy_head(
    dit: SamaDiT, own: slice, copied: slice, marks: slice, source: Tensor, spread: float
) -> None:
    """Head 0 of block 0: keys point along +place for source tokens and along -place for target tokens."""
    attention, width = dit.blocks[0].self_attn, dit.config.head_dim
    time, height, _ = axis_pairs(width)
    fastest = [2 * pair for start in (0, time, time + height) for pair in (start, start + 1)]
    for layer in (attention.q, attention.k, attention.v):
        layer.weight[:width].zero_()
    attention.q.bias[fastest] = _QUERY
    tells_source = source * spread / source.square().sum()
    for channel in fastest:
        attention.k.weight[channel, marks] = _QUERY * tells_source
    for norm in (attention.norm_q, attention.norm_k):
        norm.weight[:width] = _SHARPNESS
    attention.v.weight[own, own] = spread * torch.eye(own.stop)
    attention.o.weight[copied, own] = torch.eye(own.stop)


def _heed_text(attention: CrossAttention) -> None:
    """A padding row is 0, so its key is the bias alone: one direction, which the norm makes as long as any key. Every
    query starts with a part against it.
    """
    attention.k.bias.fill_(_PADDING_KEY)
    attention.q.bias.fill_(-_AVERSION)


def _reciprocal_time(dit: SamaDiT, channels: int) -> None:
    """1 / σ - 1 in the first channels of the time embedding: its second layer is fitted to its random first one."""
    sigmas = torch.linspace(0.005, 1, 4000, dtype=torch.float64)
    first, second = dit.time_embedding[0], dit.time_embedding[2]
    waves = sinusoidal_embedding(sigmas * TRAIN_TIMESTEPS, dit.config.freq_dim)
    first.weight[:, (waves.diff(dim=0).abs().sum(0) > _MOST_TRAVEL)] = 0
    hidden = torch.nn.functional.silu(
        waves.double() @ first.weight.double().T + first.bias.double()
    )
    held = sigmas.clamp(min=_SMALLEST_SIGMA)
    relative = held[:, None] * hidden
    gram = relative.T @ relative + torch.eye(hidden.shape[1], dtype=torch.float64)
    second.weight[:channels] = torch.linalg.solve(gram, relative.T @ (1 - held)).float()
