"""What a row's teacher says: from the cache on disk, or made of the row's own frames.

    target frames ──teacher──▶ features ┐
    mask, or source and target ─────────┴─▶ make_targets ──▶ cache ──▶ TrainBatch.teacher

A file of the cache belongs to what the row's files hold, not to their names: copies elsewhere find
it, and an edited clip is made again. It depends besides on the teacher's weights, size, frames, the
settings of what is kept, and for a learned saliency on its weights, the text and the text encoder.
Deviation: SAM2VideoX keeps the features of clips that begin at every 20th frame; here a row is one
clip, its first frames.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import RuntimeSetupError, SamaError, needed
from ...geometry import ClipShape
from ..alignment import AlignConfig, FeatureCache, make_targets
from ..alignment.cache import list_facts, tell_difference
from ..alignment.saliency import (
    changed_pixels,
    check_saliency_file,
    load_saliency_aligner,
    read_saliency_origin,
    reduce_mask,
)
from ..alignment.teacher_targets import Made, fit_half_precision, list_forms, resize_cells
from ..alignment.teachers import Teacher, TeacherSource
from ..alignment.teachers.base import FileDigests
from ..alignment.teachers.teacher_source import tracks_subject
from ..config import TrainConfig
from ..fingerprint import digest_texts
from ..recipe import ConfigError
from .features_checks import refuse_impossible
from .frozen_encoders import EncodeText, embed_words
from .rows import Row, RowError, row_error, unreadable

MASKS_ALONE = "masks"
"""Stands for the teacher where rows alone say what is learned."""
ReadMask = Callable[[Row, ClipShape], Tensor]
"""A row's mask (F, H, W) in 0..1. Raises RowError."""


