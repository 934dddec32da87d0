"""From the sampled segments of a whole video to the pieces of its result.

    segments' latents ──blend_in_order──▶ ──StepwiseDecoder──▶ frames ──anchor_colours, paste──▶
    ──prepare_pictures──▶ pictures of the source's size ──write_piece──▶ piece 0, 1, …

A few latents and frames are held at a time. Where pieces are missing in the middle, decoding begins
far enough before them that they come out as in a run that was never broken off.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

import av
import comfy.model_management
import torch
from torch import Tensor

from ..clip import (
    ClipInfo,
    FrameWalk,
    count_pictures,
    prepare_pictures,
    require_unchanged,
    write_piece,
)
from ..clip.save import Encoding
from ..errors import SamplingError, needed
from ..geometry import Lattice
from ..long import Segment, anchor_colours, blend_in_order
from ..long.whole_job import WholeJob
from ..plan.time_left import duration
from ..region import FittedClip, MaskWalk
from .edit import EditRun, paste_outside
from .node_progress import count_of
from .non_finite import refuse_frames
from .stepwise_decode import StepwiseDecoder, decoding_steps, warm_up

PIECE_STEPS = 16
"""Decoding steps of a piece: 128 frames with Wan 2.1's VAE, five seconds."""


@dataclass(frozen=True)
class Piece:
    """A stretch of the result that is encoded by itself."""

    number: int
    """Counted from 0."""
    steps: range
    """Numbers of its decoding steps."""
    frames: range
    """Numbers of its frames in the clip, without padding."""


def plan_pieces(latents: int, frame_count: int, lattice: Lattice) -> list[Piece]:
    """The pieces of a clip of `latents` latent frames, `frame_count` of whose frames are shown."""
    steps, pieces = decoding_steps(latents), []
    for number, begin in enumerate(range(0, len(steps), PIECE_STEPS)):
        mine = range(begin, min(begin + PIECE_STEPS, len(steps)))
        first = frames_of(steps[mine.start], lattice).start
        behind = min(frames_of(steps[mine.stop - 1], lattice).stop, frame_count)
        if first < behind:
            pieces.append(Piece(number, mine, range(first, behind)))
    return pieces


def frames_of(latents: slice, lattice: Lattice) -> slice:
    """The frames that some latent frames of a clip stand for."""
    start = lattice.frames_of(latents.start) if latents.start else 0
    return slice(start, lattice.frames_of(latents.stop))


