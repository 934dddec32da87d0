"""An edit of a clip longer than the model sees at once: in segments, resumable, blended.

`sama_core.long` cuts and blends; here the segments are sampled, and kept on disk between runs.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import comfy.sample
import folder_paths
import torch
from torch import Tensor

from ..geometry import LatentShape, pad_frame_count
from ..long import (
    Segment,
    SegmentStore,
    anchor_colours,
    blend_segments,
    plan_segments,
    segment_noise,
    segment_seed,
)
from ..plan.whole_clip import OVERLAP_FRAMES
from ..region import FittedClip
from ..released_files import SAMA_14B
from .conditioning import encode_source
from .edit import EditRun, EditSettings, paste_outside
from .model import lattice_of_model
from .run_identity import RunIdentity

SEGMENT_FRAMES = SAMA_14B.frames
STORE_GIB = 8
SEGMENT_SEEDS = ("independent", "consecutive")
_LATENT = "latent"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LongSettings:
    """How a long clip is cut and put together."""

    segment: int = SEGMENT_FRAMES
    """Frames the model sees at once; rounded up to what it takes, such as 4k+1."""
    overlap: int = OVERLAP_FRAMES
    """Frames that neighbours share; rounded up to whole latent frames, such as 4 frames."""
    anchor: bool = True
    """Hold the colours to the source where the edit changed nothing; see `holds_colours`."""
    seeds: str = SEGMENT_SEEDS[0]
    """One of SEGMENT_SEEDS, see `long.segment_seed`."""

    def plan(self, clip: LatentShape) -> list[Segment]:
        """The segments of a whole clip. Raises an error of `plan_segments`."""
        lattice = clip.lattice
        length = lattice.latents_of(pad_frame_count(self.segment, lattice))
        overlap = -(-self.overlap // lattice.temporal)
        return plan_segments(clip.frames, length, overlap, lattice)

    def holds_colours(self, segments: list[Segment]) -> bool:
        """Whether colours are held: one segment has no others to drift from, and is a plain edit,
        bit for bit that of `edit_clip`.
        """
        return self.anchor and len(segments) > 1

    def sampler_seed(self, seed: int, number: int) -> int:
        """The seed of segment `number`, for the noise that samplers add while they work.

        With consecutive seeds, as up to version 0.1.0, it is the clip's own `seed`, so that what a
        sampler adds is the same in every segment.
        """
        return seed if self.seeds == SEGMENT_SEEDS[1] else segment_seed(seed, number)

    def noise_seed(self, seed: int, number: int) -> int:
        """The seed of the noise that segment `number` starts from."""
        return segment_seed(seed, number, self.seeds == SEGMENT_SEEDS[1])


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
    say: Callable[[str], object] | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Edit fitted frames (4k+1, H, W, 3) of any length → frames of the same shape.

    Segments that `store` holds are not computed again; without a store none are kept or used. With
    a `mask` only what it touches is sampled, and pixels where it is 0 come back bit for bit.
    Raises SamaError before the first weight is used for everything that can be checked.
    """
    source = FittedClip.check(images, mask, lattice_of_model(model))
    segments = cut.plan(source.latent)
    run = EditRun.prepare(model, clip, vae, settings, say, len(segments), decodings=1)
    latent = blend_segments(
        LongRun(run, source, cut, segments, store).latents(), source.latent.frames
    )
    run.stages.note = ""  # of the last segment
    frames = run.decode(latent)
    frames = anchor_colours(frames, source.frames) if cut.holds_colours(segments) else frames
    return paste_outside(source, frames)


