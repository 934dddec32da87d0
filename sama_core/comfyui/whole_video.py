"""An edit of a whole video, from VIDEO to VIDEO, in memory that does not grow with its length.

    measure  the clip is decoded once for its times; its sound is listened to
    sample   segment by segment: read, fit, encode, sample; latents go to disk
    decode   step by step into encoded pieces of the result, see `whole_decode`
    join     the pieces' packets and the clip's sound become one file

What is finished stays on disk until the result is saved: an edit that was broken off anywhere goes
on there when it is queued again, and gives the same file.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path

import folder_paths
from comfy_api.latest import Input
from torch import Tensor

from ..clip import ClipInfo, ClipRange, Fit, FrameWalk, join_pieces, require_unchanged
from ..clip.save import Encoding
from ..errors import ClipError, RegionError, needed
from ..long import Segment
from ..long.whole_job import WholeJob
from ..region import FittedClip
from ..version import SHARED_JOBS
from .edit import EditRun, EditSettings
from .long_edit import LongSettings, SegmentSampler, identify
from .model import lattice_of_model
from .node_progress import keep_remark
from .run_identity import RunIdentity
from .whole_decode import PieceMaker, plan_pieces
from .whole_result import WholeVideo, find_again
from .whole_source import Say, WholeSource

FOLDER = "sama_whole_videos"
"""In ComfyUI's user folder: the jobs of edits that are not finished, or not saved."""
BITS_PER_PIXEL = Fraction(1, 2)
"""Of a result, as a rule; noisy clips take more."""
LEAST_BITS_PER_PIXEL = Fraction(1, 25)
"""Of any real clip."""

log = logging.getLogger(__name__)


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
    asked = WholeEdit(model, clip, vae, settings, cut, whole, say)
    asked.open(video, mask, mask_video, check)
    job = asked.job
    if not job.result.is_file() and not whole.keep:
        known = find_again(job, asked.source.take)
        if known is not None:
            return known
    with job.kept_on_failure(found_again=bool(asked.key)):
        if not job.result.is_file():
            asked.begin()
            keep_remark(asked.tell_kept())
            asked.sample()
            asked.make_pieces()
            asked.join()
        if not whole.keep:
            job.tidy()
        return WholeVideo(job, whole.keep, asked.source.take)


@dataclass
class WholeEdit:
    """One edit of a whole video, step by step: `open`, `begin`, `sample`, `make_pieces`,
    `join`.
    """

    model: object
    """SAMA's, as ComfyUI patches it."""
    clip: object
    """The text encoder."""
    vae: object
    """The VAE."""
    settings: EditSettings
    """What to change, and how."""
    cut: LongSettings
    """Its segments."""
    whole: WholeSettings
    """Which part, and the result."""
    say: Say | None = None
    """Shows a line in the node."""

    def open(
        self,
        video: Input.Video,
        mask: Tensor | None = None,
        mask_video: Input.Video | None = None,
        check: Callable[[ClipInfo], None] | None = None,
        source: WholeSource | None = None,
    ) -> None:
        """Look at the clip once, unless that is done: `source`. Sets `segments`, `key` (None where
        the edit cannot be told from others) and `job`. Raises as `edit_whole`.
        """
        lattice = lattice_of_model(self.model)
        self.source = source or WholeSource.open(
            video,
            self.whole.clip_range,
            self.whole.area,
            self.whole.fit,
            lattice,
            self.say,
            mask,
            mask_video,
        )
        info = self.source.info
        if check is not None:
            check(info)
        self.segments = self.cut.plan(self.source.latent)
        self.pieces = plan_pieces(self.segments[-1].end, info.frame_count, lattice)
        self.run = EditRun.prepare(
            *(self.model, self.clip, self.vae, self.settings, self.say),
            len(self.segments),
            len(self.pieces),
        )
        self.identity = identify(self.run)
        parts = self.source.digest, astuple(self.cut), float(self.whole.crf)
        self.key = self.identity.key("whole video", *parts)
        self.job = WholeJob(_folder(self.key))

    def begin(self) -> None:
        """See `_begin`."""
        _begin(self.job, self.run, self.source.info, self.segments)

    def tell_kept(self) -> str:
        """What an earlier run has finished, in words; empty where that is nothing."""
        segments = sum(self.job.has_latent(number) for number in range(len(self.segments)))
        pieces = sum(self.job.has_piece(piece.number) for piece in self.pieces)
        if not segments:
            return ""
        decoded = f" and {pieces} of {len(self.pieces)} pieces of the result" if pieces else ""
        of = f"{segments} of {len(self.segments)}"
        return f"An earlier run has finished {of} segments{decoded}: it goes on from there."

    def sample(self, numbers: range | None = None) -> None:
        """Sample all segments that are not kept, or those of `numbers`."""
        sampler = SegmentSampler(self.run, self.source.latent, self.cut, self.segments)
        _sample(sampler, self.source, self.job, self.identity, numbers)

    def make_pieces(self, numbers: range | None = None) -> None:
        """Decode what was sampled: all pieces of the result that are not there, or those of
        `numbers`. Every segment must be kept.
        """
        info, anchor = self.source.info, self.cut.holds_colours(self.segments)
        maker = PieceMaker(
            *(self.run, self.job, info, self.segments, self.pieces, self.source.masks, anchor),
            Encoding(crf=self.whole.crf),
        )
        maker.make(numbers)

    def join(self) -> None:
        """The pieces and the sound become the result."""
        info, job, encoding = self.source.info, self.job, Encoding(crf=self.whole.crf)
        self.run.stages.note = ""
        self.run.stages.say("joining the pieces")
        files = [(job.piece(piece.number), piece.frames.start) for piece in self.pieces]
        try:
            join_pieces(job.result, files, info, self.source.sound, encoding)
        finally:
            if not info.source.is_unchanged():
                job.result.unlink(missing_ok=True)  # it may have the sound of another clip
            require_unchanged(info.source)


def jobs_folder() -> Path:
    """Where the jobs of all edits lie: in ComfyUI's user folder, or where the environment of this
    ComfyUI says, for several that share them.
    """
    shared = os.environ.get(SHARED_JOBS)
    return Path(shared) if shared else Path(folder_paths.get_user_directory()) / FOLDER


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
                f"{_size(free)} free",
                f"at least {_size(least)}, and usually {_size(usual)}",
                "Free some disk space, or edit a shorter part.",
            )
        )
    text = f"it needs about {_size(usual)} of disk, {_size(free)} are free"
    parts = f"{len(segments)} segment{'' if len(segments) == 1 else 's'}"
    log.info("SAMA: %s, %s: %s.", info.source.name, parts, text)
    run.stages.say(text)


def _size(count: int) -> str:
    """Bytes for people."""
    unit, size = next((at for at in (("GB", 1e9), ("MB", 1e6)) if count >= at[1] / 2), ("kB", 1e3))
    return f"{count / size:.3g} {unit}"


def _sample(
    sampler: SegmentSampler,
    source: WholeSource,
    job: WholeJob,
    identity: RunIdentity,
    numbers: range | None = None,
) -> None:
    """Sample all segments that are not kept, or those of `numbers`.

    Raises RegionError where the mask is black in all of the clip.
    """
    run, walk, touched, kept = sampler.run, FrameWalk(source.info), numbers is not None, []
    try:
        for number, segment in enumerate(sampler.segments):
            several = len(sampler.segments) > 1
            place = f"segment {number + 1} of {len(sampler.segments)}" if several else ""
            run.stages.note = f"{place}{identity.remark}".strip()
            if numbers is not None and number not in numbers:
                run.stages.skip()
                continue
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
