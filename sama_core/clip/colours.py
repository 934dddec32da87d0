"""The colours of a video: its tags, and pictures between YUV and RGB.

Numbers are those of ITU-T H.273. Conversion gives the same numbers with every PyAV from 16 on: PyAV
17 and later read matrix and range from the picture; PyAV 16 takes every picture as limited range,
follows the source's matrix only where it differs from the target's, and has no names for swscale's
flags. So everything is stated explicitly.
"""

import math
import threading
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

UNSTATED = 2
"""The number of a tag that says nothing."""
RGB_MATRIX = 0
"""The matrix of RGB, which has none."""
SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""H.273 matrix → swscale's number for it. Others are rare, and read as BT.601, as if unstated."""
BT601 = 5
"""swscale's number for the matrix of BT.601."""
PRIMARIES, TRANSFERS = {1, *range(4, 13), 22}, {1, *range(4, 19)}
"""Numbers that have a meaning."""
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
HD_HEIGHT = 720
"""Pixels of height from which players take a video without tags as BT.709."""
LIMITED_RANGE, FULL_RANGE = 1, 2
BILINEAR, ACCURATE_RND = 1 << 1, 1 << 18
"""Source: enum SwsFlags, libswscale/swscale.h."""
EXACT = BILINEAR | ACCURATE_RND
"""Into rgb24, or without the second flag, swscale rounds down: 8-bit video becomes 1 to 2 levels
too dark.
"""
NO_MATRIX = 3
"""A reserved number. It stands for "RGB, without a matrix" and is no source's matrix."""
PLANAR = "gbrp"
"""RGB in 8 bits, its planes in this order."""
FULL_FORMATS = ("yuvj", "gray", "ya8", "ya16")
"""Beginnings of the names of formats that are full range whatever their tag says."""


@dataclass(frozen=True)
class Colours:
    """The colour tags of a video.

    What is unstated is read and written as BT.601, as ComfyUI and FFmpeg do.
    """

    matrix: int = UNSTATED
    """How RGB becomes YUV."""
    primaries: int = UNSTATED
    """Which red, green and blue the code values stand for, as H.273 numbers them."""
    transfer: int = UNSTATED
    """How light becomes code values. It is passed on; nothing is converted by it."""

    @property
    def is_open(self) -> bool:
        """Whether there is no matrix to follow: the pictures are RGB, or nothing is said."""
        return self.matrix in (RGB_MATRIX, UNSTATED)

    @property
    def swscale_matrix(self) -> int:
        """The matrix, in swscale's numbering."""
        return SWSCALE_MATRIX.get(self.matrix, BT601)

    @property
    def hdr(self) -> str | None:
        """Name of the HDR transfer, None for ordinary video."""
        return HDR_TRANSFERS.get(self.transfer)


UNTAGGED = Colours()
BT709_COLOURS = Colours(1, 1, 1)
BT601_COLOURS = Colours(6, 6, 6)


def matrix_of(picture: av.VideoFrame) -> int:
    """The matrix that a decoded picture states."""
    return int(picture.colorspace)


def colours_of(picture: av.VideoFrame, context: av.VideoCodecContext) -> Colours:
    """The tags of a decoded picture of a stream with that codec context.

    Deviation: PyAV 16 gives only the matrix of a picture; primaries and transfer are the stream's
    then, which differ from the picture's only in files that contradict themselves.
    """
    has_tags = hasattr(picture, "color_primaries") and hasattr(picture, "color_trc")
    tagged = picture if has_tags else context
    return Colours(matrix_of(picture), int(tagged.color_primaries), int(tagged.color_trc))


def tag_encoder(context: av.VideoCodecContext, tags: Colours) -> None:
    """State the colours of the limited-range pictures that an encoder will get."""
    context.color_range = LIMITED_RANGE
    context.colorspace, context.color_primaries = tags.matrix, tags.primaries
    context.color_trc = tags.transfer