@dataclass
class RowFeatures:
    """The teacher's targets of rows."""

    config: TrainConfig
    """The recipe's settings; it has an alignment."""
    align: AlignConfig
    """The alignment."""
    read_mask: ReadMask
    """How a row's mask is read."""
    encode_text: EncodeText | None = None
    """The run's text encoder, for a learned saliency."""
    device: torch.device | str = "cpu"
    """Where the teacher computes."""

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that no row can have, RuntimeSetupError for a teacher
        that is none.
        """
        align = self.align
        self._digest = FileDigests()
        self._caches: dict[int, FeatureCache] = {}
        self.folder = Path(align.features or Path(self.config.output) / "features")
        self.cells = (self.config.height // align.cell, self.config.width // align.cell)
        self.needs_teacher = align.needs_teacher
        named = align.teacher if self.needs_teacher else ""  # else it is not even loaded
        self.source = TeacherSource.of(named) if named else None
        if self.source:
            self.source.check()
        self.saliency_key = self._identify_saliency()
        needs_kept = self.needs_teacher and self.source is None
        self.kept: dict[str, Any] = {"teacher": MASKS_ALONE, "width": 0}
        if needs_kept:
            self.kept = self._find_kept()
        self.key = self.source.key if self.source else str(self.kept["teacher"])
        self._check_origin()
        self.tracks = tracks_subject(self.key)
        slices = self._count_slices(self.config.frames) if self.source else 0
        refuse_impossible(self.config, align, self.tracks, slices)
        if align.saliency == "learned":
            check_saliency_file(Path(align.saliency_model))

    @property
    def width(self) -> int:
        """Channels of the teacher's features."""
        return self.source.width if self.source else int(self.kept["width"])

    @property
    def makes(self) -> bool:
        """Whether targets can be made, and not only be read."""
        return self.source is not None or not self.needs_teacher

    @property
    def reads_masks(self) -> bool:
        """Whether the rows' masks count for anything."""
        return self.tracks or self.align.saliency == "named"

    @cached_property
    def _sees_pictures(self) -> bool:
        return not (self.align.relation == "flow" or self.tracks) and self._count_slices(1) <= 1

    def name_teacher(self) -> str:
        """A name of all that makes the targets what they are, beside settings and rows."""
        return digest_texts([self.key, self.saliency_key])

    def applies_to(self, row: Row) -> bool:
        """Whether a row is aligned at all: a picture has no flow, nothing to follow, and only one
        frame for a teacher that makes several slices of every clip.
        """
        return not row.is_image or self._sees_pictures

    def check(self, row: Row) -> None:
        """Raises RowError for a row that lacks what the settings need. Opens no file."""
        if not self.applies_to(row):
            return
        saliency = self.align.saliency
        if saliency == "changed" and row.source is None:
            need = "a source and a target for align.saliency changed"
            raise row_error(row.number, "a clip without an edit", need)
        if saliency == "named" and row.mask is None:
            raise row_error(row.number, "no 'mask'", "one for align.saliency named")
        if self.tracks and row.mask is None and row.source is None:
            need = "one, or a source, for the teacher to know its subject"
            raise row_error(row.number, "no 'mask'", need)

    def find(self, row: Row, shape: ClipShape) -> Made | None:
        """What the cache has of a row; None where that is nothing, damaged, or of another form."""
        made = self.cache(shape.frames).get(*self._name(row))
        return made if made is not None and self._list_forms(made) == self.forms(shape) else None

    def of(self, row: Row, shape: ClipShape, source: Tensor | None, target: Tensor) -> Made | None:
        """The targets of a row, made and kept where they are missing; None without a teacher.

        `source` and `target` (F, H, W, 3) are the row's own frames, before any pretext. Raises
        RowError for a row of which the teacher makes nothing, values that are no numbers for one,
        and OSError where the cache cannot be written.
        """
        found = self.find(row, shape)
        if found is not None or not self.makes:
            return found
        try:
            made = self._make(row, shape, source, target)
            self._check_form(made, shape)
            cache = self.cache(shape.frames)
            cache.put(made, *self._name(row))
        except (ConfigError, RuntimeSetupError, RowError, OSError):
            raise
        except SamaError as error:
            raise unreadable(row, error) from error
        cache.put_facts(self._facts(shape.frames))
        # As it will be read from now on, so that a resumed run sees the same numbers.
        return cache.get(*self._name(row))

    # --- making ----------------------------------------------------------------------------------

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher itself, loaded when it is first needed."""
        assert self.source is not None
        return self.source.load(device=self.device)

    @torch.no_grad()
    def _make(self, row: Row, shape: ClipShape, source: Tensor | None, target: Tensor) -> Made:
        mask = self.read_mask(row, shape) if self.reads_masks and row.mask else None
        prompt = None
        if self.tracks:
            prompt = mask if mask is not None else changed_pixels(_require(source), target)
        features = {}
        if self.needs_teacher:
            features = self.teacher.features(target.to(self.device), prompt)
        saliency = self._weigh(row, shape, features, mask, source, target)
        made = make_targets(self.align, features, self.cells, saliency)
        made = fit_half_precision(self.align, made)
        return {name: value.cpu() for name, value in made.items()}

    def _weigh(
        self,
        row: Row,
        shape: ClipShape,
        features: Made,
        mask: Tensor | None,
        source: Tensor | None,
        target: Tensor,
    ) -> Tensor | None:
        """(T, h', w') in 0..1, or None where no saliency is asked for."""
        cells = (self._count_slices(shape.frames), *self.cells)
        match self.align.saliency:
            case "named":
                return reduce_mask(_require(mask)[None], cells, shape.lattice)[0]
            case "changed":
                changed = changed_pixels(_require(source), target)
                return reduce_mask(changed[None], cells, shape.lattice)[0]
            case "learned":
                return self._read_saliency(row, features["features"])
        return None

    def _read_saliency(self, row: Row, features: Tensor) -> Tensor:
        """(T, h', w') of what the text is about, as the learned saliency reads (T, h, w, C)."""
        assert self.encode_text is not None
        text = embed_words(self.encode_text, row.text).to(features)
        aligner = self.saliency_aligner.to(features.device)
        saliency = aligner(features.flatten(0, 2)[None], text[None])[1]
        return resize_cells(saliency.view(*features.shape[:3], 1), self.cells)[..., 0].clamp(0, 1)

    @cached_property
    def saliency_aligner(self) -> torch.nn.Module:
        """The learned saliency, frozen. Raises ConfigError for one of other widths."""
        aligner = load_saliency_aligner(Path(self.align.saliency_model))
        assert self.encode_text is not None
        own = (aligner.text_in.out_features, aligner.text_in.in_features)
        wanted = (self.width, self.encode_text("").shape[-1])
        if own != wanted:
            raise ConfigError(
                needed(
                    "align.saliency_model",
                    f"features {own[0]} and a text {own[1]} wide",
                    f"the teacher's {wanted[0]} and the text encoder's {wanted[1]}",
                    "Choose the file that was trained with both.",
                )
            )
        return aligner

    # --- names -----------------------------------------------------------------------------------

    def cache(self, frames: int) -> FeatureCache:
        """The files of clips of `frames` frames."""
        if frames not in self._caches:
            self._caches[frames] = FeatureCache(self.folder, self.key, *self._parts(frames))
        return self._caches[frames]

    def _parts(self, frames: int) -> tuple[object, ...]:
        """All that features of every row depend on, beside the teacher."""
        size = (self.config.height, self.config.width)
        return size, frames, self.align.targets_key(), self.saliency_key

    def list_reads(self, row: Row) -> tuple[tuple[Path | None, ...], str]:
        """The files and the text that a row's features are made from: rows with the same ones share
        them.
        """
        masked = row.mask if self.reads_masks else None
        needs_source = self.align.saliency == "changed" or (self.tracks and masked is None)
        files = (row.target, row.source if needs_source else None, masked)
        return files, row.text if self.align.saliency == "learned" else ""

    def _name(self, row: Row) -> tuple[object, ...]:
        """All that one row's features depend on: what its files hold, start, and prompt."""
        files, text = self.list_reads(row)
        start = 0
        return (*(self._digest(file) if file else "" for file in files), start, text)

    def _identify_saliency(self) -> str:
        """A name of the learned saliency and of the text encoder, "" without one."""
        if self.align.saliency != "learned":
            return ""
        paths = {"align.saliency_model": self.align.saliency_model}
        paths["text_encoder"] = self.config.text_encoder
        for name, path in paths.items():
            if not path or not Path(path).is_file():
                got = f"no file {path}" if path else "nothing"
                need = "the file that align.saliency learned reads"
                fix = "Set it in the recipe; the task saliency trains one."
                raise ConfigError(needed(name, got, need, fix))
        digests = [self._digest(Path(path)) for path in paths.values()]
        return hashlib.blake2b("".join(digests).encode(), digest_size=20).hexdigest()

    def _check_origin(self) -> None:
        """ConfigError for a learned saliency that says it is of another teacher or text encoder."""
        if self.align.saliency != "learned":
            return
        said = read_saliency_origin(Path(self.align.saliency_model))
        own = {"teacher": self.key, "text_encoder": self._digest(Path(self.config.text_encoder))}
        for name, wanted in own.items():
            if said.get(name, wanted) != wanted:
                words = name.replace("_", " ")
                got = f"{self.align.saliency_model}, trained with another {words}"
                fix = "Train one for this recipe with the task saliency."
                raise ConfigError(needed("align.saliency_model", got, f"this {words}", fix))

    # --- a cache without its teacher -------------------------------------------------------------

    def _facts(self, frames: int) -> dict[str, Any]:
        slices = self._count_slices(frames)
        parts = list(map(str, self._parts(frames)))
        return {"teacher": self.key, "width": self.width, "slices": slices, "parts": parts}

    def _count_slices(self, frames: int) -> int:
        if not self.needs_teacher:
            return frames  # masks are learned frame by frame
        if self.source:
            return self.source.count_slices(frames)
        return int(self.cache(frames).facts.get("slices", 0))

    def _find_kept(self) -> dict[str, Any]:
        """What is said of the cache's features for these settings, of whatever teacher.

        Raises ConfigError where there are none, or those of several teachers.
        """
        wanted = [list(map(str, self._parts(frames))) for frames in (self.config.frames, 1)]
        kept = list_facts(self.folder)
        found = [facts for facts in kept if facts["parts"] in wanted]
        names = sorted({facts["teacher"] for facts in found})
        if len(names) != 1:
            of = " and ".join(names) if names else "no teacher"
            others = [tell_difference(facts, wanted[0]) for facts in kept if not names]
            raise ConfigError(
                needed(
                    "align.teacher",
                    f"nothing, and in {self.folder} features of {of} for these settings"
                    + "".join(f"; {other}" for other in dict.fromkeys(others)),
                    "a teacher, or features of one",
                    "Set align.teacher, or fill the folder with the task features.",
                )
            )
        return found[0]

    # --- forms -----------------------------------------------------------------------------------

    def forms(self, shape: ClipShape) -> dict[str, tuple[int, ...]]:
        """The shapes of what a row's features must be."""
        return list_forms(self.align, self.cells, self._count_slices(shape.frames), self.width)

    @staticmethod
    def _list_forms(made: Made) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in made.items()}

    def _check_form(self, made: Made, shape: ClipShape) -> None:
        got, need = self._list_forms(made), self.forms(shape)
        if got != need:
            raise SamaError(needed("features", str(got), str(need), "Use another teacher."))


def _require(value: Tensor | None) -> Tensor:
    """A tensor that `check` made sure of."""
    assert value is not None
    return value
