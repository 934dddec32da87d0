"""Giving the original back: frame count, size, and the borders that fitting cropped away.

An edit is enlarged in float (`resize`). A restored edit can be the source of another edit
(`EditedSource`).
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from ..errors import ClipError, needed
from .clip_range import ClipRange
from .fit import Progress
from .info import ClipInfo
from .picture import WHITE, Picture
from .placement import Box
from .resize import PlaneResizer
from .source import ClipFacts, ClipSource, check_start


def restore_frames(frames: Tensor, info: ClipInfo, progress: Progress | None = None) -> Tensor:
    """Undo `fit_clip`: float (F, H, W, 3) → float32 (info.frame_count, info.height, info.width, 3).

    All of `restored_frames` at once: 25 MB for each frame of 1080p. Raises ClipError as that does.
    """
    check_frames(frames, info)
    if is_original_size(frames, info):
        return frames[: info.frame_count].to("cpu", torch.float32)
    whole = torch.empty(info.frame_count, info.height, info.width, 3)
    for canvas, frame in zip(whole, restored_frames(frames, info, progress), strict=True):
        canvas.copy_(frame)
    return whole


def restored_frames(
    frames: Tensor, info: ClipInfo, progress: Progress | None = None
) -> Iterator[Tensor]:
    """Undo `fit_clip`, one frame at a time: yields float32 (info.height, info.width, 3) on the CPU.

    `frames` is float (F, H, W, 3); F may be `padded_count` or `frame_count`. Frames of the original
    size pass through unchanged. Borders are read from the source again; `progress(done, total)`
    counts frames. Raises ClipError at once if the frames are not this clip's, and later if the
    source has changed since.
    """
    check_frames(frames, info)
    return _restore(frames[: info.frame_count], is_original_size(frames, info), info, progress)


def check_frames(frames: Tensor, info: ClipInfo) -> None:
    """Raises ClipError unless `frames` can be the edit of the clip that `info` is about."""
    if frames.dim() != 4 or frames.shape[-1] != 3:
        raise ClipError(
            needed(
                "frames",
                f"shape {tuple(frames.shape)}",
                "(frames, height, width, 3)",
                "Connect the IMAGE output of the VAE decoder.",
            )
        )
    count, height, width = frames.shape[:3]
    if count not in (info.padded_count, info.frame_count):
        raise ClipError(
            needed(
                "frame count",
                count,
                f"{info.padded_count} (or {info.frame_count} without padding)",
                "Connect the clip info of the same source video, and keep its frame count.",
            )
        )
    if (width, height) not in ((info.fitted_width, info.fitted_height), (info.width, info.height)):
        raise ClipError(
            needed(
                "frame size",
                f"{width}x{height}",
                f"{info.fitted_width}x{info.fitted_height} "
                f"(or the original {info.width}x{info.height})",
                "Connect the clip info of the same source video, and resize only afterwards.",
            )
        )


def _restore(
    frames: Iterable[Tensor], is_original: bool, info: ClipInfo, progress: Progress | None
) -> Iterator[Tensor]:
    sizes = *size_of(info.placement.inset_box), *size_of(info.crop_box)
    done, resize = 0, None if is_original else PlaneResizer(*sizes)
    for frame, original in with_originals(frames, is_original, info):
        yield frame if resize is None else _compose(frame, original, info, resize)
        done += 1
        if progress is not None:
            progress(done, info.frame_count)
    if done < info.frame_count:
        raise source_changed(f"{done} frames", f"{info.frame_count} frames")


def with_originals(
    frames: Iterable[Tensor], is_original: bool, info: ClipInfo
) -> Iterator[tuple[Tensor, Picture | None]]:
    """Each frame, float32 on the CPU, and the source's picture where something of it was cropped.

    The source is read along, at the depth it has.
    """
    originals = repeat(None) if is_original or info.placement.takes_all else _originals(info)
    for frame, original in zip(frames, originals, strict=False):
        yield frame.to("cpu", torch.float32), original


def is_original_size(frames: Tensor, info: ClipInfo) -> bool:
    """Whether the frames are the restored picture already, and not a part fitted to its size."""
    height, width = frames.shape[1:3]
    if (width, height) != (info.width, info.height):
        return False
    is_fitted = (width, height) == (info.fitted_width, info.fitted_height)
    return not is_fitted or info.placement.changes_nothing


def _originals(info: ClipInfo) -> Iterator[Picture]:
    """The source's pictures, at the depth it has."""
    require_unchanged(info.source)
    yield from info.source.pictures(info.clip_range, info.facts.bit_depth > 8)


