"""An edit of a whole video, from VIDEO to VIDEO, in memory that does not grow with its length.

    measure  the clip is decoded once for its times; its sound is listened to
    sample   segment by segment: read, fit, encode, sample; latents go to disk
    decode   step by step into encoded pieces of the result, see `whole_decode`
    join     the pieces' packets and the clip's sound become one file

What is finished stays on disk until the result is saved: an edit that was broken off anywhere goes
on there when it is queued again, and gives the same file.
"""

import contextlib
import logging
import shutil
import uuid
from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path

import comfy.model_management
import folder_paths
from comfy_api.latest import Input
from torch import Tensor

from ..clip import (
    ClipInfo,
    ClipRange,
    Fit,
    FrameWalk,
    OwnSound,
    Seconds,
    join_pieces,
    measure_clip,
    require_unchanged,
)
from ..clip.save import Encoding
from ..errors import ClipError, RegionError, needed
from ..geometry import ClipShape, LatentShape, Lattice
from ..long import Segment
from ..long.whole_job import WholeJob
from ..region import FittedClip, MaskBatch, MaskVideo, MaskWalk
from .edit import EditRun, EditSettings
from .long_edit import LongSettings, SegmentSampler, identify
from .model import lattice_of_model
from .node_progress import keep_remark
from .video import open_video, resolve_range
from .whole_decode import PieceMaker, plan_pieces
from .whole_result import WholeVideo

FOLDER = "sama_whole_videos"
"""In ComfyUI's user folder: the jobs of edits that are not finished, or not saved."""
BITS_PER_PIXEL = Fraction(1, 2)
"""Of a result, as a rule; noisy clips take more."""
LEAST_BITS_PER_PIXEL = Fraction(1, 25)
"""Of any real clip."""

log = logging.getLogger(__name__)

Say = Callable[[str], object]


@dataclass(frozen=True)
class WholeSettings:
    """Which part of a video is edited, at which size, and how the result is encoded."""

    clip_range: ClipRange
    """Frames; a trimmed VIDEO is counted from where it begins."""
    area: int
    """Pixels of the model's frames."""
    fit: Fit = Fit.CROP
    """How the picture is fitted."""
    crf: float = Encoding.crf
    """Quality of H.264, see `Encoding`."""
    keep: bool = False
    """Keep the sampled segments after the result is there."""


def edit_whole(
    model,
    clip,
    vae,
    video: Input.Video,
    settings: EditSettings,
    cut: LongSettings,
    whole: WholeSettings,
    say: Say | None = None,
    mask: Tensor | None = None,
    mask_video: Input.Video | None = None,
    check: Callable[[ClipInfo], None] | None = None,
) -> WholeVideo:
    """Edit a VIDEO of any length. The frames are those of `edit_long` after SAMA Source Video and
    before SAMA Finish Video.

    `say(text)` shows a line in the node; `check(info)` may refuse the clip before the work begins.
    Raises SamaError for everything that can be checked before the first weight is used.
    """
    lattice = lattice_of_model(model)
    source = _Source.open(video, whole, lattice, say, mask, mask_video)
    info = source.info
    if check is not None:
        check(info)
    segments = cut.plan(source.latent)
    pieces = plan_pieces(segments[-1].end, info.frame_count, lattice)
    run = EditRun.prepare(model, clip, vae, settings, say, len(segments), len(pieces))
    identity = identify(run)
    key = identity.key("whole video", source.digest(), astuple(cut), float(whole.crf))
    job = WholeJob(_folder(key))
    encoding = Encoding(crf=whole.crf)
    if not job.result.is_file():
        with contextlib.nullcontext() if key else job.removed_on_failure():
            _begin(job, run, info, segments)
            sampler = SegmentSampler(run, source.latent, cut, segments)
            _sample(sampler, source, job, identity)
            maker = PieceMaker(run, job, info, segments, source.masks, cut.anchor, encoding)
            maker.make()
            run.stages.note = ""
            run.stages.say("joining the pieces")
            files = [(job.piece(piece.number), piece.frames.start) for piece in pieces]
            try:
                join_pieces(job.result, files, info, source.sound, encoding)
            finally:
                if not info.source.is_unchanged():
                    job.result.unlink(missing_ok=True)  # it may have the sound of another clip
                require_unchanged(info.source)
    if not whole.keep:
        job.tidy()
    return WholeVideo(job, whole.keep)


