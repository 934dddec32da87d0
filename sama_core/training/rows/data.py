"""Rows of a file as batches: which row a sample is, its frames, and what the model sees of them.

    seed, step, sample ──▶ row ──read──▶ frames ──pretext (stage 0 clips)──▶ encoders ──▶ TrainBatch

Every row comes once before any comes again. A row whose files turn out damaged is left out for
good, and the next good row of the file takes its place: a damaged file is damaged every time, so a
resumed run sees the same samples. Frames are encoded when they are read and not kept: a pretext is
drawn anew each time, and real data does not fit the memory.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from ...clip import ClipRange, FileSource, fit_clip
from ...clip.placement import shown_size
from ...errors import ClipError, needed
from ...geometry import WAN_21, ClipShape, Lattice
from ...text import EDIT_TAG, add_tag
from ..alignment.teacher_targets import Made
from ..config import TrainConfig
from ..objective import TrainBatch
from ..objectives.noising import chance, stream
from ..pretext import RATIOS, PretextMix, pretexts_for
from .features import RowFeatures
from .frozen_encoders import FrozenEncoders
from .rows import BadRows, Row, RowError, read_rows, row_error, unreadable

ASPECT_SLACK = 0.02
"""Aspect ratios that differ by at most this much, relatively, are cropped in the same way."""


def read_row(row: Row, shape: ClipShape) -> tuple[Tensor | None, Tensor]:
    """Source and target frames, each (F, H, W, 3) float32 in 0..1; no source for a clip to restore.

    The first F frames of both, fitted by `fit_clip` to the size of `shape`, without resampling the
    rate. Pixels that are not square become so, as they do when a clip is edited. Raises RowError
    for a file that cannot be read or is too short, and for a target that the source's crop does not
    fit. Deviation: the released loader crops source and target apart, whatever their sizes, and to
    the source's bucket; here all samples have the size of the settings.
    """
    try:
        target = FileSource(row.target)
        if row.source is None:
            return None, _frames(row, target, shape)
        source = FileSource(row.source)
        _check_aspects(row, source, target)
        return _frames(row, source, shape), _frames(row, target, shape)
    except ClipError as error:
        raise unreadable(row, error) from error


def read_mask(row: Row, shape: ClipShape) -> Tensor:
    """Where the text's subject is (F, H, W) in 0..1: the first channel of the row's mask, fitted as
    its target is.

    It has a frame for each of the target, or for each that is trained on, its first ones. Raises
    RowError for a file that cannot be read, and for a mask of another size or length.
    """
    if row.mask is None:
        raise row_error(row.number, "no 'mask'", "one")
    try:
        mask, target = FileSource(row.mask), FileSource(row.target)
        found, wanted = mask.facts(), target.facts()
        sizes = [
            shown_size(facts.width, facts.height, facts.pixel_aspect) for facts in (found, wanted)
        ]
        if sizes[0] != sizes[1]:
            (width, height), (need_width, need_height) = sizes
            got = f"a mask of {width}x{height}"
            raise row_error(row.number, got, f"the size of its target, {need_width}x{need_height}")
        if found.frame_count not in (shape.frames, wanted.frame_count):
            got = f"a mask of {found.frame_count} frames"
            whole = f"as many as its target has, {wanted.frame_count}"
            part = f", or the {shape.frames} that are trained on"
            more = part if shape.frames != wanted.frame_count else ""
            raise row_error(row.number, got, f"{whole}{more}")
        return _frames(row, mask, shape)[..., 0]
    except ClipError as error:
        raise unreadable(row, error) from error


def _frames(row: Row, source: FileSource, shape: ClipShape) -> Tensor:
    """The first frames of a clip or picture, (F, H, W, 3). Raises RowError where it has fewer."""
    size = (shape.width, shape.height)
    wanted = ClipRange(frames=shape.frames)
    frames, info = fit_clip(source, wanted, size=size, lattice=shape.lattice)
    if info.frame_count < shape.frames:
        found = f"{info.frame_count} frames in {source.name!r}"
        raise row_error(row.number, found, f"{shape.frames}")
    return frames


def _check_aspects(row: Row, source: FileSource, target: FileSource) -> None:
    """RowError unless both are shown in the same shape, so that one crop fits both."""
    found = [clip.facts() for clip in (source, target)]
    sizes = [shown_size(facts.width, facts.height, facts.pixel_aspect) for facts in found]
    (width, height), (target_width, target_height) = sizes
    if abs(width * target_height / (height * target_width) - 1) > ASPECT_SLACK:
        raise row_error(
            row.number,
            f"a target of {target_width}x{target_height}",
            f"the shape of its source, {width}x{height}",
        )


class RowsData:
    """A `BatchSource` on a JSONL file, see `rows`.

    The file must stay as it is until the run is done.
    """

    def __init__(
        self,
        config: TrainConfig,
        encoders: FrozenEncoders,
        write_report: bool = True,
        lattice: Lattice = WAN_21,
        features: RowFeatures | None = None,
    ):
        """Reads the file and looks whether its clips exist; `lattice` is the model's, `features`
        are those to align with.

        Raises RowError where no row is left to train on.
        """
        self.config, self.encoders, self.path = config, encoders, Path(config.data)
        self.lattice, self.features = lattice, features
        rows, wrong = read_usable_rows(config, features)
        self.bad = BadRows(
            Path(config.output), self.path.name, len(rows) + len(wrong), wrong, write_report
        )
        self.images, self.clips = (
            [row for row in rows if row.is_image is image] for image in (True, False)
        )
        self._check_kinds()
        ratios = RATIOS if config.pretexts else {"none": 1}
        self.mix = PretextMix(ratios, pretexts_for(lattice))
        self._seen: list[tuple[int, int]] = [(0, 0)]

    def batch(self, step: int, part: slice) -> TrainBatch:
        """See `BatchSource`. Raises RowError once no good row of the step's kind is left."""
        image, size = self.config.is_image_step(step), self.config.size_at(step)
        first = self._before(step)[image]
        samples = [self._sample(step, index, first + index) for index in range(size)[part]]
        names, sources, targets, texts, anchors, made = zip(*samples, strict=True)
        semantic = None
        if self.config.is_semantic_step(step):
            semantic = torch.stack([self.encoders.semantic(frame) for frame in anchors])
        return TrainBatch(
            target_latents=torch.stack(targets),
            source_latents=torch.stack(sources),
            text=torch.stack(texts),
            semantic=semantic,
            names=list(names),
            teacher=stack_made(made),
        )

    # --- one sample ----------------------------------------------------------------------------

    def _sample(
        self, step: int, index: int, place: int
    ) -> tuple[str, Tensor, Tensor, Tensor, Tensor, Made | None]:
        """Name, source and target latents, text embeddings, the anchor frame, and the teacher's
        targets.
        """
        config = self.config
        frames = 1 if config.is_image_step(step) else config.frames
        shape = ClipShape(frames, config.height, config.width, self.lattice)
        row, source, target, made = self._frames(self._rows(step), place, shape)
        text = add_tag(row.text)
        if source is None:
            perturbed = self.mix.perturb(
                target, row.text, stream(config.seed, "pretext", step, index)
            )
            source, text = perturbed.source, perturbed.caption
        if chance(config.text_dropout, config.seed, "text", step, index):
            text = EDIT_TAG
        encode = self.encoders
        return (
            f"step {step} row {row.number} of {self.path.name}",
            encode.latents(source),
            encode.latents(target),
            encode.text(text),
            target[0],
            made,
        )

    def _frames(
        self, rows: list[Row], place: int, shape: ClipShape
    ) -> tuple[Row, Tensor | None, Tensor, Made | None]:
        """The row at `place` of the endless order, or the next good one, with its frames and what
        its teacher says.
        """
        round_, at = divmod(place, len(rows))
        start = shuffle_rows(
            len(rows), self.config.seed, "images" if rows is self.images else "videos", round_
        )[at]
        for row in chain(rows[start:], rows[:start]):
            if row.number not in self.bad:
                try:
                    source, target = read_row(row, shape)
                    return row, source, target, self._features(row, shape, source, target)
                except RowError as wrong:
                    self.bad.add(row.number, str(wrong))
        raise self._nothing_left("images" if rows is self.images else "videos")

    def _features(
        self, row: Row, shape: ClipShape, source: Tensor | None, target: Tensor
    ) -> Made | None:
        """What the row's teacher says; None, reported once, where there is nothing."""
        if self.features is None or not self.features.applies_to(row):
            return None
        made = self.features.of(row, shape, source, target)
        if made is None:
            self.bad.add_unaligned(row.number)
        return made

    # --- the order of rows ---------------------------------------------------------------------

    def _rows(self, step: int) -> list[Row]:
        return self.images if self.config.is_image_step(step) else self.clips

    def _before(self, step: int) -> tuple[int, int]:
        """Samples of clips and of images that the steps before `step` took."""
        while len(self._seen) <= step:
            last = len(self._seen) - 1
            clips, images = self._seen[-1]
            size, image = self.config.size_at(last), self.config.is_image_step(last)
            self._seen.append((clips + size * (not image), images + size * image))
        return self._seen[step]

    # --- nothing to train on -------------------------------------------------------------------

    def _check_kinds(self) -> None:
        share = self.config.image_share
        if not self.images and share > 0:
            raise self._nothing_left("images", "Correct the rows, or set image_share to 0.")
        if not self.clips and share < 1:
            raise self._nothing_left("videos", "Correct the rows, or set image_share to 1.")

    def _nothing_left(self, kind: str, fix: str = "Correct the rows.") -> RowError:
        first = next(iter(self.bad.reasons.values()), "")
        return RowError(
            needed(
                f"data {self.path.name}",
                f"no good row with {kind} among {self.bad.total}",
                "at least one",
                f"{fix} {first}".strip(),
            )
        )


