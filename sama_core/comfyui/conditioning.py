"""Instruction and source video → conditioning and latents for ComfyUI's samplers, and back."""

import logging

import comfy.ldm.wan.vae
import node_helpers
import torch
from torch import Tensor

from ..encoders.latent_space import Tiles, blend_tiles, tile_boxes
from ..errors import ConditioningError, needed
from ..geometry import WAN_21, Lattice
from ..region import FittedClip, latent_mask
from ..text import EDIT_TAG, MAX_TOKENS, add_tag, escape_weights, require_instruction
from .vae_frames import Report, count_frames, ignore_frames

TEXT_ENCODER = "umt5xxl"
TILINGS = ("automatic", "reference tiles")
_KNOWN_ENCODERS = {
    "t5xxl": "a T5-XXL (Flux, SD3)",
    "l": "a CLIP-L",
    "g": "a CLIP-G",
    "llama": "a Llama",
}

log = logging.getLogger(__name__)


def encode_instruction(clip, instruction: str, tag: bool = True) -> tuple[list, list]:
    """Positive and negative conditioning for an instruction, as SAMA was trained.

    Positive is `[Video edit] <instruction>`, negative the bare tag; without `tag` the instruction
    alone and an empty text. Raises ConditioningError for an empty instruction or another encoder.
    """
    text = require_instruction(instruction)
    positive, negative = (add_tag(text), EDIT_TAG) if tag else (text, "")
    return _encode(clip, positive), _encode(clip, negative)


def _encode(clip, text: str) -> list:
    tokens = clip.tokenize(escape_weights(text))
    if list(tokens) != [TEXT_ENCODER]:
        got = ", ".join(_KNOWN_ENCODERS.get(name, f"a '{name}'") for name in tokens)
        raise ConditioningError(
            needed(
                "text encoder",
                f"{got} encoder",
                "umT5-xxl, Wan 2.1's text encoder",
                "Load umt5_xxl_fp16 or umt5_xxl_fp8_e4m3fn_scaled.safetensors.",
            )
        )
    return clip.encode_from_tokens_scheduled(
        {name: [_truncate(row) for row in rows] for name, rows in tokens.items()}
    )


def _truncate(row: list) -> list:
    """At most 512 tokens, the last of them the end token, as the reference tokenizer truncates."""
    if len(row) <= MAX_TOKENS:
        return row
    log.warning(
        "SAMA: the instruction has %d tokens; the model reads the first %d.",
        len(row) - 1,
        MAX_TOKENS - 1,
    )
    return [*row[: MAX_TOKENS - 1], row[-1]]


def encode_source(
    vae, fitted: FittedClip, tiling: str = TILINGS[0], report: Report = ignore_frames
) -> Tensor:
    """The clip's frames → latent (1, 16, T, H/8, W/8), not normalised, as ComfyUI's are.

    `vae` is one that `require_wan_vae` accepts. "automatic" is ComfyUI's choice (whole clip, tiles
    when memory runs out); "reference tiles" are the release's 30×52 tiles. `report` is told of
    frames as they are encoded.
    """
    frames, factor = fitted.frames, fitted.lattice.spatial
    height, width = (side // factor for side in frames.shape[1:3])
    sizes = [(rows * factor, columns * factor) for rows, columns in _sizes(height, width, tiling)]
    with count_frames(vae.first_stage_model.encoder, len(frames), sizes, report):
        if tiling == TILINGS[0]:
            return vae.encode(frames)
        return blend_tiles(
            lambda tile: vae.encode(tile[0].movedim(0, -1)),
            frames.movedim(-1, 0).unsqueeze(0),
            Tiles(),
            encode=True,
            lattice=fitted.lattice,
        )


def decode_latent(
    vae,
    latent: Tensor,
    tiling: str = TILINGS[0],
    lattice: Lattice = WAN_21,
    report: Report = ignore_frames,
) -> Tensor:
    """Latent (1, 16, T, h, w) → frames (F, 8h, 8w, 3) in 0…1; `lattice` may say other factors, and
    `report` is told of frames as they are decoded.

    Deviation: with reference tiles each tile is clamped before blending, because ComfyUI's VAE
    clamps what it returns; the release clamps after.
    """
    count, sizes = lattice.frames_of(latent.shape[2]), _sizes(*latent.shape[3:], tiling)
    with count_frames(vae.first_stage_model.decoder, count, sizes, report):
        if tiling == TILINGS[0]:
            return vae.decode(latent).flatten(0, 1)
        blended = blend_tiles(
            lambda tile: vae.decode(tile).movedim(-1, 1),
            latent,
            Tiles(),
            encode=False,
            lattice=lattice,
        )
    return blended[0].movedim(0, -1)


def _sizes(height: int, width: int, tiling: str) -> list[tuple[int, int]]:
    """Height and width of each call of the VAE for a latent of (height, width), in its units."""
    if tiling == TILINGS[0]:
        return [(height, width)]
    return [
        (min(bottom, height) - top, min(right, width) - left)
        for top, bottom, left, right in tile_boxes(height, width, Tiles())
    ]


def attach_source(conditioning: list, latent: Tensor) -> list:
    """`conditioning` with the source latent as its only reference latent."""
    return node_helpers.conditioning_set_values(conditioning, {"reference_latents": [latent]})


def start_latent(source: Tensor, fitted: FittedClip) -> dict:
    """The LATENT to sample an edit of a clip into, whose latent is `source`: empty without a mask.

    With the clip's mask it is the source, and a noise mask over its cells: ComfyUI's samplers put
    the source back outside of it, with each step's noise, and clean at the end.
    """
    if fitted.mask is None:
        return {"samples": torch.zeros_like(source)}
    return {"samples": source, "noise_mask": latent_mask(fitted.mask, fitted.lattice)}


def encode_anchor(vae, fitted: FittedClip) -> Tensor | None:
    """The latent (1, 16, 1, H/8, W/8) of a clip's anchor; None where it has none."""
    return None if fitted.anchor is None else vae.encode(fitted.anchor)


def lattice_of_vae(vae) -> Lattice:
    """How one of ComfyUI's video VAEs divides a clip, with the patches of Wan's models."""
    return Lattice(
        vae.latent_channels,
        vae.spacial_compression_encode(),
        vae.temporal_compression_decode(),
        WAN_21.patch,
    )


def require_wan_vae(vae) -> None:
    """Raises ConditioningError for another VAE than Wan 2.1's.

    Other VAEs share its sizes and would give a wrong video.
    """
    core = getattr(vae, "first_stage_model", None)
    if not isinstance(core, comfy.ldm.wan.vae.WanVAE):
        named = {
            (48, 3): "a Wan 2.2 VAE",
            (4, 2): "a Stable Diffusion VAE",
            (16, 2): "an image VAE (Flux, SD3)",
        }
        channels, dimensions = (
            getattr(vae, "latent_channels", None),
            getattr(vae, "latent_dim", None),
        )
        kind = named.get(
            (channels, dimensions), f"another VAE ({type(core).__name__}, {channels} channels)"
        )
        raise ConditioningError(
            needed("VAE", kind, "the Wan 2.1 video VAE", "Load wan_2.1_vae.safetensors.")
        )