class PieceMaker:
    """Writes the pieces of one clip."""

    def __init__(
        self,
        run: EditRun,
        job: WholeJob,
        info: ClipInfo,
        segments: list[Segment],
        pieces: list[Piece],
        masks: MaskWalk,
        anchor: bool,
        encoding: Encoding,
    ):
        """`pieces` are those of `plan_pieces`, `anchor` holds the colours to the source, see
        `anchor_colours`.
        """
        self.run, self.job, self.info, self.segments = run, job, info, segments
        self.masks, self.anchor, self.encoding = masks, anchor, encoding
        self.lattice = segments[0].lattice
        self.steps = decoding_steps(segments[-1].end)
        self.pieces = pieces

    def make(self, numbers: range | None = None) -> None:
        """Write all pieces that are not there, or damaged, or those of `numbers`. Every segment's
        latent must be kept.
        """
        asked = [piece for piece in self.pieces if numbers is None or piece.number in numbers]
        missing = [piece for piece in asked if not self._is_done(piece)]
        self.run.stages.skip_decoding(len(self.pieces) - len(missing))
        for _, group in groupby(enumerate(missing), key=lambda at: at[1].number - at[0]):
            self._make([piece for _, piece in group])

    def _is_done(self, piece: Piece) -> bool:
        path = self.job.piece(piece.number)
        return path.is_file() and count_pictures(path) == len(piece.frames)

    def _make(self, pieces: list[Piece]) -> None:
        """Write pieces that follow each other."""
        first = pieces[0].frames.start
        rest = self.info.part(first, self.info.frame_count - first)
        steps = range(pieces[0].steps.start, pieces[-1].steps.stop)
        with (
            closing(self._decode(steps)) as edited,
            closing(prepare_pictures(edited, rest, self.encoding)) as restored,
        ):
            self._write(pieces, self._count(restored, first))

    def _count(self, pictures: Iterator[av.VideoFrame], first: int) -> Iterator[av.VideoFrame]:
        """The pictures, of which the first is frame `first`; shows how many are done."""
        report = self.run.stages.count_frames("decoding")
        for done, picture in enumerate(pictures, first + 1):
            report(done, self.info.frame_count)
            yield picture

    def _write(self, pieces: list[Piece], restored: Iterator[av.VideoFrame]) -> None:
        """Write pieces whose pictures come one after the other."""
        first, begun, stages = pieces[0].frames.start, time.monotonic(), self.run.stages
        for piece in pieces:
            done, stages.note = piece.frames.start - first, ""
            if done:
                left = (pieces[-1].frames.stop - piece.frames.start) / done
                stages.note = f"about {duration((time.monotonic() - begun) * left)} left"
            with stages.stage("decoding", count_of(piece.frames.start, self.info.frame_count)):
                path = self.job.piece(piece.number)
                write_piece(path, restored, self.info, piece.frames, self.encoding)
                if not self.info.source.is_unchanged():
                    path.unlink()  # it may hold pictures of another clip
            require_unchanged(self.info.source)

    def _decode(self, steps: range) -> Iterator[Tensor]:
        """The edited frames (H, W, 3) of decoding steps, at the model's size."""
        begin = warm_up(steps.start)
        tiling = self.run.settings.tiling
        decoder = StepwiseDecoder(self.run.vae, self.segments[-1].end, tiling, self.lattice)
        latents, source = _Latents(self.job, self.segments), FrameWalk(self.info)
        latents.begin(self.steps[begin].start)
        try:
            for number in range(begin, steps.stop):
                comfy.model_management.throw_exception_if_processing_interrupted()
                frames = decoder.step(latents.take(self.steps[number]))
                if number >= steps.start:
                    refuse_frames(frames)
                    yield from self._finish(frames, self.steps[number], source)
        finally:
            source.close()

    def _finish(self, frames: Tensor, latents: slice, source: FrameWalk) -> Tensor:
        """Decoded frames with the source's colours, and the source itself outside of the mask."""
        where = frames_of(latents, self.lattice)
        mask = self.masks.take(where)
        if not self.anchor and mask is None:
            return frames
        fitted = source.take(where)
        frames = anchor_colours(frames, fitted) if self.anchor else frames
        return paste_outside(FittedClip(fitted, mask, self.lattice), frames)


class _Latents:
    """The blended latent of a clip, in order."""

    def __init__(self, job: WholeJob, segments: list[Segment]):
        self.job, self.segments = job, segments
        self._coming: Iterator[Tensor] = iter(())
        self._held: Tensor | None = None
        self._first = 0

    def begin(self, latent: int) -> None:
        """Start at a latent frame."""
        number = next(n for n, segment in enumerate(self.segments) if segment.end > latent)
        reached = self.segments[number - 1].end if number else 0
        self._first = self.segments[number].first + 1 if self.segments[number].first else 0
        self._coming = blend_in_order(self._read(number), reached)

    def take(self, latents: slice) -> Tensor:
        """The latent frames of a step; those before are let go."""
        held = self._held
        while held is None or self._first + held.shape[2] < latents.stop:
            more = next(self._coming)
            held = more if held is None else torch.cat([held, more], 2)
        self._held = held[:, :, latents.start - self._first :]
        self._first = latents.start
        return self._held[:, :, : latents.stop - latents.start].contiguous()

    def _read(self, first: int) -> Iterator[tuple[Segment, Tensor]]:
        for number, segment in enumerate(self.segments[first:], first):
            latent = self.job.latent(number)
            if latent is None:
                raise SamplingError(
                    needed(
                        f"segment {number + 1}",
                        "a file that is missing or damaged",
                        "the latent that was sampled",
                        "Queue the edit again: it samples this segment alone.",
                    )
                )
            yield segment, latent
