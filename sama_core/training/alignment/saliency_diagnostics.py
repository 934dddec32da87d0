"""What a saliency is like: the diagnostics of SARA Tab. 4, and how much of the truth it finds.

Shape legend: B batch · Nv visual tokens · L text tokens · C channels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .saliency import SaliencyAligner

MOST_QUERIES = 1024
"""Visual tokens, evenly picked, whose attention to all others is measured."""


def describe_saliency(saliency: Tensor) -> dict[str, float]:
    """The diagnostics of SARA Tab. 4 that need no attention maps: mean, max, coverage, entropy.

    Of a saliency of any shape; `max` is the mean over samples of each one's largest, `coverage` the
    share above 0.5, `entropy` the mean Bernoulli entropy in nats.
    """
    flat = saliency.flatten(1).float()
    entropy = torch.special.entr(flat) + torch.special.entr(1 - flat)
    return {
        "mean": flat.mean().item(),
        "max": flat.amax(1).mean().item(),
        "coverage": (flat > 0.5).float().mean().item(),
        "entropy": entropy.mean().item(),
    }


def overlap_of(found: Tensor, truth: Tensor) -> float:
    """Intersection over union of what lies above a half of each clip's largest value, the mean of
    clips: 1 where a saliency (B, …) finds all of the `truth` (B, …) and nothing else.
    """
    here, there = (
        value.flatten(1) > 0.5 * value.flatten(1).amax(1, keepdim=True) for value in (found, truth)
    )
    overlap = (here & there).sum(1) / (here | there).sum(1).clamp(min=1)
    return overlap.mean().item()


@torch.no_grad()
def describe_attention(
    aligner: SaliencyAligner, tokens: Tensor, text: Tensor, real: Tensor
) -> dict[str, float]:
    """The diagnostics of SARA Tab. 4 that look inside, of tokens (B, Nv, C) and texts (B, L, D).

    `focus` is the mean over tokens, heads and blocks of 1 − H / log(L + 1), with H the entropy of a
    token's attention to the `real` (B, L) text. `self_entropy_change` and `top3_change` compare the
    fused tokens with those given: the entropy of their attention to one another, as a share of its
    largest, and the share of variance of the three first principal components. Unverified: the
    paper names the last two and does not define them; here attention among tokens is that of the
    tokens themselves, after a LayerNorm, without learned weights.
    """
    fused, _ = aligner(tokens, text, real)
    focus = [
        (1 - _entropy(weights) / math.log(one.sum().item() + 1)).mean()
        for row, one in enumerate(real)
        for weights in aligner.read_attention(tokens[row, None], text[row, None], one[None])
    ]
    # Autocast would hand a card's solver of eigenvalues numbers of 16 bit, which it does not take.
    with torch.autocast(tokens.device.type, enabled=False):
        return {
            "focus": torch.stack(focus).mean().item(),
            "self_entropy_change": _self_entropy(fused) - _self_entropy(tokens),
            "top3_change": _top_share(fused) - _top_share(tokens),
        }


def _entropy(shares: Tensor) -> Tensor:
    return torch.special.entr(shares.float()).sum(-1)


def _self_entropy(tokens: Tensor) -> float:
    """0..1: the entropy of attention among tokens (B, Nv, C) as a share of log Nv."""
    count, width = tokens.shape[1:]
    normed = functional.layer_norm(tokens.float(), (width,))
    picked = torch.linspace(0, count - 1, min(count, MOST_QUERIES), device=tokens.device).long()
    shares = (normed[:, picked] @ normed.transpose(1, 2) / width**0.5).softmax(-1)
    return (_entropy(shares) / math.log(max(count, 2))).mean().item()


def _top_share(tokens: Tensor) -> float:
    """0..1: the variance of the first three principal components of tokens (B, Nv, C)."""
    centred = tokens.float() - tokens.float().mean(1, keepdim=True)
    spread = torch.linalg.eigvalsh(centred.transpose(1, 2) @ centred).clamp(min=0)
    return (spread[:, -3:].sum(1) / spread.sum(1).clamp(min=1e-12)).mean().item()
