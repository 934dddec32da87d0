"""Rows of a file as batches: which row a sample is, its frames, and what the model sees of them.

    seed, step, sample ─▶ group, row, window ─┬─ kept ────────────────────────────▶ TrainBatch
                                              └─ frames ─pretext (stage 0)─encoders ─┘

Every row comes once before any comes again. A row whose files turn out damaged is left out for
good, and the next good row of its group takes its place: a damaged file is damaged every time, so a
resumed run sees the same samples. Frames are not kept in memory; latents and texts are kept on disk
where `[clips]` says so, see `kept_encoders`. A pretext is drawn anew each time.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import needed
from ...geometry import WAN_21, Lattice
from ...text import EDIT_TAG, add_tag
from ..alignment.teacher_targets import Made
from ..config import TrainConfig
from ..objective import TrainBatch
from ..objectives.noising import chance, stream
from ..pretext import RATIOS, PretextMix, pretexts_for
from .clips_config import BEFORE
from .features import RowFeatures
from .frames import read_mask, read_row
from .frozen_encoders import FrozenEncoders
from .groups import Looks, group_rows
from .held_out import hold_out
from .kept_encoders import KeptEncoders
from .order import Schedule, shuffle_rows
from .read_ahead import ReadAhead
from .row_samples import Sample, SampleReader
from .rows import BadRows, Row, RowError, read_rows

__all__ = ["RowsData", "read_mask", "read_row", "read_usable_rows", "shuffle_rows"]


class _Encoded(NamedTuple):
    """A sample as the model sees it."""

    name: str
    """For errors."""
    source: Tensor
    """Latents (16, T, H/8, W/8)."""
    target: Tensor
    """Latents (16, T, H/8, W/8)."""
    text: Tensor
    """Embeddings (512, text_dim)."""
    semantic: Tensor | None
    """Tokens (65, E) of the target's first frame."""
    made: Made | None
    """The teacher's targets."""


