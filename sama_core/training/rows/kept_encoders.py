"""What the frozen encoders say of the rows' clips and texts, kept on disk.

    part of a file ─┬─ kept ──▶ latents, semantic tokens
                    └─ missing: frames are read ──FrozenEncoders──▶ kept
    text ───────────┴─ missing: FrozenEncoders.text ──▶ kept

**An encoder is needed on a miss alone.** Of `FrozenEncoders` the names below ask `dtype` and
`device.type`, which say how it computes; `latents`, `semantic` and `text` are called for what is
not kept. So encoders may be opened at their first use, and leave the card once all is kept (see
`fill_kept`): a later miss, of a file that was damaged since, opens them again.

A name holds all that a value depends on: the clip's bytes, the first frame, the number of frames,
the rate, the size they are fitted to, the encoder's bytes, and how it computes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from ...text import MAX_TOKENS
from ..alignment.teachers.base import identify_weights
from ..config import TrainConfig
from .clips_config import BEFORE
from .frozen_encoders import FrozenEncoders
from .kept_tensors import KeptDigests, KeptTensors

FORM = 1
"""Counts the ways in which values were made; another way has other names."""
Frames = Callable[[], Tensor]
"""Reads frames (F, H, W, 3) in 0..1."""


@dataclass(frozen=True)
class ClipPart:
    """Frames of a file, fitted to a size: what latents are made of."""

    path: Path
    """The file."""
    start: int
    """First frame, at `fps`."""
    frames: int
    """How many."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: str = ""
    """The rate that the clip is resampled to, as a fraction; empty for its own."""


class KeptEncoders:
    """The three encoders, asked for what is not kept."""

    def __init__(self, config: TrainConfig, encoders: FrozenEncoders):
        """Keeps where the settings say so. Opens no encoder, reads no file yet."""
        clips = config.clips or BEFORE
        self.config, self.encoders = config, encoders
        self.kept: KeptTensors | None = None
        folder = None
        if clips.cache:
            folder = Path(clips.cache_folder or Path(config.output) / "cache")
            self.kept = KeptTensors(folder, clips.cache_gb)
        self._digest = KeptDigests(folder)

    # --- what is kept --------------------------------------------------------------------------

    def find_latents(self, part: ClipPart) -> Tensor | None:
        """Kept latents (16, T, H/8, W/8) of a part; None where they must be made."""
        return self.kept.get(*self._latents_name(part)) if self.kept else None

    def find_semantic(self, part: ClipPart) -> Tensor | None:
        """Kept semantic tokens (65, E) of a part's first frame; None where they must be made."""
        return self.kept.get(*self._semantic_name(part)) if self.kept else None

    # --- what is made where it is missing ------------------------------------------------------

    def latents(self, part: ClipPart, frames: Frames) -> Tensor:
        """Latents (16, T, H/8, W/8) float32 of a part; `frames` is called where none are kept."""
        found = self.find_latents(part)
        if found is None:
            found = self.encoders.latents(frames())
            if self.kept:
                self.kept.put(found, *self._latents_name(part))
        return found

    def semantic(self, part: ClipPart, frames: Frames) -> Tensor:
        """Semantic tokens (65, E) float32 of a part's first frame."""
        found = self.find_semantic(part)
        if found is None:
            found = self.encoders.semantic(frames()[0])
            if self.kept:
                self.kept.put(found, *self._semantic_name(part))
        return found

    def text(self, text: str) -> Tensor:
        """A text with its tag → embeddings (512, text_dim) float32; rows beyond its end are 0."""
        if self.kept is None:
            return self.encoders.text(text)
        name = ("text", FORM, text, self._text_key, *self._computes)
        rows = self.kept.get(*name)
        if rows is None:
            whole = self.encoders.text(text)
            rows = _without_empty_end(whole)
            self.kept.put(rows, *name)
        return functional.pad(rows, (0, 0, 0, MAX_TOKENS - len(rows)))

    # --- names ---------------------------------------------------------------------------------

    def _latents_name(self, part: ClipPart) -> tuple[object, ...]:
        return ("latents", FORM, *self._part_name(part), self._vae_key, *self._computes)

    def _semantic_name(self, part: ClipPart) -> tuple[object, ...]:
        first = self._part_name(replace(part, frames=1))
        return ("semantic", FORM, *first, self._semantic_key, *self._computes)

    def _part_name(self, part: ClipPart) -> tuple[object, ...]:
        digest = self._digest(part.path)
        return digest, part.start, part.frames, part.height, part.width, part.fps

    @property
    def _computes(self) -> tuple[str, str]:
        """How the encoders compute, on which their last bits depend."""
        return str(self.encoders.dtype), self.encoders.device.type

    @cached_property
    def _vae_key(self) -> str:
        return self._digest(Path(self.config.vae))

    @cached_property
    def _text_key(self) -> str:
        """Of the weights, and of a tokenizer beside them, as the official file has it."""
        path = Path(self.config.text_encoder)
        beside = sorted(path.parent.rglob("spiece.model")) if path.suffix == ".pth" else []
        return ":".join(self._digest(file) for file in (path, *beside))

    @cached_property
    def _semantic_key(self) -> str:
        choice = self.config.semantic_encoder
        return choice if choice == "pixels" else identify_weights(choice)


def _without_empty_end(rows: Tensor) -> Tensor:
    """(L, D) without the rows of zeros at its end."""
    filled = rows.abs().sum(-1).nonzero()
    return rows[: int(filled[-1]) + 1] if len(filled) else rows[:0]
