"""How a stored picture is turned and mirrored to be seen, as FFmpeg does before it shows or converts one.

The file gives a 3x3 matrix that moves a stored point (x right, y down) to where it is seen: its first two columns in
the first two rows are `[[a, b], [c, d]]` with seen x = a·x + c·y, seen y = b·x + d·y.
Source: FFmpeg, `av_display_rotation_get` and the autorotation of `ffmpeg_filter.c`.
Deviation: angles between quarter turns are rounded to one; FFmpeg would turn the picture within black corners.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import av
import numpy as np
from av.sidedata.sidedata import Type

MATRIX = "DISPLAYMATRIX"
KNOWN_KINDS, KINDS = {kind.value for kind in Type}, range(48)


@dataclass(frozen=True)
class Orientation:
    """What makes a stored picture upright."""

    quarter_turns: int = 0
    "Counterclockwise, 0 to 3, after mirroring."
    mirrored: bool = False
    "Whether top and bottom are swapped first."

    def applied(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, channels), stored → upright, contiguous."""
        return np.ascontiguousarray(np.rot90(pixels[::-1] if self.mirrored else pixels, self.quarter_turns))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """`(width, height)`, stored → upright."""
        return (height, width) if self.quarter_turns % 2 else (width, height)


UPRIGHT = Orientation()


class Orientations:
    """Those of a file's pictures, read once for each angle.

    PyAV's side data keeps the picture in memory until Python collects its garbage, so it is not asked for each one.
    """

    def __init__(self):
        self._by_angle: dict[int, Orientation] = {}

    def of(self, frame: av.VideoFrame) -> Orientation:
        """What the file says of a decoded picture."""
        angle = frame.rotation
        if angle not in self._by_angle:
            self._by_angle[angle] = orientation_of(frame)
        return self._by_angle[angle]


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """What the file says of a decoded picture; upright where it says nothing, or nonsense."""
    stated = _side_data(frame).get(MATRIX)
    return UPRIGHT if stated is None else orientation_from(np.frombuffer(bytes(stated), np.int32))


def orientation_from(matrix: np.ndarray) -> Orientation:
    """Of the nine numbers of a display matrix, row by row."""
    a, b, _, c, d = (int(number) for number in matrix[:5])
    width, height = math.hypot(a, c), math.hypot(b, d)
    if not width or not height:
        return UPRIGHT
    clockwise = math.degrees(math.atan2(b / height, a / width))
    return Orientation(round(-clockwise / 90) % 4, a * d < b * c)


def _side_data(frame: av.VideoFrame):
    try:
        return frame.side_data
    except ValueError:  # PyAV gives up at a kind it does not know, such as FFmpeg 8's EXIF
        return _with_known_kinds(frame).side_data


def _with_known_kinds(frame: av.VideoFrame) -> av.VideoFrame:
    graph = av.filter.Graph()
    links = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=1)]
    links += [graph.add("sidedata", f"mode=delete:type={kind}") for kind in KINDS if kind not in KNOWN_KINDS]
    links.append(graph.add("buffersink"))
    for one, other in pairwise(links):
        one.link_to(other)
    graph.configure()
    graph.push(frame)
    return graph.pull()