class RowsData:
    """A `BatchSource` on a file of rows or a folder of clips, see `rows`.

    The files must stay as they are until the run is done.
    """

    def __init__(
        self,
        config: TrainConfig,
        encoders: FrozenEncoders,
        write_report: bool = True,
        lattice: Lattice = WAN_21,
        features: RowFeatures | None = None,
        process: tuple[int, int] = (0, 1),
    ):
        """Reads the file and looks whether its clips exist; `lattice` is the model's, `features`
        are those to align with, `process` is this one's number and how many there are.

        Raises RowError where no row is left to train on.
        """
        self.config, self.path, self.process = config, Path(config.data), process
        self.lattice, self.features, clips = lattice, features, config.clips or BEFORE
        self.encoders, self.kept = encoders, KeptEncoders(config, encoders)
        rows, wrong = read_usable_rows(config, features)
        found = len(rows)
        rows, self.held_out = hold_out(config, rows)
        self._idle = {row.is_image for row in rows} - {row.is_image for row in rows if row.weight}
        looks = Looks(clips)
        groups, unfit = group_rows(config, rows, looks, lattice)
        wrong = dict(sorted({**wrong, **unfit}.items()))
        total = found + len(wrong) - len(unfit)
        self.bad = BadRows(Path(config.output), self.path, total, wrong, write_report)
        self.schedule = Schedule(config, groups)
        self.images, self.clips = (
            [row for group in self.schedule.groups[image] for row in group.rows]
            for image in (True, False)
        )
        self._check_kinds()
        ratios = RATIOS if config.pretexts else {"none": 1}
        self.mix = PretextMix(ratios, pretexts_for(lattice))
        self.reader = SampleReader(self.kept, looks, features)
        self._ahead = ReadAhead(self._read, clips.workers)

    def batch(self, step: int, part: slice) -> TrainBatch:
        """See `BatchSource`. Raises RowError once no good row of the step's kind is left."""
        samples = [self._sample(step, index) for index in range(self.config.size_at(step))[part]]
        self._ahead.expect(self._upcoming(step, part))
        names, sources, targets, texts, semantic, made = zip(*samples, strict=True)
        return TrainBatch(
            target_latents=torch.stack(targets),
            source_latents=torch.stack(sources),
            text=torch.stack(texts),
            semantic=None if semantic[0] is None else torch.stack(semantic),
            names=list(names),
            teacher=stack_made(made),
        )

    def describe(self) -> str:
        """How many rows there are, for the banner."""
        kinds = ((self.clips, "clips"), (self.images, "images"))
        counts = [f"{len(rows)} {name}" for rows, name in kinds if rows]
        left_out = f", {len(self.bad.reasons)} left out" if self.bad.reasons else ""
        return f"{' and '.join(counts)}{left_out}"

    # --- one sample ----------------------------------------------------------------------------

    def _sample(self, step: int, index: int) -> _Encoded:
        """A sample, encoded. One that turns out bad gives its place to the next."""
        while True:
            sample = self._ahead.take(step, index)
            try:
                return self._encode(sample, step, index)
            except RowError as wrong:
                self.bad.add(sample.row.number, str(wrong))

    def _read(self, step: int, index: int) -> Sample:
        """Row and frames of a sample, or the next good row's; runs in threads too."""
        group, first = self.schedule.at(step)
        semantic = self.config.is_semantic_step(step)
        for other in self.schedule.instead(group):
            for row in other.candidates(self.config.seed, first + index):
                if row.number not in self.bad:
                    try:
                        window = stream(self.config.seed, "window", step, index)
                        return self.reader.read(row, other.shape, window, semantic)
                    except RowError as wrong:
                        self.bad.add(row.number, str(wrong))
        raise self._nothing_left("images" if group.rows[0].is_image else "videos")

    def _encode(self, sample: Sample, step: int, index: int) -> _Encoded:
        """What the model sees of a sample. Raises RowError."""
        config, row, kept = self.config, sample.row, self.kept
        made = self._features(sample)
        text, source = add_tag(row.text), sample.found.get("source")
        if row.source is not None and source is None:
            source = kept.latents(sample.part(row.source), sample.source_frames)
        if source is None:
            perturbed = self.mix.perturb(
                sample.target_frames(), row.text, stream(config.seed, "pretext", step, index)
            )
            source, text = self.encoders.latents(perturbed.source), perturbed.caption
        if chance(config.text_dropout, config.seed, "text", step, index):
            text = EDIT_TAG
        target = sample.found.get("target")
        if target is None:
            target = kept.latents(sample.target_part, sample.target_frames)
        semantic = sample.found.get("semantic")
        if semantic is None and config.is_semantic_step(step):
            semantic = kept.semantic(sample.target_part, sample.target_frames)
        name = f"step {step} row {row.number} of {self.path.name}"
        return _Encoded(name, source, target, kept.text(text), semantic, made)

    def _features(self, sample: Sample) -> Made | None:
        """What the row's teacher says; None, reported once, where there is nothing."""
        row = sample.row
        if self.features is None or not self.features.applies_to(row):
            return None
        made = sample.made
        if made is None and self.features.makes:
            made = self.features.of(row, sample.shape, *sample.frames())
        if made is None:
            self.bad.add_unaligned(row.number)
        return made

    def _upcoming(self, step: int, part: slice) -> list[tuple[int, int]]:
        """Steps and samples that this process is asked for after `part` of `step`."""
        size = max(part.stop - part.start, self._ahead.workers)
        return list(islice(self._after(step, part.stop), size))

    def _after(self, step: int, index: int) -> Iterator[tuple[int, int]]:
        """All of them, in the order in which the trainer asks."""
        rank, processes = self.process
        while step < self.config.steps:
            share = self.config.size_at(step) // processes
            for number in range(max(index, rank * share), (rank + 1) * share):
                yield step, number
            step, index = step + 1, 0

    # --- nothing to train on -------------------------------------------------------------------

    def _check_kinds(self) -> None:
        share = self.config.image_share
        if not self.images and share > 0:
            raise self._nothing_left("images", "Correct the rows, or set image_share to 0.")
        if not self.clips and share < 1:
            raise self._nothing_left("videos", "Correct the rows, or set image_share to 1.")

    def _nothing_left(self, kind: str, fix: str = "Correct the rows.") -> RowError:
        first = next(iter(self.bad.reasons.values()), "")
        if (kind == "images") in self._idle:
            got, need = f"a weight of 0 for every good row with {kind}", "a weight above 0 for one"
            more = "Set its weight or repeats, or take the 0_ from its folder's name."
            return RowError(needed(f"data {self.path.name}", got, need, f"{more} {first}".strip()))
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
