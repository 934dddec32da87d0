"""An edit of a clip longer than the model sees at once: segment by segment, resumable, one clip in the end."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import comfy.sample
import folder_paths
from torch import Tensor

from ..geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR, ClipShape, pad_frame_count
from ..long import (
    Segment,
    SegmentStore,
    anchor_colours,
    blend_segments,
    noise_tape,
    plan_segments,
    segment_seed,
)
from ..region import fit_mask, paste_back, require_region
from .conditioning import decode_latent, encode_instruction, encode_source
from .distilled import advice
from .edit import EditSettings, checked, sample_edit
from .non_finite import refuse_frames
from .run_identity import RunIdentity
from .stages import Stages

SEGMENT_FRAMES, OVERLAP_FRAMES = 81, 16
STORE_GIB = 8
SEGMENT_SEEDS = ("independent", "consecutive")
_LATENT = "latent"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LongSettings:
    """How a long clip is cut and put together."""

    segment: int = SEGMENT_FRAMES
    """Frames the model sees at once; rounded up to 4k+1."""
    overlap: int = OVERLAP_FRAMES
    """Frames that neighbours share; rounded up to a multiple of 4."""
    anchor: bool = True
    """Hold the colours to the source where the edit changed nothing."""
    seeds: str = SEGMENT_SEEDS[0]
    """One of SEGMENT_SEEDS, see `long.segment_seed`."""

    def of_segment(self, settings: EditSettings, number: int) -> EditSettings:
        """The settings that segment `number` is sampled with: its own seed, for the noise that samplers add too.

        Up to 0.1.0 these were the clip's own, so that what a sampler added repeated itself in every segment.
        """
        if self.seeds == SEGMENT_SEEDS[1]:
            return settings
        return replace(settings, seed=segment_seed(settings.seed, number))


def segment_store(gib: float = STORE_GIB) -> SegmentStore:
    """The store in ComfyUI's user folder, for at most `gib` GiB."""
    return SegmentStore(Path(folder_paths.get_user_directory()) / "sama_segments", int(gib * 2**30))


def edit_long(
    model,
    clip,
    vae,
    images: Tensor,
    settings: EditSettings,
    cut: LongSettings,
    store: SegmentStore | None,
    say: Callable[[str], None] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Edit fitted frames (4k+1, H, W, 3) of any length → frames of the same shape.

    Segments that `store` holds are not computed again; None keeps and uses none. With a `mask` only what it touches is
    sampled, and pixels where it is 0 come back bit for bit. Everything that can be wrong is checked before the first
    weight is used.
    """
    model, images = checked(model, vae, images), images[..., :3]
    mask = None if mask is None else require_region(fit_mask(mask, *images.shape[:3]))
    latents = ClipShape(*images.shape[:3]).latent().frames
    length = (pad_frame_count(cut.segment) - 1) // TEMPORAL_FACTOR + 1
    segments = plan_segments(latents, length, -(-cut.overlap // TEMPORAL_FACTOR))
    stages = Stages(
        settings.steps, len(segments), say, advice(model, settings.steps, settings.cfg), decodings=1
    )
    with stages.stage("reading the instruction"):
        prompts = encode_instruction(clip, settings.instruction, settings.tag)
    sampled = _sampled(model, vae, images, mask, prompts, settings, cut, segments, store, stages)
    whole = blend_segments(sampled, latents)
    with stages.stage("decoding"):
        frames = decode_latent(vae, whole, settings.tiling)
    refuse_frames(frames)
    frames = anchor_colours(frames, images) if cut.anchor else frames
    return frames if mask is None else paste_back(images, frames, mask)


def _sampled(
    model,
    vae,
    images: Tensor,
    mask: Tensor | None,
    prompts: tuple[list, list],
    settings: EditSettings,
    cut: LongSettings,
    segments: list[Segment],
    store: SegmentStore | None,
    stages: Stages,
) -> Iterator[tuple[Segment, Tensor]]:
    """The segments' latents in order, from the store where it has them."""
    consecutive = cut.seeds == SEGMENT_SEEDS[1]
    noise = noise_tape(
        segments,
        lambda number: _noise(
            segments[number], images, segment_seed(settings.seed, number, consecutive)
        ),
    )
    identity = store and RunIdentity(model, vae, prompts, astuple(settings), settings.sampler_name)
    for number, segment in enumerate(segments):
        frames, own_noise = images[segment.frames], noise[:, :, segment.first : segment.end]
        own_mask = None if mask is None else mask[segment.frames]
        unkept = f" (not kept: {identity.why_not})" if identity and identity.why_not else ""
        stages.note = f"segment {number + 1} of {len(segments)}{unkept}"
        if own_mask is not None and not own_mask.any():
            stages.skip()
            yield segment, encode_source(vae, frames, settings.tiling)
            continue
        own_settings = cut.of_segment(settings, number)
        key = identity and identity.key(frames, own_noise, own_mask, astuple(own_settings))
        kept = key and store.get(key)
        if kept is not None:
            stages.skip()
            log.info("SAMA: %s was kept", stages.note)
            yield segment, kept[_LATENT]
            continue
        with identity.as_found() if identity else contextlib.nullcontext():
            latent = sample_edit(
                model, vae, frames, prompts, own_settings, stages, own_noise, own_mask
            )
        if key:
            store.put(
                key,
                {_LATENT: latent},
                {"instruction": settings.instruction, "segment": stages.note},
            )
        yield segment, latent


def _noise(segment: Segment, images: Tensor, seed: int) -> Tensor:
    height, width = (side // SPATIAL_FACTOR for side in images.shape[1:3])
    return comfy.sample.prepare_noise(images.new_zeros(1, 16, segment.latents, height, width), seed)
