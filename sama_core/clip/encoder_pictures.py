"""Edited frames as the pictures that the encoder takes: restored, and in YUV.

They are made by other threads while those before are encoded. A picture is put together in whole
numbers, plane by plane: the source's own stay what they are, and nothing of its size is held in
float.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import av
import numpy as np
import torch
from torch import Tensor

from ..threads import count_workers, in_order, open_pool
from .colours import Colours, Scratch, ToYuv, rgb_planes
from .fit import Progress
from .info import ClipInfo
from .picture import WHITE, Picture
from .resize import PlaneResizer
from .restore import borders, check_original, size_of, source_changed, with_originals


def make_pictures(
    frames: Iterable[Tensor],
    is_original: bool,
    info: ClipInfo,
    pix_fmt: str,
    tags: Colours,
    progress: Progress | None = None,
) -> Iterator[av.VideoFrame]:
    """Edited frames (H, W, 3), without padding → pictures of the source's size in `pix_fmt`.

    With `is_original` the frames are the restored ones already, else fitted ones. Up to a few are
    taken ahead. The source is read along, once. Raises ClipError for fewer frames than `info` has,
    and a source that has changed. `progress(done, total)` counts pictures.
    """
    maker, done = _Maker(info, is_original, pix_fmt, tags), 0
    jobs = (partial(maker.make, *pair) for pair in with_originals(frames, is_original, info))
    with open_pool() as pool:
        for picture in in_order(pool, jobs, count_workers()):
            yield picture
            done += 1
            if progress is not None:
                progress(done, info.frame_count)
    if done < info.frame_count:
        raise source_changed(f"{done} frames", f"{info.frame_count} frames")


class _Maker:
    """Makes one picture at a time in each thread."""

    def __init__(self, info: ClipInfo, is_original: bool, pix_fmt: str, tags: Colours):
        self.info = info
        whole = 0, 0, info.width, info.height
        self.taken = whole if is_original else info.placement.inset_box
        self.place = whole if is_original else info.crop_box
        self._of_thread = _OfThread(
            partial(_Canvas, info, pix_fmt, tags),
            partial(PlaneResizer, *size_of(self.taken), *size_of(self.place)),
        )

    def make(self, frame: Tensor, original: Picture | None) -> av.VideoFrame:
        """The picture of an edited frame, over the `original` where that was cropped."""
        canvas, resize = self._of_thread.canvas, self._of_thread.resize
        if original is not None:
            pixels = original.lend_pixels(canvas.scratch)
            check_original(pixels, self.info)
            for rows, columns in borders(self.info):
                canvas.lay(pixels[rows, columns], rows, columns)
        left, top, right, bottom = self.taken
        inner = frame[top:bottom, left:right]
        left, top, right, bottom = self.place
        for channel in range(3):
            canvas.write(
                channel, slice(top, bottom), slice(left, right), resize(inner[..., channel])
            )
        return canvas.as_yuv()


class _OfThread(threading.local):
    """What each thread has for itself."""

    def __init__(self, make: Callable[[], "_Canvas"], make_resizer: Callable[[], PlaneResizer]):
        self.canvas, self.resize = make(), make_resizer()


class _Canvas:
    """A picture in RGB that is filled and converted, and then used again."""

    def __init__(self, info: ClipInfo, pix_fmt: str, tags: Colours):
        self.to_yuv, self.scratch = ToYuv(pix_fmt, tags), Scratch()
        self.deep = "10" in pix_fmt
        if self.deep:  # of planes in 16 bits swscale makes other colour differences
            self._pixels = np.zeros((info.height, info.width, 3), np.uint16)
            self._planes = list(np.moveaxis(self._pixels, -1, 0))
        else:
            self._frame = av.VideoFrame(info.width, info.height, "gbrp")
            self._planes = rgb_planes(self._frame)
        self._white = WHITE[self._planes[0].dtype]

    def lay(self, pixels: np.ndarray, rows: slice, columns: slice) -> None:
        """Put a part of a picture, uint8 or uint16 (H, W, 3), in its place."""
        if pixels.dtype == self._planes[0].dtype:
            for channel, plane in enumerate(self._planes):
                plane[rows, columns] = np.minimum(pixels[..., channel], self._white)
            return
        values = torch.from_numpy(pixels.astype(np.float32)).div_(WHITE[pixels.dtype])
        for channel in range(3):
            self.write(channel, rows, columns, values[..., channel])

    def write(self, channel: int, rows: slice, columns: slice, values: Tensor) -> None:
        """Put values of a channel, float (H, W) in 0…1, in their place, as the nearest levels."""
        levels = values.clamp(0, 1).mul_(self._white).round_()
        self._planes[channel][rows, columns] = levels.numpy()

    def as_yuv(self) -> av.VideoFrame:
        """What was filled in, as the encoder takes it."""
        if self.deep:
            return self.to_yuv(av.VideoFrame.from_ndarray(self._pixels, "rgb48le"))
        return self.to_yuv(self._frame)
