"""Between a video's YUV and RGB, in the same numbers with every PyAV from 16 on.

PyAV 17 and later read matrix and range off the picture. PyAV 16 takes every picture for limited range, follows the
source's matrix only where it is not the target's, and has no names for swscale's flags. So all of it is stated.
"""

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from .colours import LIMITED_RANGE, UNSTATED, Colours, matrix_of

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
    return frame.to_ndarray(format=form, interpolation=EXACT, src_color_range=_range_of(frame),
                            src_colorspace=None if matrix.is_open else matrix.swscale_matrix,
                            dst_colorspace=NO_MATRIX)


class ToYuv:
    """RGB pictures of one size → YUV of limited range in one format."""

    def __init__(self, pix_fmt: str, colours: Colours):
        self.pix_fmt, self.colours = pix_fmt, colours
        self._reformatter = VideoReformatter()

    def __call__(self, rgb: av.VideoFrame) -> av.VideoFrame:
        matrix = self.colours.swscale_matrix
        rgb.colorspace = matrix  # PyAV 17 knows no number for BT.2020, but keeps what the source states
        picture = self._reformatter.reformat(rgb, format=self.pix_fmt, interpolation=EXACT, src_colorspace=UNSTATED,
                                             dst_colorspace=matrix, dst_color_range=LIMITED_RANGE)
        if self.colours.matrix == UNSTATED:
            picture.colorspace = UNSTATED
        return picture


def _range_of(frame: av.VideoFrame) -> int:
    return FULL_RANGE if frame.format.name.startswith(FULL_FORMATS) else int(frame.color_range)