@dataclass(frozen=True)
class _Source:
    """A clip that was looked at once."""

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
        whole: WholeSettings,
        lattice: Lattice,
        say: Say | None,
        mask: Tensor | None,
        mask_video: Input.Video | None,
    ) -> "_Source":
        """Raises ClipError for a clip that cannot be read, RegionError for a mask that does not
        fit it.
        """
        if mask is not None and mask_video is not None:
            got, fix = "a MASK and a mask video", "Disconnect one of them."
            raise RegionError(needed("mask", got, "one of the two", fix))
        found, report = open_video(video), _report(say, "reading the clip")
        wanted = resolve_range(found, whole.clip_range, Seconds())
        info = measure_clip(found.source, wanted, whole.area, report, whole.fit, lattice=lattice)
        stop = comfy.model_management.throw_exception_if_processing_interrupted
        sound = OwnSound.of(info, stop, found.held_audio(info))
        masks = MaskWalk()
        if mask is not None:
            masks = MaskBatch(mask, info, lattice)
        if mask_video is not None:
            beside = open_video(mask_video)
            part = resolve_range(beside, whole.clip_range, Seconds())
            report = _report(say, "reading the mask")
            masks = MaskVideo(beside.source, part, info, lattice, report)
        for text in filter(None, (*info.remarks(), sound.heard.remark)):
            log.warning("SAMA Edit Whole Video: %s", text)
            keep_remark(text)
        return cls(info, sound, masks, lattice)

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


def jobs_folder() -> Path:
    """Where the jobs of all edits lie."""
    return Path(folder_paths.get_user_directory()) / FOLDER


def _folder(key: str | None) -> Path:
    """A job's folder; in ComfyUI's temporary one where the edit cannot be told from others."""
    if key is None:
        return Path(folder_paths.get_temp_directory()) / FOLDER / uuid.uuid4().hex
    return jobs_folder() / key


def _begin(job: WholeJob, run: EditRun, info: ClipInfo, segments: list[Segment]) -> None:
    """Make the job's folder, and say how much disk it needs.

    Raises ClipError where the disk is certain to be too small.
    """
    info_pixels = info.width * info.height * info.frame_count
    lattice = segments[0].lattice
    cells = info.fitted_width * info.fitted_height // lattice.spatial**2
    latents = 4 * lattice.channels * cells * sum(segment.latents for segment in segments)
    least, usual = (
        int(latents + 2 * info_pixels * bits / 8) for bits in (LEAST_BITS_PER_PIXEL, BITS_PER_PIXEL)
    )
    try:
        job.begin({"clip": info.source.name, "instruction": run.settings.instruction})
        free = shutil.disk_usage(job.folder).free
    except OSError as failed:
        got, fix = failed.strerror or str(failed), "Check the rights of ComfyUI's user folder."
        raise ClipError(needed(FOLDER, got, "a folder that can be written to", fix)) from failed
    if free < least:
        raise ClipError(
            needed(
                "room for the edit",
                f"{free / 1e9:.2f} GB free",
                f"at least {least / 1e9:.2f} GB, and usually {usual / 1e9:.2f} GB",
                "Free some disk space, or edit a shorter part.",
            )
        )
    text = f"it needs about {usual / 1e9:.2g} GB of disk, {free / 1e9:.3g} GB are free"
    log.info("SAMA: %s, %d segments: %s.", info.source.name, len(segments), text)
    run.stages.say(text)


def _sample(sampler: SegmentSampler, source: _Source, job: WholeJob, identity) -> None:
    """Sample all segments that are not kept. Raises RegionError where the mask is black in all."""
    run, walk, touched, kept = sampler.run, FrameWalk(source.info), False, []
    try:
        for number, segment in enumerate(sampler.segments):
            run.stages.note = f"segment {number + 1} of {len(sampler.segments)}{identity.remark}"
            if job.latent(number) is not None:
                run.stages.skip()
                kept.append(segment.frames)
                continue
            mask = source.masks.take(segment.frames)
            part = FittedClip(walk.take(segment.frames), mask, source.lattice)
            if sampler.is_untouched(part):
                latent = sampler.keep_source(part)
            else:
                latent, touched = sampler.sample(number, part, identity), True
            require_unchanged(source.info.source)
            if not job.keep_latent(number, latent):
                got, fix = "a disk that refuses it", "Free some disk space, and queue it again."
                raise ClipError(needed(f"segment {number + 1}", got, "to be kept", fix))
    finally:
        walk.close()
    if not touched and not any(map(source.may_change, kept)):
        job.remove()
        got, need = "black everywhere in the video", "some white: only white may change"
        raise RegionError(needed("mask", got, need, "Paint what may change white."))
