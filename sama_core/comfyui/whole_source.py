"""The clip of an edit of a whole video, and its mask: looked at once, read as it is needed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import comfy.model_management
from comfy_api.latest import Input
from torch import Tensor

from ..clip import ClipInfo, ClipRange, Fit, OwnSound, Seconds, measure_clip
from ..clip.pairs import Take
from ..errors import RegionError, needed
from ..geometry import ClipShape, LatentShape, Lattice
from ..region import MaskBatch, MaskVideo, MaskWalk
from .node_progress import keep_remark
from .video import Opened, open_video, resolve_range

log = logging.getLogger(__name__)

Say = Callable[[str], object]


@dataclass(frozen=True)
class WholeSource:
    """A clip that was looked at once."""

    opened: Opened
    """What it is read from."""
    info: ClipInfo
    """Its record."""
    sound: OwnSound
    """Its sound."""
    masks: MaskWalk
    """Where it may change."""
    lattice: Lattice
    """The model's."""

    @classmethod
    def open(
        cls,
        video: Input.Video,
        clip_range: ClipRange,
        area: int,
        fit: Fit,
        lattice: Lattice,
        say: Say | None,
        mask: Tensor | None,
        mask_video: Input.Video | None,
    ) -> "WholeSource":
        """Raises ClipError for a clip that cannot be read, RegionError for a mask that does not
        fit it.
        """
        if mask is not None and mask_video is not None:
            got, fix = "a MASK and a mask video", "Disconnect one of them."
            raise RegionError(needed("mask", got, "one of the two", fix))
        found, report = open_video(video), _report(say, "reading the clip")
        wanted = resolve_range(found, clip_range, Seconds())
        info = measure_clip(found.source, wanted, area, report, fit, lattice=lattice)
        stop = comfy.model_management.throw_exception_if_processing_interrupted
        sound = OwnSound.of(info, stop, found.held_audio(info))
        masks = MaskWalk()
        if mask is not None:
            masks = MaskBatch(mask, info, lattice)
        if mask_video is not None:
            beside = open_video(mask_video)
            part = resolve_range(beside, clip_range, Seconds())
            report = _report(say, "reading the mask")
            masks = MaskVideo(beside.source, part, info, lattice, report)
        for text in filter(None, (*info.remarks(), sound.heard.remark)):
            log.warning("SAMA Edit Whole Video: %s", text)
            keep_remark(text)
        return cls(found, info, sound, masks, lattice)

    @property
    def take(self) -> Take:
        """The part that is edited, for comparisons."""
        return self.opened.take(self.info.clip_range)

    @property
    def latent(self) -> LatentShape:
        """Shape of the whole clip's latent. Raises GeometryError for sizes the model refuses."""
        info = self.info
        size = info.padded_count, info.fitted_height, info.fitted_width
        return ClipShape(*size, self.lattice).latent()

    def may_change(self, frames: slice) -> bool:
        """Whether the mask lets anything of these frames change."""
        mask = self.masks.take(frames)
        return mask is None or bool(mask.any())

    @cached_property
    def digest(self) -> str:
        """Tells what is edited from everything else."""
        info = self.info
        parts = info.source.digest(), info.clip_range, info.placement, self.masks.digest
        return " ".join(map(str, (*parts, self.sound.digest())))


def _report(say: Say | None, what: str) -> Callable[[int, int], None]:
    """Shows the frames that are done; raises when the user interrupts."""

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if say is not None and done % 100 == 0:
            say(f"SAMA: {what}, frame {done}" + (f" of {total}" if total >= done else ""))

    return report
