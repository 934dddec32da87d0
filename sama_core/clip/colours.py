"""What a video says of its colours, and which of it swscale can be told. Numbers are those of ITU-T H.273.

Between a video's YUV and RGB, in the same numbers with every PyAV from 16 on.

PyAV 17 and later read matrix and range off the picture. PyAV 16 takes every picture for limited range, follows the
source's matrix only where it is not the target's, and has no names for swscale's flags. So all of it is stated.
"""

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

UNSTATED = 2


RGB_MATRIX = 0


# H.273 matrix → swscale's number for it. Others are rare; they are read as BT.601, as if unstated.
SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}


BT601 = 5


PRIMARIES, TRANSFERS = {1, *range(4, 13), 22}, {1, *range(4, 19)}


HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


HD_HEIGHT = 720


LIMITED_RANGE = 1


@dataclass(frozen=True)
class Colours:
    """The colour tags of a video. What is unstated is read and written as BT.601, as ComfyUI and FFmpeg do."""

    matrix: int = UNSTATED
    "From RGB to YUV."
    primaries: int = UNSTATED
    "The red, green and blue that are meant."
    transfer: int = UNSTATED
    "From light to code values. It is carried along; nothing is converted by it."

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

    Deviation: PyAV 16 tells a picture's matrix alone; primaries and transfer are the stream's then, which differ
    from the picture's only in files that contradict themselves.
    """
    tells = (
        picture
        if hasattr(picture, "color_primaries") and hasattr(picture, "color_trc")
        else context
    )
    return Colours(matrix_of(picture), int(tells.color_primaries), int(tells.color_trc))


def colours_to_write(stated: Colours, height: int) -> Colours:
    """Tags for a file made of pictures so tagged: the same, without the invalid ones.

    RGB, which has no matrix, becomes what players take for a video of that height.
    """
    if stated.matrix == RGB_MATRIX:
        return BT709_COLOURS if height >= HD_HEIGHT else BT601_COLOURS
    return Colours(
        stated.matrix if stated.matrix in SWSCALE_MATRIX else UNSTATED,
        stated.primaries if stated.primaries in PRIMARIES else UNSTATED,
        stated.transfer if stated.transfer in TRANSFERS else UNSTATED,
    )


# Into rgb24, or without the second flag, swscale rounds down: 8-bit video comes out 1 to 2 levels too dark.
BILINEAR, ACCURATE_RND = 1 << 1, 1 << 18  # source: enum SwsFlags, libswscale/swscale.h


EXACT = BILINEAR | ACCURATE_RND


FULL_RANGE = 2


NO_MATRIX = 3
"""A reserved number: RGB has no matrix, and this one differs from all that a source is read by."""


FULL_FORMATS = ("yuvj", "gray", "ya8", "ya16")
"""What begin the names of formats that are full range whatever their tag says."""


def to_rgb(frame: av.VideoFrame, form: str) -> np.ndarray:
    """A decoded picture in `form`, one of swscale's planar RGB formats: (H, W, 3), or 4 with alpha."""
    if frame.format.is_rgb:
        return frame.to_ndarray(format=form, interpolation=EXACT)
    matrix = Colours(matrix_of(frame))
    return frame.to_ndarray(
        format=form,
        interpolation=EXACT,
        src_color_range=_range_of(frame),
        src_colorspace=None if matrix.is_open else matrix.swscale_matrix,
        dst_colorspace=NO_MATRIX,
    )


class ToYuv:
    """RGB pictures of one size → YUV of limited range in one format."""

    def __init__(self, pix_fmt: str, colours: Colours):
        self.pix_fmt, self.colours = pix_fmt, colours
        self._reformatter = VideoReformatter()

    def __call__(self, rgb: av.VideoFrame) -> av.VideoFrame:
        matrix = self.colours.swscale_matrix
        rgb.colorspace = (
            matrix  # PyAV 17 knows no number for BT.2020, but keeps what the source states
        )
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
    return FULL_RANGE if frame.format.name.startswith(FULL_FORMATS) else int(frame.color_range)
