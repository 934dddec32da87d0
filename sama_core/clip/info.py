"""The receipt of a fitted clip: everything needed to give the original back."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

from .audio import Sound
from .clip_range import ClipRange
from .colours import Colours
from .placement import Box, Placement
from .source import ClipFacts, ClipSource
from .timing import Timing


@dataclass(frozen=True)
class ClipInfo:
    """How `fit_clip` turned a range of a source into the model's frames."""

    source: ClipSource
    "The source itself, read again for borders that were cropped away, and for its sound."
    clip_range: ClipRange
    "The range that was asked for, in frames."
    facts: ClipFacts
    "Size, pixel shape, rotation, depth and colours of the source."
    placement: Placement
    "Fit mode and boxes."
    timing: Timing
    "When the kept frames are shown."
    padded_count: int
    "Frames given to the model, 4k+1: the last one repeated."
    interlaced: int = 0
    "How many of the kept frames are interlaced."
    damaged: int = 0
    "In how many of them the decoder had to make up parts."
    moved: int = 0
    "How many of them had no good time stamp, and got a time between their neighbours."
    audio: dict | None = field(default=None, compare=False, repr=False)
    "The range's sound in ComfyUI's AUDIO form, as it was read; None for silent clips."
    sound_remark: str = field(default="", compare=False)
    "What the artist should know about the sound, see `Sound`."
    sound_is_uniform: bool | None = field(default=None, compare=False)
    "Whether its packets keep one rate and layout, so that they can be copied; None if it was not looked at."

    @property
    def width(self) -> int:
        """Original frame width in pixels, as stored but upright."""
        return self.placement.picture_width

    @property
    def height(self) -> int:
        """Original frame height in pixels, as stored but upright."""
        return self.placement.picture_height

    @property
    def fps(self) -> Fraction:
        """Rate of the kept frames: source rate / stride; the average where the rate varies."""
        return self.timing.fps

    @property
    def frame_count(self) -> int:
        """Frames kept, before padding."""
        return len(self.timing.starts)

    @property
    def crop_box(self) -> Box:
        """(left, top, right, bottom) of the part of the original that was kept."""
        return self.placement.source_box

    @property
    def fitted_width(self) -> int:
        """Width of the model's frames."""
        return self.placement.width

    @property
    def fitted_height(self) -> int:
        """Height of the model's frames."""
        return self.placement.height

    @property
    def start_seconds(self) -> Fraction:
        """Time of the first kept frame in the source, for its sound."""
        return self.timing.start

    @property
    def duration_seconds(self) -> Fraction:
        """How long the kept frames play."""
        return self.timing.duration

    @property
    def colours(self) -> Colours:
        """Colour tags of the source."""
        return self.facts.colours

    def with_sound(self, sound: Sound | dict | None) -> "ClipInfo":
        """The receipt with what was read of the range's sound, or with AUDIO of which no more is known."""
        if not isinstance(sound, Sound):
            return replace(self, audio=sound, sound_remark="", sound_is_uniform=None)
        return replace(self, audio=sound.audio, sound_remark=sound.remark, sound_is_uniform=sound.uniform)

    def part(self, first: int, count: int) -> "ClipInfo":
        """The receipt of `count` of the kept frames, from the `first`-th on, without padding; its sound is cut along.

        Of the counts of interlaced, damaged and moved frames it keeps those of the whole.
        """
        timing = self.timing.part(first, count)
        return replace(self, clip_range=self.clip_range.part(first, count), timing=timing, padded_count=count,
                       audio=cut_audio(self.audio, timing.start - self.timing.start, timing.duration))

    def remarks(self) -> list[str]:
        """What the artist should know about the source; empty if there is nothing."""
        found = []
        if self.interlaced:
            found.append(f"{self.interlaced} of {self.frame_count} frames are interlaced: comb lines may show. "
                         "Deinterlace the clip first.")
        if self.damaged:
            found.append(f"{self.damaged} of {self.frame_count} frames are damaged, and were patched up while "
                         "decoding. Export the file again if it shows.")
        if self.moved:
            found.append(f"{self.moved} of {self.frame_count} frames have no time stamp of their own (missing, equal "
                         "or falling): they are shown between their neighbours.")
        if self.facts.alpha:
            found.append("The clip has transparency: it was laid on black, and the result is opaque.")
        if self.colours.hdr:
            found.append(f"The clip is HDR ({self.colours.hdr}): the model sees it paler than a screen shows it.")
        if self.facts.pixel_aspect != 1:
            found.append(f"The clip has pixels {float(self.facts.pixel_aspect):.4g} times as wide as high.")
        if not self.timing.steady:
            found.append("The frame rate varies: every frame keeps its own time.")
        if self.sound_remark:
            found.append(self.sound_remark)
        return found


def cut_audio(audio: dict | None, start: Fraction, duration: Fraction) -> dict | None:
    """A part of ComfyUI AUDIO, in seconds; None stays None."""
    if not audio:
        return None
    rate = audio["sample_rate"]
    first = round(start * rate)
    return {"waveform": audio["waveform"][..., first:first + round(duration * rate)], "sample_rate": rate}