def colours_to_write(stated: Colours, height: int) -> Colours:
    """Tags for a file made of pictures with the tags `stated`: the same, without invalid ones.

    RGB, which has no matrix, gets the tags that players assume for a video of that height.
    """
    if stated.matrix == RGB_MATRIX:
        return BT709_COLOURS if height >= HD_HEIGHT else BT601_COLOURS
    return Colours(
        stated.matrix if stated.matrix in SWSCALE_MATRIX else UNSTATED,
        stated.primaries if stated.primaries in PRIMARIES else UNSTATED,
        stated.transfer if stated.transfer in TRANSFERS else UNSTATED,
    )


class Scratch:
    """Memory that is used again for one picture after the other: fresh memory costs as much time as
    what is done in it.
    """

    def __init__(self) -> None:
        self._held = np.empty(0, np.uint8)

    def array(self, *shape: int) -> np.ndarray:
        """An uint8 array of this shape, of any content, over the one that was given before."""
        size = math.prod(shape)
        if len(self._held) < size:
            self._held = np.empty(size, np.uint8)
        return self._held[:size].reshape(shape)


class _Reformatters(threading.local):
    """A thread's converter, used again as long as pictures of one kind come."""

    kind: tuple | None = None

    def of(self, kind: tuple) -> VideoReformatter:
        """The one for pictures of this kind."""
        if kind != self.kind:
            self.kind, self.converter = kind, VideoReformatter()
        return self.converter


_reformatters = _Reformatters()


def to_rgb(frame: av.VideoFrame, form: str, scratch: Scratch | None = None) -> np.ndarray:
    """A decoded picture in `form`, a planar RGB format of swscale: (H, W, 3), or 4 with alpha.

    With `scratch`, pictures in 8 bits without alpha lie there.
    """
    if frame.format.is_rgb:
        return frame.to_ndarray(format=form, interpolation=EXACT)
    matrix, stated = Colours(matrix_of(frame)), _range_of(frame)
    followed = None if matrix.is_open else matrix.swscale_matrix
    kind = frame.format.name, frame.width, frame.height, form, stated, followed
    planar = _reformatters.of(kind).reformat(
        frame,
        format=form,
        interpolation=EXACT,
        src_color_range=stated,
        src_colorspace=followed,
        dst_colorspace=NO_MATRIX,
    )
    if form != PLANAR:
        return planar.to_ndarray()
    size = frame.height, frame.width, 3
    pixels = scratch.array(*size) if scratch else np.empty(size, np.uint8)
    for channel, plane in enumerate(rgb_planes(planar)):
        pixels[..., channel] = plane
    return pixels


def rgb_planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The red, green and blue plane of a picture in `PLANAR`, uint8 (H, W): its own memory."""
    views = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        for plane in frame.planes
    ]
    green, blue, red = (view[:, : frame.width] for view in views)
    return [red, green, blue]


class ToYuv:
    """RGB pictures of one size → YUV of limited range in one format."""

    def __init__(self, pix_fmt: str, colours: Colours):
        self.pix_fmt, self.colours = pix_fmt, colours
        self._reformatter = VideoReformatter()

    def __call__(self, rgb: av.VideoFrame) -> av.VideoFrame:
        """RGB → YUV, with the tag of the matrix that was used."""
        matrix = self.colours.swscale_matrix
        # PyAV 17 has no number for BT.2020, but keeps what the source states.
        rgb.colorspace = matrix
        picture = self._reformatter.reformat(
            rgb,
            format=self.pix_fmt,
            interpolation=EXACT,
            src_colorspace=UNSTATED,
            dst_colorspace=matrix,
            dst_color_range=LIMITED_RANGE,
        )
        if self.colours.matrix == UNSTATED:
            picture.colorspace = UNSTATED
        return picture


def _range_of(frame: av.VideoFrame) -> int:
    """Limited or full range, as the picture's format or its tag says."""
    return FULL_RANGE if frame.format.name.startswith(FULL_FORMATS) else int(frame.color_range)
