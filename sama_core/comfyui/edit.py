"""A whole edit, stage by stage: instruction → source latent → sampling → frames.

SAMA Edit and SAMA Anchor Preview are this; the separate nodes are its parts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import comfy.sample
import comfy.samplers
import comfy.utils
from torch import Tensor

from ..geometry import ClipShape
from ..model.schedule import DEFAULT_CFG, DEFAULT_SHIFT, DEFAULT_STEPS, flow_sigmas
from ..region import fit_mask, paste_back, require_region
from .attention_backends import refuse_sparse
from .conditioning import (
    TILINGS,
    attach_source,
    decode_latent,
    empty_latent,
    encode_instruction,
    encode_source,
    masked_latent,
    require_wan_vae,
)
from .distilled import advice
from .joint_state import prepare
from .non_finite import refuse_frames
from .stages import Stages

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EditSettings:
    """What is asked of an edit, apart from model and clip."""

    instruction: str
    """What to change, in plain words."""
    seed: int = 0
    """Seed of the video noise and of the semantic noise."""
    steps: int = DEFAULT_STEPS
    """Sampling steps."""
    cfg: float = DEFAULT_CFG
    """Guidance strength; 1 samples the instruction alone, twice as fast."""
    shift: float = DEFAULT_SHIFT
    """Schedule shift."""
    sampler_name: str = "euler"
    """One of ComfyUI's samplers."""
    tag: bool = True
    """Put the trained tag `[Video edit]` before the instruction."""
    tiling: str = TILINGS[0]
    """How the VAE tiles, see `conditioning.encode_source`."""


def edit_clip(
    model,
    clip,
    vae,
    images: Tensor,
    settings: EditSettings,
    say: Callable[[str], None] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Edit fitted frames (4k+1, H, W, 3) as the instruction says → frames of the same shape.

    With a `mask` only what it touches is sampled, and pixels where it is 0 come back bit for bit.
    Everything that can be wrong is checked before the first weight is used.
    """
    model, images = checked(model, vae, images), images[..., :3]
    if mask is not None:
        mask = require_region(fit_mask(mask, *images.shape[:3]))
    stages = Stages(settings.steps, say=say, advice=advice(model, settings.steps, settings.cfg))
    with stages.stage("reading the instruction"):
        prompts = encode_instruction(clip, settings.instruction, settings.tag)
    return _edit(model, vae, images, prompts, settings, stages, mask)


def checked(model, vae, images: Tensor):
    """The model, prepared. Raises SamaError for a model, VAE or frames that do not fit, before any weight is used."""
    require_wan_vae(vae)
    frames, height, width = images.shape[:3]
    ClipShape(frames, height, width).latent()
    model = prepare(model)
    refuse_sparse(model)
    return model


def _edit(
    model,
    vae,
    images: Tensor,
    prompts: tuple[list, list],
    settings: EditSettings,
    stages: Stages,
    mask: Tensor | None = None,
) -> Tensor:
    latent = sample_edit(model, vae, images, prompts, settings, stages, mask=mask)
    with stages.stage("decoding"):
        frames = decode_latent(vae, latent, settings.tiling)
    refuse_frames(frames)
    return frames if mask is None else paste_back(images, frames, mask)


def sample_edit(
    model,
    vae,
    images: Tensor,
    prompts: tuple[list, list],
    settings: EditSettings,
    stages: Stages,
    noise: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The edited latent (1, 16, T, H/8, W/8) of fitted frames; `noise` like it, or the seed's own.

    Cells that `mask` (F, H, W) does not touch keep the source's latent.
    """
    with stages.stage("encoding the source"):
        source = encode_source(vae, images, settings.tiling)
    positive, negative = (attach_source(prompt, source) for prompt in prompts)
    with stages.stage("sampling"):
        start = empty_latent(source) if mask is None else masked_latent(source, mask)
        latent = start["samples"]
        return comfy.sample.sample_custom(
            model,
            comfy.sample.prepare_noise(latent, settings.seed) if noise is None else noise,
            settings.cfg,
            comfy.samplers.sampler_object(settings.sampler_name),
            flow_sigmas(settings.steps, settings.shift),
            positive,
            negative,
            latent,
            start.get("noise_mask"),
            callback=stages.on_step(model),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=settings.seed,
        )
