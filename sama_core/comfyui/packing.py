"""The flat tensor that ComfyUI's samplers see: a video latent and its semantic tokens, end to end.

    packed (B, 1, C·T·H·W + S·E)  =  [ video, channel-major | semantic, token-major ]

It is the layout ComfyUI itself packs a NestedTensor of the two into, so every element-wise or
flattening sampler treats both streams alike.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class JointShape(NamedTuple):
    """Shapes of both streams without batch. Plain tuples, so that ComfyUI can carry it as a constant."""

    video: tuple[int, int, int, int]
    """(C, T, H, W)"""
    semantic: tuple[int, int]
    """(S, E)"""

    @classmethod
    def of(cls, video: Tensor, semantic: Tensor) -> "JointShape":
        return cls(tuple(video.shape[1:]), tuple(semantic.shape[1:]))

    @property
    def semantic_size(self) -> int:
        """Elements of the semantic stream."""
        return math.prod(self.semantic)

    def pack(self, video: Tensor, semantic: Tensor) -> Tensor:
        """(B, C, T, H, W) and (B, S, E) → (B, 1, N)."""
        return torch.cat([video.flatten(1), semantic.flatten(1)], dim=1).unsqueeze(1)

    def video_of(self, packed: Tensor) -> Tensor:
        """The video stream (B, C, t, H, W); t follows from the size, so it may be a context window."""
        channels, _, height, width = self.video
        flat = packed[:, 0, : packed.shape[-1] - self.semantic_size]
        return flat.reshape(packed.shape[0], channels, -1, height, width)

    def semantic_of(self, packed: Tensor) -> Tensor:
        """The semantic stream (B, S, E)."""
        return packed[:, 0, packed.shape[-1] - self.semantic_size :].reshape(
            packed.shape[0], *self.semantic
        )

    def unpack(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        return self.video_of(packed), self.semantic_of(packed)

    def with_video(self, packed: Tensor, video: Tensor) -> Tensor:
        """`packed` with its video stream replaced."""
        return self.pack(video, self.semantic_of(packed))


def is_packed(latent: Tensor) -> bool:
    """True for the flat joint state; a plain video latent has five dimensions."""
    return latent.ndim == 3 and latent.shape[1] == 1


_WHOLE = "_sama_whole"


# --- CFG functions -----------------------------------------------------------------------------
def packed_behind(video: Tensor) -> tuple[JointShape, Tensor] | None:
    """The joint shape and packed state that a 5-D view handed to a CFG function was taken from."""
    return getattr(video, _WHOLE, None)
