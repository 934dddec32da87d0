"""The receipt of a fitted clip: everything needed to give the original back."""

from dataclasses import dataclass
from fractions import Fraction

from .source import ClipRange, ClipSource


@dataclass(frozen=True)
class ClipInfo:
    """How `fit_clip` turned a range of a source into the model's frames."""

    source: ClipSource
    "The source itself, read again for borders that were cropped away."
    clip_range: ClipRange
    "The range that was asked for."
    width: int
    "Original frame width in pixels."
    height: int
    "Original frame height in pixels."
    fps: Fraction
    "Rate of the kept frames: source rate / stride."
    frame_count: int
    "Frames kept, before padding."
    padded_count: int
    "Frames given to the model, 4k+1: the last one repeated."
    crop_box: tuple[int, int, int, int]
    "(left, top, right, bottom) of the part of the original that was kept."
    fitted_width: int
    "Width of the model's frames."
    fitted_height: int
    "Height of the model's frames."

    @property
    def start_seconds(self) -> Fraction:
        """Time of the first kept frame in the source, for its sound."""
        return self.clip_range.start / (self.fps * self.clip_range.stride)

    @property
    def duration_seconds(self) -> Fraction:
        """How long the kept frames play."""
        return self.frame_count / self.fps