class SegmentSampler:
    """Samples the segments of one clip, each from its own frames."""

    def __init__(
        self, run: EditRun, whole: LatentShape, cut: LongSettings, segments: list[Segment]
    ):
        """`whole` is the clip's latent, `segments` are those of `cut.plan`."""
        self.run, self.whole, self.cut, self.segments = run, whole, cut, segments
        self._drawn: dict[int, Tensor] = {}

    def seed(self, number: int) -> int:
        """The sampler's own seed for segment `number`."""
        return self.cut.sampler_seed(self.run.settings.seed, number)

    def noise(self, number: int) -> Tensor:
        """What segment `number` starts from, (1, 16, T, H/8, W/8)."""
        first = self.segments[number].first
        self._drawn = {
            index: own for index, own in self._drawn.items() if self.segments[index].end > first
        }
        return segment_noise(self.segments, number, self._draw_noise)

    def sample(self, number: int, part: FittedClip, identity: RunIdentity | None) -> Tensor:
        """The edited latent of segment `number`, whose frames are `part`.

        `identity` puts back what the sampling changes on the model.
        """
        with identity.as_found() if identity else contextlib.nullcontext():
            return self.run.sample(part, self.noise(number), self.seed(number))

    def is_untouched(self, part: FittedClip) -> bool:
        """Whether its mask lets nothing of a segment change."""
        return part.mask is not None and not bool(part.mask.any())

    def keep_source(self, part: FittedClip) -> Tensor:
        """The source's own latent, for a segment in which nothing changes."""
        stages, name = self.run.stages, "encoding the source"
        stages.skip()
        stages.say(name)
        tiling = self.run.settings.tiling
        return encode_source(self.run.vae, part, tiling, stages.count_frames(name))

    def _draw_noise(self, number: int) -> Tensor:
        """The own noise of segment `number`, as long as the segment; drawn once."""
        if number not in self._drawn:
            whole, own = self.whole, self.segments[number].latents
            size = (whole.lattice.channels, own, whole.height, whole.width)
            self._drawn[number] = comfy.sample.prepare_noise(
                torch.zeros(1, *size), self.cut.noise_seed(self.run.settings.seed, number)
            )
        return self._drawn[number]


class LongRun:
    """One long edit: samples its segments, or takes them from the store."""

    def __init__(
        self,
        run: EditRun,
        source: FittedClip,
        cut: LongSettings,
        segments: list[Segment],
        store: SegmentStore | None,
    ):
        """`source` is the whole clip, `segments` are those of `cut.plan`."""
        self.run, self.source, self.store = run, source, store
        self.sampler = SegmentSampler(run, source.latent, cut, segments)
        if others := len(store.of_other_versions()) if store else 0:
            log.info(
                "SAMA: kept segments that are of another version and are not used: %d. "
                "SAMA Segment Store removes them when asked.",
                others,
            )
        self.identity = store and identify(run)

    def latents(self) -> Iterator[tuple[Segment, Tensor]]:
        """The segments in order, with their edited latents (1, 16, T, H/8, W/8)."""
        segments = self.sampler.segments
        for number, segment in enumerate(segments):
            self.run.stages.note = f"segment {number + 1} of {len(segments)}"
            if self.identity:
                self.run.stages.note += self.identity.remark
            yield segment, self._latent(number, segment)

    def _latent(self, number: int, segment: Segment) -> Tensor:
        """A segment's latent: the source's where the mask is black, the store's, or a new one."""
        run, part = self.run, self.source.part(segment.frames)
        if self.sampler.is_untouched(part):
            return self.sampler.keep_source(part)
        seed = self.sampler.seed(number)
        key = self.identity and self.identity.key(
            part.frames,
            self.sampler.noise(number),
            part.mask,
            astuple(replace(run.settings, seed=seed)),
        )
        stored = key and self.store.get(key)
        if stored is not None:
            run.stages.skip()
            log.info("SAMA: %s was kept", run.stages.note)
            return stored[_LATENT]
        latent = self.sampler.sample(number, part, self.identity)
        if key:
            about = {"instruction": run.settings.instruction, "segment": run.stages.note}
            self.store.put(key, {_LATENT: latent}, about)
        return latent


def identify(run: EditRun) -> RunIdentity:
    """What an edit depends on, apart from the clip."""
    return RunIdentity(
        run.model, run.vae, run.prompts, astuple(run.settings), run.settings.sampler_name
    )
