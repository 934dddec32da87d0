"""One alignment for training: hidden states of a DiT block, held to the relations of a frozen
teacher.

    DiT block ──▶ projector ──▶ student (B, T, h, w, C) ┐
                                                        ├─ relation ─ distance ─▶ (B,) · weight
    the clean target clip ──▶ teacher, from the cache ──┘
    saliency (B, T, h, w) weighs pairs (SARA) or positions (ours)

SARA (arXiv 2605.07800) compares all pairs of tokens, SAM2VideoX (arXiv 2512.11792) a token with its
neighbourhood in the next frame, REPA and CREPA token with token. Torch and numpy only.
"""

from .aligner import Aligner
from .cache import FeatureCache
from .config import ARMS, AlignConfig
from .flow import flow_distance, flow_divergence, fuse, local_gram_flow
from .projector import Projector
from .relations import pair_weight, routed_trd
from .saliency import (
    SaliencyAligner,
    changed_cells,
    contrast_loss,
    mask_loss,
    saliency_losses,
)
from .saliency_config import SALIENCY_ARMS, SaliencyConfig
from .saliency_diagnostics import describe_attention, describe_saliency
from .teacher_targets import make_targets
from .token_losses import token_cosine, token_distance

__all__ = [
    "ARMS",
    "SALIENCY_ARMS",
    "AlignConfig",
    "Aligner",
    "FeatureCache",
    "Projector",
    "SaliencyAligner",
    "SaliencyConfig",
    "changed_cells",
    "contrast_loss",
    "describe_attention",
    "describe_saliency",
    "flow_distance",
    "flow_divergence",
    "fuse",
    "local_gram_flow",
    "make_targets",
    "mask_loss",
    "pair_weight",
    "routed_trd",
    "saliency_losses",
    "token_cosine",
    "token_distance",
]
