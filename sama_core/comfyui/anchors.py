"""Anchors: an edited first frame that a run is given, and the models that carry one through a clip.

An anchor is kept by ComfyUI's own noise mask: the LATENT to sample begins with the anchor's latent,
and its mask is 0 there. ComfyUI puts a kept cell back in every step, with that step's noise. Where
the model carries anchors, the noise of the first frame is the frame itself, so that what ComfyUI
puts back is clean at every noise level, as in training (`training.objectives.anchors`).

A model carries anchors if its file's metadata says so, or that of a LoRA that Load SAMA LoRA has
read. ComfyUI's own loaders leave no metadata on the model.
"""

import logging
from collections.abc import Mapping

import node_helpers
import torch
from torch import Tensor

from ..region import FittedClip
from ..weights.names import CARRIES_ANCHORS
from .conditioning import encode_anchor, start_latent

KEY = "sama_anchors"
"""The attachment of a ModelPatcher that carries anchors, and the entry of conditioning with one."""
NOT_CARRIED = (
    "SAMA: this model carries no anchor: only the first frame of the result shows it. Put Load "
    "SAMA LoRA before the model's input, with a LoRA that was trained for anchors; "
    "sama_shapes_anchor.safetensors is one for SAMA-Shapes."
)

log = logging.getLogger(__name__)


def note_metadata(model, metadata: Mapping[str, str] | None) -> bool:
    """Note on `model` (a ModelPatcher) and its clones what a file's metadata says of anchors.

    Returns whether it says that they are carried.
    """
    said = (metadata or {}).get(CARRIES_ANCHORS, "").lower() == "true"
    if said:
        model.set_attachments(KEY, True)
    return said


def carries(model) -> bool:
    """Whether a ModelPatcher, or what it was cloned from, carries anchors."""
    return bool(model.get_attachment(KEY))


def mark(conditioning: list) -> list:
    """`conditioning` of a run that is given an anchor."""
    return node_helpers.conditioning_set_values(conditioning, {KEY: True})


def begin_with(start: dict, source: Tensor, anchor: Tensor) -> dict:
    """The LATENT `start` of a clip, whose latent is `source` (1, C, T, h, w), with its first frame
    kept as that of `anchor` (1, C, 1, h, w)."""
    mask = start.get("noise_mask")
    mask = torch.ones_like(source[:, :1]) if mask is None else mask.clone()
    mask[:, :, :1] = 0
    return {"samples": torch.cat([anchor.to(source), source[:, :, 1:]], 2), "noise_mask": mask}


def start_edit(prompts: list[list], source: Tensor, fitted: FittedClip, vae) -> tuple[list, dict]:
    """Conditioning with the source, and the LATENT to sample: of a clip with an anchor, both say
    so. `source` is the clip's latent."""
    start, given = start_latent(source, fitted), encode_anchor(vae, fitted)
    if given is None:
        return prompts, start
    return [mark(prompt) for prompt in prompts], begin_with(start, source, given)


def is_given(guider) -> bool:
    """Whether a run's conditioning says that it is given an anchor."""
    return any(KEY in entry for entry in guider.conds.get("positive", ()))


def still_noise(guider, noise: Tensor, latent: Tensor) -> Tensor:
    """The `noise` (B, C, T, h, w) of a run that begins at `latent`; that of an anchor is the anchor
    where the model carries it."""
    patcher = guider.model_patcher
    if not (is_given(guider) and carries(patcher)):
        return noise
    clean = patcher.model.process_latent_in(latent)[:, :, :1]
    return torch.cat([clean.to(noise), noise[:, :, 1:]], 2)


def warn(guider) -> str:
    """The warning on an anchor that is not carried, logged; empty without one."""
    if not is_given(guider) or carries(guider.model_patcher):
        return ""
    log.warning(NOT_CARRIED)
    return NOT_CARRIED
