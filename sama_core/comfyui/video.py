"""SAMA Source Video: ComfyUI's VIDEO or IMAGE → fitted frames and their ClipInfo."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import comfy.model_management
from comfy_api.latest import Input
from torch import Tensor

from ..clip import (
    ClipInfo,
    ClipRange,
    ClipSource,
    EditedSource,
    Fit,
    ImageSource,
    Seconds,
    Sound,
    cut_audio,
    fit_clip,
    in_frames,
)
from ..clip.pairs import Take
from ..clip.sound import fitting_sound
from ..clip.sound_pieces import SoundPieces
from ..errors import ClipError, needed
from ..geometry import WAN_21, Lattice
from .core_video import file_shown
from .media_values import check_images, check_sound
from .restored_video import RestoredVideo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Span:
    """A part of a clip, as what reads its sound asks for it."""

    start_seconds: Fraction
    duration_seconds: Fraction


@dataclass(frozen=True)
class Opened:
    """What stands behind a VIDEO or IMAGE input."""

    source: ClipSource
    """Its frames."""
    audio_of: Callable[[ClipInfo | _Span], Sound | dict | None]
    """Its sound for the range of a ClipInfo."""
    window: tuple[float, float] = (0.0, 0.0)
    """Seconds from Trim Video: start, and length or 0."""
    holds_sound: bool = False
    """Whether its sound is in memory, as AUDIO, and not in a file."""

    def take(self, clip_range: ClipRange) -> Take:
        """A range of it, for comparisons."""

        def sound(start: Fraction, duration: Fraction) -> SoundPieces | None:
            if self.holds_sound:
                return SoundPieces.of_audio(self.audio_of(_Span(start, duration)))
            stop = comfy.model_management.throw_exception_if_processing_interrupted
            heard = self.source.listen(start, duration, stop)
            return SoundPieces.of_file(heard, duration, stop)

        return Take(self.source, clip_range, sound)

    def held_audio(self, info: ClipInfo) -> dict | None:
        """AUDIO for the range of a ClipInfo, where it is in memory."""
        return self.audio_of(info) if self.holds_sound else None


def read_source(
    video: Input.Video | None,
    images: Tensor | None,
    fps: float,
    clip_range: ClipRange,
    area: int,
    progress=None,
    fit: str = Fit.CROP,
    seconds: Seconds | None = None,
    remark: Callable[[list[str]], None] | None = None,
    lattice: Lattice = WAN_21,
) -> tuple[Tensor, ClipInfo]:
    """Fit a range of a VIDEO, or of an IMAGE batch playing at `fps`, to `area` pixels.

    Returns float frames (4k+1, H, W, 3) in 0…1, and the ClipInfo that restores the original, its
    sound included. Of a file only the wanted range is decoded. `seconds` replaces frame numbers
    where it is not 0; `lattice` is the model's. `progress(done, total)` is called per frame;
    `remark(texts)` gets what the user should know about the clip, or an empty list. Raises
    ClipError for an unreadable clip, and if neither input or both are given.
    """
    if (video is None) == (images is None):
        got = "both a video and images" if video is not None else "neither a video nor images"
        raise ClipError(
            needed(
                "SAMA Source Video", got, "one of the two", "Connect Load Video, or an IMAGE batch."
            )
        )
    found = (
        Opened(ImageSource(on_black(images), fps), lambda info: None)
        if images is not None
        else open_video(video)
    )

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if progress:
            progress(done, total)

    wanted = resolve_range(found, clip_range, seconds or Seconds())
    frames, info = fit_clip(found.source, wanted, area, report, Fit(fit), lattice=lattice)
    info = info.with_sound(found.audio_of(info))
    _, mixed = fitting_sound(info, info.audio)
    if mixed:  # one remark for everything about the sound
        info = replace(info, sound_remark=f"{info.sound_remark} {mixed}".strip())
    for text in info.remarks():
        log.warning("SAMA Source Video: %s", text)
    if remark:
        remark(info.remarks())
    return frames, info


def on_black(images: Tensor, alpha: Tensor | None = None) -> Tensor:
    """IMAGE of 3 or 4 channels → 3, transparent parts on black.

    `alpha` is a separate mask of opacity (F, H, W) or (F, H, W, 1).
    """
    if alpha is not None:
        images = images * (alpha if alpha.dim() == 4 else alpha[..., None])
    return images[..., :3] * images[..., 3:] if images.shape[-1] == 4 else images[..., :3]


def open_video(video: Input.Video) -> Opened:
    """The source of a VIDEO as ComfyUI shows it, and of its sound."""
    if isinstance(video, RestoredVideo):
        return Opened(
            EditedSource(video.frames, video.info),
            lambda info: cut_audio(video.audio, info.start_seconds, info.duration_seconds),
            holds_sound=True,
        )
    if not hasattr(video, "get_components"):
        raise ClipError(
            needed(
                "video",
                type(video).__name__,
                "a VIDEO, as Load Video gives it",
                "Connect Load Video, or an IMAGE batch.",
            )
        )
    shown = file_shown(video)
    if shown is not None:
        source, window = shown
        stop = comfy.model_management.throw_exception_if_processing_interrupted
        return Opened(
            source,
            lambda info: source.sound(info.start_seconds, info.duration_seconds, stop),
            window,
        )
    parts = video.get_components()
    images = check_images("the frames of the video", parts.images)
    audio = check_sound("the sound of the video", parts.audio) if parts.audio else None
    log.info(
        "SAMA: %s gives all of its frames at once; they take %.1f GB.",
        type(video).__name__,
        images.numel() * images.element_size() / 1e9,
    )
    source = ImageSource(on_black(images, getattr(parts, "alpha", None)), parts.frame_rate)
    return Opened(
        source,
        lambda info: cut_audio(audio, info.start_seconds, info.duration_seconds),
        holds_sound=True,
    )


def video_size(video: Input.Video) -> tuple[int, int, int]:
    """Frames, width and height of a VIDEO as ComfyUI shows it; 0 frames where the file does not
    say how many it has.
    """
    found = open_video(video)
    facts = found.source.facts()
    count = resolve_range(found, ClipRange(), Seconds()).count_in(facts.frame_count)
    return count or 0, facts.width, facts.height


def resolve_range(found: Opened, clip_range: ClipRange, seconds: Seconds) -> ClipRange:
    """The wanted frames, counted in the whole source.

    Trim Video leaves a window on the source; frames and seconds are counted from its start.
    """
    first, behind = found.source.find_trim(*found.window) if any(found.window) else (0, None)
    wanted = in_frames(found.source, clip_range, seconds, first)
    if behind is None:
        return wanted
    kept, start = behind - first, wanted.start - first
    available = -(-(kept - start) // wanted.stride)
    if available < 1:
        raise ClipError(
            needed(
                "start frame",
                start,
                f"0 to {kept - 1}, inside the trimmed clip",
                "Set start to a smaller frame number, or trim less.",
            )
        )
    return replace(wanted, frames=min(wanted.frames or available, available))
