"""Where an edit may change a clip: fitted masks, the latent cells they cover, and pasting back.

    drawn mask ──fit_mask──▶ soft mask (F, H, W) ──latent_mask──▶ cells to sample (1, 1, T, h, w)
    source, edit ──changed_mask──┘         └──paste_back──▶ the edit inside, the source outside

`FittedClip` is a clip and its mask, checked once. Knows nothing of ComfyUI. Masks are float32 in
0…1: 1 takes the edit, 0 keeps the source.
"""

from .mask_walk import MaskBatch, MaskVideo, MaskWalk
from .masks import FittedClip, fit_mask, require_region, soften
from .paste import changed_mask, latent_mask, paste_back, require_pair

__all__ = [
    "FittedClip",
    "MaskBatch",
    "MaskVideo",
    "MaskWalk",
    "changed_mask",
    "fit_mask",
    "latent_mask",
    "paste_back",
    "require_pair",
    "require_region",
    "soften",
]
