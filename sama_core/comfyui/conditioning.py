"""Instruction and source video → conditioning and latents for ComfyUI's samplers, and back."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import comfy.ldm.wan.vae
import node_helpers
import torch
from torch import Tensor

from ..encoders.latent_space import Tiles, blend_tiles, tile_boxes
from ..errors import ConditioningError, needed
from ..geometry import WAN_21, Lattice
from ..region import FittedClip, latent_mask
from ..text import EDIT_TAG, MAX_TOKENS, add_tag, escape_weights, require_instruction

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
    vae,
    fitted: FittedClip,
    tiling: str = TILINGS[0],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The clip's frames → latent (1, 16, T, H/8, W/8), not normalised, as ComfyUI's are.

    `vae` is one that `require_wan_vae` accepts. "automatic" is ComfyUI's choice (whole clip, tiles
    when memory runs out); "reference tiles" are the release's 30×52 tiles. `report(done, total)`
    is told of frames as they are encoded, and may raise.
    """
    frames = fitted.frames
    if tiling == TILINGS[0]:
        with _count_frames(vae, len(frames), 1, report):
            return vae.encode(frames)
    cells = (side // fitted.lattice.spatial for side in frames.shape[1:3])
    with _count_frames(vae, len(frames), len(tile_boxes(*cells, Tiles())), report):
        return blend_tiles(
            lambda tile: vae.encode(tile[0].movedim(0, -1)),
            frames.movedim(-1, 0).unsqueeze(0),
            Tiles(),
            encode=True,
            lattice=fitted.lattice,
        )


@contextmanager
def _count_frames(
    vae, count: int, tiles: int, report: Callable[[int, int], None]
) -> Iterator[None]:
    """Reports how many of a clip's `count` frames the encoder has taken, in each of the tiles.

    Where ComfyUI itself goes over to tiles, the count is full before the work is done.
    """
    taken = 0

    def count_more(_encoder, given, _out) -> None:
        nonlocal taken
        taken += given[0].shape[2]
        report(min(taken // tiles, count), count)

    hook = vae.first_stage_model.encoder.register_forward_hook(count_more)
    try:
        yield
    finally:
        hook.remove()


def decode_latent(
    vae, latent: Tensor, tiling: str = TILINGS[0], lattice: Lattice = WAN_21
) -> Tensor:
    """Latent (1, 16, T, h, w) → frames (F, 8h, 8w, 3) in 0…1; `lattice` may say other factors.

    Deviation: with reference tiles each tile is clamped before blending, because ComfyUI's VAE
    clamps what it returns; the release clamps after.
    """
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
