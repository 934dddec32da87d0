"""Rows as a learned saliency is trained on them: a teacher's tokens, a mask, and a text.

    target frames ──teacher──▶ tokens ───────────────────┐
    mask, or source and target ──▶ mask on the same cells ┴─▶ cache ──▶ Seen
    instruction or caption ──text encoder──▶ embeddings ──────────────┘

Tokens stay on the teacher's own cells, where the saliency is read in a run. Rows of one target with
one text and mask each are SARA's forward passes of the entities of a clip: its tokens are kept
once. Deviation: its passes of all entities together and of the background are rows like others,
where there are any.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from ...errors import RuntimeSetupError, SamaError, needed
from ...geometry import ClipShape
from ..alignment import FeatureCache, SaliencyConfig
from ..alignment.saliency import changed_pixels, reduce_mask
from ..alignment.teacher_targets import Made
from ..alignment.teachers import Teacher, TeacherSource
from ..alignment.teachers.base import FileDigests
from ..config import TrainConfig
from ..recipe import ConfigError
from .data import read_mask, read_row
from .frozen_encoders import EncodeText, embed_words
from .held_out import hold_out
from .rows import BadRows, Row, RowError, cannot_read, read_rows, row_error, unreadable

Group = tuple[Row, ...]
"""Rows of one target that are seen as one: mostly a single one."""


def group_rows(rows: Sequence[Row], unite: bool) -> list[Group]:
    """Each row by itself, or those of one target together."""
    if not unite:
        return [(row,) for row in rows]
    found: dict[Path, list[Row]] = {}
    for row in rows:
        found.setdefault(row.target, []).append(row)
    return [tuple(group) for group in found.values()]


def list_rows(read: "SaliencyRows", folder: Path) -> tuple[BadRows, list[Row], list[int]]:
    """A report in `folder` of rows that look unusable, the rows to learn from, and the numbers of
    those that `[validation]` holds out.

    They are the rows that `train` holds out: it draws from all rows, whether they have a mask or
    not. Raises ConfigError where none is left.
    """
    config, data = read.config, Path(read.config.data)
    left, _ = hold_out(config, every := read_rows(data, config.stage)[0])
    trained = {row.number for row in left}
    held_out = [row.number for row in every if row.number not in trained]
    found, wrong = read_rows(data, config.stage, masks=True)
    total, rows = len(found) + len(wrong), []
    for row in found:
        try:
            read.check(row)
            rows.append(row)
        except RowError as lacks:
            wrong[row.number] = str(lacks)
    bad = BadRows(folder, data, total, dict(sorted(wrong.items())))
    return bad, [row for row in rows if row.number in trained], held_out


@dataclass(frozen=True)
class Seen:
    """A batch of groups."""

    tokens: Tensor
    """(B, Nv, width) of the teacher."""
    masks: Tensor
    """(B, Nv) in 0..1."""
    text: Tensor
    """(B, L, D)."""
    real: Tensor
    """(B, L) bool: rows of `text` that belong to it."""
    alike: Tensor
    """(B, B) bool: which have the same text."""


@dataclass
class SaliencyRows:
    """What is read of each row, and kept."""

    config: TrainConfig
    """The recipe's settings."""
    source: TeacherSource
    """The teacher."""
    encode_text: EncodeText
    """The run's text encoder."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where teacher and saliency compute."""

    def __post_init__(self) -> None:
        config, align = self.config, self.config.align
        assert align is not None
        self.settings = config.saliency or SaliencyConfig()
        self.folder = Path(align.features or Path(config.output) / "features")
        self._digest = FileDigests()
        self._names: dict[int, tuple[tuple[object, ...], tuple[object, ...]]] = {}

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher itself, loaded when it is first needed."""
        return self.source.load(device=self.device)

    def check(self, row: Row) -> None:
        """Raises RowError for a row that has nothing to learn from. Opens no file."""
        wanted = self.settings.target
        if wanted == "mask" and row.mask is None:
            raise row_error(row.number, "no 'mask'", "one for saliency.target mask")
        if row.mask is None and row.source is None:
            raise row_error(row.number, "no 'mask'", "one, or a source and a target")
        if wanted == "changed" and row.source is None:
            need = "a source and a target for saliency.target changed"
            raise row_error(row.number, "a clip without an edit", need)

    def prepare(self, rows: Sequence[Row], bad: BadRows) -> list[Row]:
        """Make and keep what is missing; returns the rows that can be used.

        Raises RowError where there is none.
        """
        good = []
        for row in tqdm(rows, desc="features", unit="row"):
            try:
                self._keep(row)
                good.append(row)
            except RowError as error:
                bad.add(row.number, str(error))
        bad.report()
        if not good:
            reason = next(iter(bad.reasons.values()), "")
            got = f"no good row among {bad.total}"
            raise RowError(needed(f"data {bad.name}", got, "at least one", reason))
        return good

    def read(self, groups: Sequence[Group]) -> Seen:
        """Groups as a batch on the device; they are of one kind, pictures or clips.

        Raises SamaError where what `prepare` kept is gone.
        """
        tokens = [self._find(rows[0], 0)["features"] for rows in groups]
        masks = [
            torch.stack([self._find(row, 1)["mask"] for row in rows]).amax(0) for rows in groups
        ]
        texts = [" ".join(row.text for row in rows) for rows in groups]
        words = [embed_words(self.encode_text, text) for text in texts]
        real = [torch.ones(len(one), dtype=torch.bool) for one in words]
        return Seen(
            torch.stack([one.flatten(0, 2) for one in tokens]).to(self.device),
            torch.stack([mask.flatten() for mask in masks]).to(self.device),
            pad_sequence(words, batch_first=True).to(self.device),
            pad_sequence(real, batch_first=True).to(self.device),
            torch.tensor([[one == other for one in texts] for other in texts]).to(self.device),
        )

    # --- what is kept ----------------------------------------------------------------------------

    def _keep(self, row: Row) -> None:
        shape, caches = self._shape(row), self._caches(row)
        try:
            names = self._name(row)
        except OSError as failed:
            raise cannot_read(row, failed) from failed
        frames: tuple[Tensor | None, Tensor] | None = None
        try:
            found = caches[0].get(*names[0])
            if found is None or not self._fits(found, shape):
                frames = read_row(row, shape)
                found = self.teacher.features(frames[1].to(self.device))
                found = {"features": found["features"].cpu()}
                caches[0].put(found, *names[0])
            cells = tuple(found["features"].shape[:3])
            kept = caches[1].get(*names[1])
            if kept is None or tuple(kept.get("mask", torch.empty(0)).shape) != cells:
                mask = self._read_mask(row, shape, frames)
                mask = reduce_mask(mask[None], (cells[0], cells[1], cells[2]), shape.lattice)[0]
                caches[1].put(kept := {"mask": mask}, *names[1])
        except (ConfigError, RuntimeSetupError, RowError):
            raise
        except SamaError as error:
            raise unreadable(row, error) from error
        if not kept["mask"].any():
            raise row_error(row.number, "an empty mask, or an edit that changes nothing", "a part")

    def _find(self, row: Row, which: int) -> Made:
        """Of `_caches`, what one has of a row: "features" (T, h, w, C), or a "mask" (T, h, w)."""
        found = self._caches(row)[which].get(*self._name(row)[which])
        if found is None:
            fix = "Start again: what is missing is made."
            got = f"none of row {row.number} in {self.folder}"
            raise SamaError(needed("features", got, "those that were made before", fix))
        return found

    def _fits(self, found: Made, shape: ClipShape) -> bool:
        """Whether kept features have the teacher's form."""
        form = tuple(found.get("features", torch.empty(0)).shape)
        slices = self.source.count_slices(shape.frames)
        return len(form) == 4 and (form[0], form[3]) == (slices, self.source.width)

    def _read_mask(
        self, row: Row, shape: ClipShape, frames: tuple[Tensor | None, Tensor] | None
    ) -> Tensor:
        """(F, H, W) in 0..1: the row's mask, or where its frames differ."""
        if self._takes_mask(row):
            return read_mask(row, shape)
        source, target = frames or read_row(row, shape)
        assert source is not None
        return changed_pixels(source, target)

    def _takes_mask(self, row: Row) -> bool:
        return row.mask is not None and self.settings.target != "changed"

    def _shape(self, row: Row) -> ClipShape:
        frames = 1 if row.is_image else self.config.frames
        return ClipShape(frames, self.config.height, self.config.width)

    def _caches(self, row: Row) -> tuple[FeatureCache, FeatureCache]:
        """Of tokens and of masks."""
        shape = self._shape(row)
        parts = ((shape.height, shape.width), shape.frames, "the teacher's cells")
        key = self.source.key
        return (
            FeatureCache(self.folder, key, *parts),
            FeatureCache(self.folder, key, *parts, "mask"),
        )

    def _name(self, row: Row) -> tuple[tuple[object, ...], tuple[object, ...]]:
        """What names a row's tokens and its mask: what its files hold, as they were first seen."""
        if row.number not in self._names:
            target = self._digest(row.target)
            if self._takes_mask(row):
                assert row.mask is not None
                other = ("mask", self._digest(row.mask))
            else:
                assert row.source is not None
                other = ("changed", self._digest(row.source))
            self._names[row.number] = ((target,), (target, *other))
        return self._names[row.number]
