"""TODO."""

import comfy.conds
import comfy.model_management
from torch import Tensor

from ..errors import ConditioningError, needed

_ATTRIBUTE = "_sama_semantic"


_LOST = (
    "SAMA: this sampler continues a run, but the latent carries no semantic tokens, so they restart from zero. "
    "Connect the samplers directly, or keep the tokens with SAMA Split Latent and SAMA Join Latent."
)


_NEVER_HAD = (
    "SAMA: this run starts below full noise, and the latent carries no semantic tokens of an earlier run: "
    "they start from noise alone."
)


def carried_semantic(latent: Tensor) -> Tensor | None:
    """The semantic latents (B, S, E) that a SAMA sampler attached to its video latent."""
    return getattr(latent, _ATTRIBUTE, None)


def attach_semantic(latent: Tensor, semantic: Tensor) -> Tensor:
    """A view of `latent` carrying `semantic`; the tensor given stays as it is."""
    latent = latent.view_as(latent)
    setattr(latent, _ATTRIBUTE, semantic)
    return latent


def _lost_tokens(guider, sigmas: Tensor, silent: bool) -> str:
    """What a run without carried tokens has to say: nothing where it starts at full noise."""
    if silent:
        return _LOST
    below = sigmas[0] < guider.model_patcher.get_model_object("model_sampling").sigma_max
    return _NEVER_HAD if below else ""


def _fit_carried(carried: Tensor, batch: int, size: tuple[int, int]) -> Tensor:
    if tuple(carried.shape[1:]) != size:
        raise ConditioningError(
            needed(
                "semantic tokens",
                list(carried.shape[1:]),
                f"{list(size)} for this model",
                "Join tokens that the same SAMA model made.",
            )
        )
    return (
        carried
        if carried.shape[0] == batch
        else carried.repeat(-(-batch // carried.shape[0]), 1, 1)[:batch]
    )


def _as_intermediate(x: Tensor) -> Tensor:
    """On the device and in the dtype samplers return, so that core's own `.to` keeps the very tensor."""
    dtype = getattr(comfy.model_management, "intermediate_dtype", lambda: x.dtype)()
    return x.to(device=comfy.model_management.intermediate_device(), dtype=dtype)


# --- for the split and join nodes --------------------------------------------------------------
def split_latent(latent: dict) -> tuple[dict, Tensor]:
    """A LATENT without semantics, and its semantic latents (B, S, E). A NestedTensor is taken apart too.

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
    """The LATENT with semantics attached, for the next sampler. Of a NestedTensor the video is taken."""
    samples = latent["samples"]
    video = samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
    return {**latent, "samples": attach_semantic(video, semantic)}
