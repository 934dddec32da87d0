"""Semantic targets: what the 65 semantic tokens of a clip are denoised to. Torch only.

    target clip ── anchor_frame ── SemanticEncoder.encode ── (B, 65, E): 8 x 8 local, 1 global

`SiglipEncoder` is the real one (E = 1152), `PixelEncoder` a small one without weights for the
embedded model. Both are frozen and used in training only: at inference the tokens are sampled from
noise along with the video. Source: SAMA §3.2 and §4.1 (M = 64 local tokens and one global, N = 1
anchor frame).
"""

from .encoder import GRID, TOKENS, SemanticEncoder, SiglipEncoder, anchor_frame
from .pixel_encoder import PixelEncoder

__all__ = ["GRID", "TOKENS", "PixelEncoder", "SemanticEncoder", "SiglipEncoder", "anchor_frame"]
