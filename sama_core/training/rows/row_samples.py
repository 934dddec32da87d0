"""One sample on its way: the row's window, what is kept of it, and its frames if they are needed.

Safe to run in several threads: encoders are not called here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Generator, Tensor

from ...geometry import ClipShape
from ..alignment.teacher_targets import Made
from .features import RowFeatures
from .frames import Window, draw_start, list_starts, read_row
from .groups import Looks
from .kept_encoders import ClipPart, KeptEncoders
from .rows import Row, cannot_read


@dataclass
class Sample:
    """A row in a window, and what was found of it."""

    row: Row
    """The row."""
    shape: ClipShape
    """What its clips are fitted to."""
    window: Window
    """The frames that are read."""
    found: dict[str, Tensor] = field(default_factory=dict)
    """Kept values: latents of "source" and "target", and "semantic" tokens."""
    made: Made | None = None
    """What was kept of the teacher's targets."""
    _frames: tuple[Tensor | None, Tensor] | None = None

    def part(self, path: Path) -> ClipPart:
        """The sample's part of one of its files."""
        shape, fps = self.shape, self.window.fps
        size = (shape.height, shape.width)
        return ClipPart(path, self.window.start, shape.frames, *size, str(fps or ""))

    @property
    def target_part(self) -> ClipPart:
        """What the target's latents are made of."""
        return self.part(self.row.target)

    def frames(self) -> tuple[Tensor | None, Tensor]:
        """Source and target frames, read once, see `read_row`. Raises RowError."""
        if self._frames is None:
            self._frames = read_row(self.row, self.shape, self.window)
        return self._frames

    def source_frames(self) -> Tensor:
        """The source's frames (F, H, W, 3), of a row that has a source."""
        source = self.frames()[0]
        assert source is not None
        return source

    def target_frames(self) -> Tensor:
        """The target's frames (F, H, W, 3)."""
        return self.frames()[1]


class SampleReader:
    """Reads samples: what is kept on disk, or else their frames."""

    def __init__(self, kept: KeptEncoders, looks: Looks, features: RowFeatures | None = None):
        self.kept, self.looks, self.features = kept, looks, features

    def read(self, row: Row, shape: ClipShape, generator: Generator, semantic: bool) -> Sample:
        """The sample of a row, its window drawn from `generator`. Raises RowError.

        `semantic`: whether the step has semantic tokens.
        """
        return self.read_window(
            row, shape, draw_start(self.starts(row, shape), generator), semantic
        )

    def read_window(self, row: Row, shape: ClipShape, start: int, semantic: bool) -> Sample:
        """As `read`, from frame `start` on."""
        sample = Sample(row, shape, Window(start, self.looks.of(row).fps))
        if self.find(sample, semantic):
            sample.frames()
        return sample

    def starts(self, row: Row, shape: ClipShape) -> Sequence[int]:
        """The first frames that a window of the row may have. Raises RowError."""
        return list_starts(self.looks.of(row).frames, shape.frames, self.looks.clips.windows)

    def find(self, sample: Sample, semantic: bool) -> bool:
        """Put what is kept into `sample`; whether its frames are needed all the same.

        Raises RowError for a file that has gone.
        """
        try:
            return self._find(sample, semantic)
        except OSError as failed:
            raise cannot_read(sample.row, failed) from failed

    def _find(self, sample: Sample, semantic: bool) -> bool:
        row, kept = sample.row, self.kept
        wanted = {"target": kept.find_latents(sample.target_part)}
        if row.source is not None:
            wanted["source"] = kept.find_latents(sample.part(row.source))
        if semantic:
            wanted["semantic"] = kept.find_semantic(sample.target_part)
        sample.found = {name: value for name, value in wanted.items() if value is not None}
        taught = True
        if self.features is not None and self.features.applies_to(row):
            sample.made = self.features.find(row, sample.shape)
            taught = sample.made is not None or not self.features.makes
        return row.source is None or len(sample.found) < len(wanted) or not taught
