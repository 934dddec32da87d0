"""The held-out rows of a file as the model sees them, encoded once."""

import json
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ...clip.file_source import FileSource
from ...errors import ClipError
from ...geometry import ClipShape, Lattice
from ...released_files import release_of
from ...text import EDIT_TAG, add_tag
from ..config import TrainConfig
from ..objective import TrainBatch
from ..validation.clips import to_levels
from ..validation.held_out_loss import HeldOutRow
from .clips_config import BEFORE
from .frames import Window, read_row
from .frozen_encoders import FrozenEncoders
from .groups import Looks
from .rows import Row, RowError, add_name, name_rows, row_error

USUAL_FPS = 16.0
"""Of a clip whose file does not say."""


class HeldOutRows:
    """The held-out rows of a file, encoded once. A `HeldOut`.

    Their first frames, in the one size of the settings, at the rate that `[clips]` says.
    """

    def __init__(
        self, config: TrainConfig, rows: Iterable[Row], encoders: FrozenEncoders, lattice: Lattice
    ):
        """Reads and encodes the rows. Raises RowError for one that cannot be read: a
        loss that is measured on other rows than those asked for is no answer.
        """
        self.config, self.encoders, self.lattice = config, encoders, lattice
        self._looks = Looks(config.clips or BEFORE)
        self.negative = encoders.text(EDIT_TAG)[None]
        self.guidance = release_of(self.negative.shape[-1]).cfg
        self.rows = [self._encode(row) for row in rows]

    def frames(self, latents: Tensor) -> Tensor:
        """See `HeldOut`."""
        kept = self.encoders.is_open
        frames = self.encoders.frames(latents)
        if not kept:
            self.encoders.release()  # the card is the model's
        return frames

    def _encode(self, row: Row) -> HeldOutRow:
        config, encode = self.config, self.encoders
        frames = 1 if row.is_image else config.frames
        shape = ClipShape(frames, config.height, config.width, self.lattice)
        try:
            fps = self._looks.of(row).fps
            source, target = read_row(row, shape, Window(fps=fps))
        except RowError as wrong:
            raise _unusable(config, row.number, str(wrong)) from wrong
        if source is None:
            lone = row_error(row.number, "a clip without an edit", "a pair")
            raise _unusable(config, row.number, str(lone))
        semantic = encode.semantic(target[0])[None] if config.semantic_weight else None
        batch = TrainBatch(
            target_latents=encode.latents(target)[None],
            source_latents=encode.latents(source)[None],
            text=encode.text(add_tag(row.text))[None],
            semantic=semantic,
            names=[f"held-out row {row.number}"],
        )
        shown = to_levels(source), to_levels(target)
        rate = float(fps) if fps else _fps(row.target)
        return HeldOutRow(row.number, batch, self.negative, *shown, rate)


def _unusable(config: TrainConfig, number: int, wrong: str) -> RowError:
    """What is wrong with a row, that it is held out, and what to set."""
    rows = config.validation.rows if config.validation else 0
    if isinstance(rows, str):
        data = Path(rows)
        held, fix = f"{data.name} in [validation]", "Correct the row there, or take it out."
    else:
        data = Path(config.data)
        held = f"[validation], rows = {json.dumps(rows)}"
        fix = "Correct the row, or set validation.rows to the numbers of good rows, such as [1, 2]."
    said = add_name(wrong, number, name_rows(data) if data.exists() else {})
    return RowError(f"{said} The row is held out by {held}. {fix}")


def _fps(path: Path) -> float:
    try:
        return float(FileSource(path).facts().fps) or USUAL_FPS
    except (ClipError, AttributeError, TypeError):
        return USUAL_FPS
