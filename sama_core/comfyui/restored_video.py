"""The edit as a VIDEO for ComfyUI's nodes, restored frame by frame while it is saved.

Cropping and resizing it by ComfyUI's video nodes gives a VIDEO of ComfyUI's own.
"""

import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import comfy.model_management
import comfy.utils
from comfy_api.latest import Input, InputImpl, Types
from torch import Tensor

from ..clip import ClipInfo, check_frames, cut_audio, restore_frames, save_restored
from ..clip.save import PRESETS, Encoding
from ..errors import ClipError
from .later_core import ignore_newer_keywords, warn_once
from .saving import keep_edit, not_saved
from .transcode import (
    NEARLY_LOSSLESS,
    check_offered,
    color_space_of,
    colours_for,
    is_ours,
    resolve_file,
    save_through_core,
)

log = logging.getLogger(__name__)


SLACK = Fraction(1, 1000)
"""Rounding of durations that come as floats, in seconds."""


class RestoredVideo(Input.Video):
    """Edited frames at the source's size, count, times and sound, for nodes that take a VIDEO.

    It holds the fitted frames and what it takes to restore them. Saving restores and encodes frame
    by frame; only `get_components` needs all frames at once, 25 MB for each of 1080p.
    """

    def __init__(self, frames: Tensor, info: ClipInfo, audio: dict | None = None):
        """`frames` (4k+1, H, W, 3) are those of SAMA Source Video, edited; `audio` is AUDIO.

        Raises ClipError if the frames are not of the clip that `info` describes.
        """
        check_frames(frames, info)
        self.frames, self.info, self.audio = frames, info, audio
        self._encoded: bytes | None = None
        self._kept: Path | None = None

    @ignore_newer_keywords
    def get_components(self) -> Types.VideoComponents:
        """All restored frames, float32 (frame_count, height, width, 3), with rate and sound."""
        images = restore_frames(self.frames, self.info, _progress())
        return Types.VideoComponents(images=images, audio=self.audio, frame_rate=self.info.fps)

    @ignore_newer_keywords
    def save_to(
        self,
        path: str | os.PathLike | io.BytesIO,
        format: Types.VideoContainer = Types.VideoContainer.AUTO,
        codec: Types.VideoCodec = Types.VideoCodec.AUTO,
        metadata: dict | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        color_space: str | None = None,
        preset: str | None = None,
    ) -> None:
        """Write mp4 or mkv with H.264, see `save_restored`; other formats through ComfyUI.

        `metadata` is written as in ComfyUI's own videos. The defaults of `bit_depth`, `crf` and
        `color_space` are the source's depth, a quality that looks like the input, and the source's
        colours; see `colours_for`. Raises ClipError if the file cannot be written; then the edit is
        kept elsewhere, and the error says where.
        """
        tags = texts(metadata or {})
        try:
            encoding = self._encoding(tags, bit_depth, crf, color_space, preset)
            container, kind = resolve_file(path, format, codec)
            check_offered(container, kind, self.info.width, self.info.height)
            if is_ours(container, kind):
                self._write(path, replace(encoding, container=container))
            else:
                save_through_core(
                    lambda mp4: self._write(mp4, replace(encoding, crf=NEARLY_LOSSLESS)),
                    path,
                    container,
                    kind,
                    metadata=tags or None,
                    bit_depth=bit_depth,
                    crf=crf,
                    preset=preset,
                )
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as failed:
            raise self._not_saved(failed, tags) from failed

    def _encoding(
        self,
        tags: dict[str, str],
        bit_depth: int | None,
        crf: float | None,
        color_space: str | None,
        preset: str | None,
    ) -> Encoding:
        """The encoding that is asked for; an unknown preset is dropped with a warning."""
        if preset is not None and preset not in PRESETS:
            warn_once("save_to", f"preset={preset}")
            preset = None
        colours = colours_for(color_space, self.info.colours)
        if colours is not None and colours.hdr:
            bit_depth = max(bit_depth or 0, 10)
        quality = {} if crf is None else {"crf": crf}
        return Encoding(
            bit_depth=bit_depth, metadata=tags, preset=preset, colours=colours, **quality
        )

    def _write(self, path: str | os.PathLike | io.BytesIO, encoding: Encoding) -> None:
        if self.info.width % 2 or self.info.height % 2:
            log.warning(
                "SAMA: %dx%d does not fit H.264 4:2:0, which has even sides only; saved as 4:4:4, "
                "which some televisions and phones do not play.",
                self.info.width,
                self.info.height,
            )
        save_restored(path, self.frames, self.info, self.audio, encoding, _progress())

    def _not_saved(self, failed: Exception, tags: dict[str, str]) -> ClipError:
        """The error for `failed`, with the place where the edit is kept; it is written once."""
        if self._kept is None or not self._kept.is_file():
            self._kept = keep_edit(self.frames, self.info, tags)
        return not_saved(failed, self._kept)

    @ignore_newer_keywords
    def as_trimmed(
        self,
        start_time: float | None = None,
        duration: float | None = None,
        strict_duration: bool = False,
    ) -> "RestoredVideo | None":
        """The part from `start_time` on, for `duration`, both in seconds; a duration of 0 is all.

        A start below 0 counts from the end. Returns None if no frame is left, or with
        `strict_duration` if the part is shorter than `duration`.
        """
        starts, whole = self.info.timing.starts, self.info.duration_seconds
        begin = _exact(start_time or 0)
        begin = max(begin + whole, Fraction(0)) if begin < 0 else begin
        end = begin + _exact(duration) if duration else whole
        kept = [number for number, time in enumerate(starts) if begin <= time < end]
        if not kept or (strict_duration and end > whole + SLACK):
            return None
        info = self.info.part(kept[0], len(kept))
        audio = cut_audio(self.audio, starts[kept[0]], info.duration_seconds)
        return RestoredVideo(self.frames[kept[0] : kept[-1] + 1], info, audio)

    @ignore_newer_keywords
    def as_cropped(self, x: int = 0, y: int = 0, width: int = 0, height: int = 0) -> Input.Video:
        """The rectangle of every frame, as ComfyUI's own videos give it."""
        return crop_video(self, x, y, width, height)

    @ignore_newer_keywords
    def as_resized(
        self,
        width: int,
        height: int,
        upscale_method: str = "lanczos",
        crop: str = "disabled",
        post_crop: tuple[int, int, int, int] | None = None,
    ) -> Input.Video:
        """Every frame at another size, then the part `post_crop` (x, y, width, height) of it."""
        return resize_video(self, width, height, upscale_method, crop, post_crop)

    @ignore_newer_keywords
    def get_stream_source(self) -> io.BytesIO:
        """The encoded video in memory; it is encoded once."""
        if self._encoded is None:
            buffer = io.BytesIO()
            self.save_to(buffer)
            self._encoded = buffer.getvalue()
        return io.BytesIO(self._encoded)

    @ignore_newer_keywords
    def get_dimensions(self) -> tuple[int, int]:
        """`(width, height)` in pixels."""
        return self.info.width, self.info.height

    @ignore_newer_keywords
    def get_display_dimensions(self) -> tuple[int, int]:
        """`(width, height)` as shown; an edit is never stored rotated."""
        return self.info.width, self.info.height

    @ignore_newer_keywords
    def get_bit_depth(self) -> int:
        """8, or 10 for sources of more than 8 bits."""
        return 10 if self.info.facts.bit_depth > 8 else 8

    @ignore_newer_keywords
    def get_color_space(self) -> str:
        """sRGB, HDR (HLG) or HDR PQ."""
        return color_space_of(self.info.colours)

    @ignore_newer_keywords
    def get_duration(self) -> float:
        """Seconds."""
        return float(self.info.duration_seconds)

    @ignore_newer_keywords
    def get_frame_count(self) -> int:
        """Frames, without padding."""
        return self.info.frame_count

    @ignore_newer_keywords
    def get_frame_rate(self) -> Fraction:
        """Frames per second, on average."""
        return self.info.fps

    @ignore_newer_keywords
    def get_container_format(self) -> str:
        """The format it is saved in by default."""
        return Types.VideoContainer.MP4.value

    @ignore_newer_keywords
    def get_active_trim_window(self) -> tuple[float, float]:
        """`(0.0, 0.0)`, no window: a trimmed edit holds only the frames that are left."""
        return 0.0, 0.0

    @ignore_newer_keywords
    def has_pending_frame_edits(self) -> bool:
        """False: `get_stream_source` gives the whole edit."""
        return False


