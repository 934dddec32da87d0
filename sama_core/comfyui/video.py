"""ComfyUI's VIDEO, IMAGE and AUDIO on one side, clips on the other."""

import logging
import os
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import comfy.model_management
import torch
from comfy_api.latest import Input, InputImpl, Types
from torch import Tensor

from ..clip import ClipInfo, ClipRange, ClipSource, FileSource, ImageSource, fit_clip, restore_frames
from ..errors import ClipError, needed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceClip:
    """A clip as the model wants it, with everything needed to give the original back."""

    images: Tensor
    """(4k+1, H, W, 3) float 0…1"""
    info: ClipInfo
    audio: dict | None
    """ComfyUI AUDIO of the kept range, None for silent clips."""


def read_source(video: Input.Video | None, images: Tensor | None, fps: float, clip_range: ClipRange,
                area: int, progress=None) -> SourceClip:
    """Fit a range of a VIDEO, or of an IMAGE batch playing at `fps`, to `area` pixels.

    Of a file only the wanted range is decoded. Raises ClipError if neither or both are given.
    """
    if (video is None) == (images is None):
        got = "both a video and images" if video is not None else "neither a video nor images"
        raise ClipError(needed("SAMA Source Video", got, "one of the two", "Connect Load Video, or an IMAGE batch."))
    if images is not None:
        source, audio_of = ImageSource(images[..., :3], Fraction(fps).limit_denominator(1001)), None
    else:
        source, clip_range, audio_of = _open(video, clip_range)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if progress:
            progress(done, total)

    frames, info = fit_clip(source, clip_range, area, report)
    audio = audio_of(info) if audio_of else None
    return SourceClip(frames, info, audio)


def _open(video: Input.Video, clip_range: ClipRange) -> tuple[ClipSource, ClipRange, object]:
    """The source behind a VIDEO, the range shifted by its trim, and how to get its sound."""
    if isinstance(video, InputImpl.VideoFromFile):
        source = FileSource(video.get_stream_source())
        return source, _within_trim(video, source, clip_range), lambda info: source.audio(
            info.start_seconds, info.duration_seconds)
    components = video.get_components()
    source = ImageSource(components.images[..., :3], Fraction(components.frame_rate))
    return source, clip_range, lambda info: _cut_audio(components.audio, info)


def _within_trim(video: Input.Video, source: FileSource, clip_range: ClipRange) -> ClipRange:
    """Trim Video keeps a window in seconds on the file; frames are counted from its start."""
    trim = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    if trim == (0.0, 0.0):
        return clip_range
    first, kept = (round(seconds * float(source.facts().fps)) for seconds in trim)
    available = -(-(kept - clip_range.start) // clip_range.stride) if kept else 0
    if kept and available < 1:
        raise ClipError(needed("start frame", clip_range.start, f"0 to {kept - 1}, inside the trimmed clip",
                               "Set start to a smaller frame number, or trim less."))
    frames = min(clip_range.frames or available, available) if kept else clip_range.frames
    return replace(clip_range, start=first + clip_range.start, frames=frames)


def _cut_audio(audio: dict | None, info: ClipInfo) -> dict | None:
    if not audio:
        return None
    rate = audio["sample_rate"]
    first, length = round(info.start_seconds * rate), round(info.duration_seconds * rate)
    return {"waveform": audio["waveform"][..., first:first + length], "sample_rate": rate}


def finish_video(frames: Tensor, info: ClipInfo, audio: dict | None) -> "FinishedVideo":
    """Edited frames → VIDEO of the source's frame count, size and rate, with `audio`."""
    def report(_done: int, _total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
    images = restore_frames(frames, info, report)
    return FinishedVideo(Types.VideoComponents(images=images, audio=audio, frame_rate=info.fps))


class FinishedVideo(InputImpl.VideoFromComponents):
    """Core's video of frames, saved under a temporary name first, so that a full disk leaves nothing behind."""

    def save_to(self, path, *args, **kwargs):
        """As core's. Raises ClipError with the cause if the file cannot be written."""
        video = _even_sized(self)
        if not isinstance(path, (str, os.PathLike)):
            return InputImpl.VideoFromComponents.save_to(video, path, *args, **kwargs)
        final = Path(path)
        partial = final.with_name(f".{final.stem}.{os.getpid()}.part{final.suffix}")
        try:
            InputImpl.VideoFromComponents.save_to(video, str(partial), *args, **kwargs)
            os.replace(partial, final)
        except OSError as failed:
            raise ClipError(needed(final.name, failed.strerror or str(failed), "room and permission to write it",
                                   f"Free disk space or check the rights of {final.parent.name}/.")) from failed
        finally:
            partial.unlink(missing_ok=True)


def _even_sized(video: InputImpl.VideoFromComponents) -> InputImpl.VideoFromComponents:
    """Core writes 4:2:0, which has even sides only: an odd side gets one more row or column, a copy of the last."""
    parts = video.get_components()
    height, width = parts.images.shape[1:3]
    if not (height % 2 or width % 2):
        return video
    log.warning("SAMA: %dx%d cannot be stored in 4:2:0 video; saved as %dx%d.", width, height,
                width + width % 2, height + height % 2)
    images = parts.images.movedim(-1, 1)
    images = torch.nn.functional.pad(images, (0, width % 2, 0, height % 2), mode="replicate").movedim(1, -1)
    return InputImpl.VideoFromComponents(replace(parts, images=images), bit_depth=video.get_bit_depth())
