"""The two streams of a SAMA latent, video and semantic tokens, in the forms that ComfyUI can carry.

While a sampler runs, both lie in one flat tensor, the packed state:

    packed (B, 1, C·T·H·W + S·E)  =  [ video, channel-major | semantic, token-major ]

It is the layout into which ComfyUI itself packs a NestedTensor of the two, so every element-wise or
flattening sampler treats both streams alike. A node that expects a video gets a 5-D view, which
remembers the packed state behind it.

Between samplers a LATENT holds the plain video (B, C, T, H, W), and the semantic latents (B, S, E)
are an attribute of that tensor. Most nodes that change a latent drop it; SAMA Split Latent and SAMA
Join Latent take the tokens off and put them back.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ConditioningError, needed

_PACKED = "_sama_whole"
_SEMANTIC = "_sama_semantic"


class JointShape(NamedTuple):
    """Shapes of both streams without batch. Plain tuples, so that ComfyUI can carry them."""

    video: tuple[int, int, int, int]
    """(C, T, H, W)"""
    semantic: tuple[int, int]
    """(S, E)"""

    @classmethod
    def of(cls, video: Tensor, semantic: Tensor) -> "JointShape":
        """The shape of (B, C, T, H, W) and (B, S, E)."""
        return cls(tuple(video.shape[1:]), tuple(semantic.shape[1:]))

    @property
    def semantic_size(self) -> int:
        """Elements of the semantic stream."""
        return math.prod(self.semantic)

    def pack(self, video: Tensor, semantic: Tensor) -> Tensor:
        """(B, C, T, H, W) and (B, S, E) → (B, 1, N)."""
        return torch.cat([video.flatten(1), semantic.flatten(1)], dim=1).unsqueeze(1)

    def video_of(self, packed: Tensor) -> Tensor:
        """The video stream (B, C, t, H, W); t follows from the size, because of context windows."""
        channels, _, height, width = self.video
        flat = packed[:, 0, : packed.shape[-1] - self.semantic_size]
        return flat.reshape(packed.shape[0], channels, -1, height, width)

    def semantic_of(self, packed: Tensor) -> Tensor:
        """The semantic stream (B, S, E)."""
        return packed[:, 0, packed.shape[-1] - self.semantic_size :].reshape(
            packed.shape[0], *self.semantic
        )

    def unpack(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, N) → (B, C, T, H, W) and (B, S, E)."""
        return self.video_of(packed), self.semantic_of(packed)

    def with_video(self, packed: Tensor, video: Tensor) -> Tensor:
        """`packed` with its video stream replaced."""
        return self.pack(video, self.semantic_of(packed))

    def view_video(self, packed: Tensor) -> Tensor:
        """The video stream, which remembers the packed state: see `find_packed`."""
        video = self.video_of(packed)
        setattr(video, _PACKED, (self, packed))
        return video


def is_packed(latent: Tensor) -> bool:
    """True for the packed state; a plain video latent has five dimensions."""
    return latent.ndim == 3 and latent.shape[1] == 1


def find_packed(video: Tensor) -> tuple[JointShape, Tensor] | None:
    """The joint shape and packed state behind a `JointShape.view_video`; None for other tensors."""
    return getattr(video, _PACKED, None)


# --- between samplers ----------------------------------------------------------------------------
def carried_semantic(latent: Tensor) -> Tensor | None:
    """The semantic latents (B, S, E) that a SAMA sampler attached to its video latent."""
    return getattr(latent, _SEMANTIC, None)


def attach_semantic(latent: Tensor, semantic: Tensor) -> Tensor:
    """A view of `latent` carrying `semantic`; the given tensor is not changed."""
    latent = latent.view_as(latent)
    setattr(latent, _SEMANTIC, semantic)
    return latent


def fit_semantic(carried: Tensor, batch: int, size: tuple[int, int]) -> Tensor:
    """Carried tokens for `batch` clips: repeated or cut.

    Raises ConditioningError where their `size` (S, E) is not the model's.
    """
    if tuple(carried.shape[1:]) != size:
        raise ConditioningError(
            needed(
                "semantic tokens",
                list(carried.shape[1:]),
                f"{list(size)} for this model",
                "Join tokens that the same SAMA model made.",
            )
        )
    if carried.shape[0] == batch:
        return carried
    return carried.repeat(-(-batch // carried.shape[0]), 1, 1)[:batch]


def split_latent(latent: dict) -> tuple[dict, Tensor]:
    """A LATENT without semantics, and its semantic latents (B, S, E); NestedTensors too are split.

    Raises ConditioningError if there are none.
    """
    samples = latent["samples"]
    if getattr(samples, "is_nested", False):
        video, semantic = samples.unbind()
    else:
        video, semantic = samples.view_as(samples), carried_semantic(samples)
    if semantic is None:
        raise ConditioningError(
            needed(
                "latent",
                "a latent without semantic tokens",
                "one straight from a SAMA sampler",
                "Connect the sampler's own output, before any node that changes the latent.",
            )
        )
    return {**latent, "samples": video}, semantic


def join_latent(latent: dict, semantic: Tensor) -> dict:
    """The LATENT with semantics attached, for the next sampler; of a NestedTensor its video."""
    samples = latent["samples"]
    video = samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
    return {**latent, "samples": attach_semantic(video, semantic)}