def size_of(box: Box) -> tuple[int, int]:
    """`(height, width)` of (left, top, right, bottom)."""
    left, top, right, bottom = box
    return bottom - top, right - left


def _compose(
    frame: Tensor, original: Picture | None, info: ClipInfo, resize: PlaneResizer
) -> Tensor:
    """The picture in `frame` at its own size, over the original where that was cropped."""
    canvas = torch.empty(info.height, info.width, 3)
    if original is not None:
        check_original(original.pixels, info)
        for rows, columns in borders(info):
            border = original.pixels[rows, columns]
            values = torch.from_numpy(border.astype(np.float32))
            canvas[rows, columns] = values.div_(WHITE[border.dtype])
    left, top, right, bottom = info.placement.inset_box
    inner = frame[top:bottom, left:right]
    left, top, right, bottom = info.crop_box
    for channel in range(3):
        canvas[top:bottom, left:right, channel] = resize(inner[..., channel]).clamp(0, 1)
    return canvas


def check_original(pixels: np.ndarray, info: ClipInfo) -> None:
    """Raises ClipError for a source's picture of another size."""
    height, width = pixels.shape[:2]
    if (height, width) != (info.height, info.width):
        raise source_changed(f"{width}x{height}", f"{info.width}x{info.height}")


def borders(info: ClipInfo) -> list[tuple[slice, slice]]:
    """Rows and columns of what was cropped: above, below, left and right of the rest."""
    left, top, right, bottom = info.crop_box
    return [
        (slice(0, top), slice(0, None)),
        (slice(bottom, None), slice(0, None)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, None)),
    ]


def source_changed(got: str, need: str) -> ClipError:
    """The error of a clip that is not the one whose ClipInfo is used."""
    return ClipError(
        needed(
            "source video",
            got,
            f"{need}, as when it was loaded",
            "It was changed or replaced meanwhile: queue the workflow again.",
        )
    )


def require_unchanged(source: ClipSource) -> None:
    """Raises ClipError where another clip lies in the place of the one that was opened."""
    if not source.is_unchanged():
        raise source_changed("another clip in its place", "the same clip")


class EditedSource(ClipSource):
    """Edited frames and the record of their source. Raises ClipError if they do not fit it."""

    name = "edit"

    def __init__(self, frames: Tensor, info: ClipInfo):
        check_frames(frames, info)
        self.edited, self.info = frames, info

    def facts(self) -> ClipFacts:
        """Those of the first source, with the edit's rate and count."""
        return replace(
            self.info.facts,
            fps=self.info.fps,
            frame_count=self.info.frame_count,
            rotation=0,
            mirrored=False,
            alpha=False,
        )

    def pictures(self, clip_range: ClipRange, deep: bool = False) -> Iterator[Picture]:
        """Restored pictures in `clip_range`; raises ClipError if the start lies beyond the end."""
        info, count = self.info, self.info.frame_count
        check_start(self.name, clip_range.start, count)
        stop = count if clip_range.last is None else min(clip_range.last + 1, count)
        part = info.part(clip_range.start, stop - clip_range.start)
        ends = (*info.timing.starts[1:], info.duration_seconds)
        kind = torch.uint16 if deep else torch.uint8
        white = WHITE[np.dtype(np.uint16 if deep else np.uint8)]
        restored = restored_frames(self.edited[clip_range.start : stop], part)
        for number, frame in enumerate(restored, clip_range.start):
            if clip_range.keeps(number):
                pixels = (frame.clamp(0, 1) * white).round().to(kind).numpy()
                time = info.timing.starts[number]
                yield Picture(number, pixels, time, ends[number] - time)

    def digest(self) -> str:
        """Hexadecimal digits for the edited frames and what restores them."""
        record = replace(self.info, source=None, audio=None)  # type: ignore[arg-type]
        found = hashlib.sha256(f"{self.info.source.digest()} {record}".encode())
        for frame in self.edited:
            found.update(frame.cpu().float().contiguous().numpy().data)
        return found.hexdigest()

    def frame_at(self, seconds: Fraction) -> int:
        """Number of the frame whose time is nearest; the count if that is over."""
        times = (*self.info.timing.starts, self.info.duration_seconds)
        following = min(bisect_left(times, seconds), len(times) - 1)
        at = times[following]
        is_before = following > 0 and seconds - times[following - 1] <= at - seconds
        return following - 1 if is_before else following

    def time_of(self, number: int) -> Fraction:
        """Seconds after the first frame at which frame `number` is shown. Raises ClipError beyond
        the end.
        """
        check_start(self.name, number, self.info.frame_count)
        return self.info.timing.starts[number]
