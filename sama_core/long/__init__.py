"""Clips longer than the model sees at once: overlapping segments, their blend, their colours, and
what is kept of them.

    frames (4k+1) ──plan_segments──▶ segments ──sample each──▶ latents ──blend_segments──▶
                                        │  ▲
                                   SegmentStore (disk)
    one latent ──decode──▶ frames ──anchor_colours──▶ frames

Torch and safetensors only; `sama_core.comfyui.long_edit` samples.
"""

from .drift import anchor_colours
from .segments import (
    Segment,
    blend_in_order,
    blend_segments,
    plan_segments,
    segment_noise,
    segment_seed,
)
from .store import SegmentStore

__all__ = [
    "Segment",
    "SegmentStore",
    "anchor_colours",
    "blend_in_order",
    "blend_segments",
    "plan_segments",
    "segment_noise",
    "segment_seed",
]