def texts(metadata: Mapping) -> dict[str, str]:
    """Metadata as text.

    What cannot be written is left out with a warning, so that saving goes on.
    """
    tags = {}
    for name, value in metadata.items():
        try:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            tags[_whole(str(name))] = _whole(text)
        except Exception as failed:
            log.warning(
                "SAMA: the tag %.40s is not written into the video (%s).",
                ascii(name),
                type(failed).__name__,
            )
    return tags


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode(errors="replace").decode()


def _exact(seconds: float) -> Fraction:
    """The nearest simple fraction: the float 0.08 is above 2/25, where a frame may begin."""
    return Fraction(seconds).limit_denominator(1_000_000)


def _progress() -> Callable[[int, int], None]:
    """A function that shows the running node's progress, and raises when the user interrupts."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def crop_video(video: Input.Video, x: int, y: int, width: int, height: int) -> Input.Video:
    """The rectangle of every frame; the video itself where that is empty or the whole picture.

    A later ComfyUI crops the encoded video as it is read, which keeps its times and holds one frame
    at a time. An older one holds all frames, 25 MB for each of 1080p; sides are made even, as
    ComfyUI does for its encoders.
    """
    if hasattr(InputImpl.VideoFromFile, "as_cropped"):
        return InputImpl.VideoFromFile(video.get_stream_source()).as_cropped(x, y, width, height)
    whole_width, whole_height = video.get_dimensions()
    x, y = max(0, min(x, whole_width)), max(0, min(y, whole_height))
    width, height = min(width, whole_width - x) // 2 * 2, min(height, whole_height - y) // 2 * 2
    if width <= 0 or height <= 0 or (width, height) == (whole_width, whole_height):
        return video
    return _change_frames(video, lambda images: images[:, y : y + height, x : x + width].clone())


def resize_video(
    video: Input.Video,
    width: int,
    height: int,
    upscale_method: str,
    crop: str,
    post_crop: tuple[int, int, int, int] | None,
) -> Input.Video:
    """Every frame scaled by ComfyUI's own resampling, then cut to `post_crop`.

    Times and memory are as in `crop_video`.
    """
    if hasattr(InputImpl.VideoFromFile, "as_resized"):
        return InputImpl.VideoFromFile(video.get_stream_source()).as_resized(
            width, height, upscale_method, crop, post_crop
        )

    def scale(images: Tensor) -> Tensor:
        scaled = comfy.utils.common_upscale(
            images.movedim(-1, 1), width, height, upscale_method, crop
        ).movedim(1, -1)
        left, top, columns, rows = post_crop or (0, 0, width, height)
        return scaled[:, top : top + rows, left : left + columns].contiguous()

    return _change_frames(video, scale)


def _change_frames(video: Input.Video, change: Callable[[Tensor], Tensor]) -> Input.Video:
    parts = video.get_components()
    return InputImpl.VideoFromComponents(
        Types.VideoComponents(
            images=change(parts.images), audio=parts.audio, frame_rate=parts.frame_rate
        ),
        bit_depth=video.get_bit_depth(),
    )