def read_usable_rows(
    config: TrainConfig, features: RowFeatures | None
) -> tuple[list[Row], dict[int, str]]:
    """Rows that look usable, and by line number what is wrong with the others, see `read_rows`;
    those too that cannot be aligned as the settings say.
    """
    masks = features is not None and features.reads_masks
    rows, wrong = read_rows(Path(config.data), config.stage, masks)
    good = []
    for row in rows:
        try:
            if features is not None:
                features.check(row)
            good.append(row)
        except RowError as lacks:
            wrong[row.number] = str(lacks)
    return good, dict(sorted(wrong.items()))


def stack_made(made: Sequence[Made | None]) -> Made | None:
    """Targets of a batch from those of its samples; None where no sample has any.

    Where some have none, zeros stand for them, and "known" (B,) tells them apart.
    """
    some = next((one for one in made if one is not None), None)
    if some is None:
        return None
    empty = {name: torch.zeros_like(value) for name, value in some.items()}
    stacked = {name: torch.stack([(one or empty)[name] for one in made]) for name in some}
    if any(one is None for one in made):
        stacked["known"] = torch.tensor([one is not None for one in made])
    return stacked


@lru_cache(maxsize=4)
def shuffle_rows(count: int, seed: int, kind: str, round_: int) -> list[int]:
    """All rows of a kind in the random order of one round."""
    return torch.randperm(count, generator=stream(seed, "rows", kind, round_)).tolist()
