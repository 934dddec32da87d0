"""Rows as groups of one shape: all clips in one, or buckets by aspect ratio and length."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ...geometry import ClipShape, Lattice, choose_bucket
from ..config import TrainConfig
from .clips_config import BEFORE, ClipsConfig
from .frames import Look, look_at
from .order import Group
from .rows import Row, RowError, row_error

logger = logging.getLogger(__name__)

LOOKERS = 4
"""Threads that look at files before the training."""


class Looks:
    """What rows' files are; each row is looked at once in a process."""

    def __init__(self, clips: ClipsConfig):
        self.clips = clips
        self.counts = clips.windows != 1 or bool(clips.lengths)
        self._known: dict[int, Look] = {}

    def of(self, row: Row) -> Look:
        """See `look_at`; rates that differ, and are paired frame by frame, are told once."""
        if row.number not in self._known:
            look = look_at(row, self.clips, self.counts)
            if look.rates_differ and look.fps is None:
                rates = " and ".join(f"{float(rate):.5g}" for rate in look.rates)
                logger.warning(
                    "row %d: target and source have %s frames per second and are paired frame by "
                    "frame. Set rates in [clips] to resample them.",
                    row.number,
                    rates,
                )
            self._known[row.number] = look
        return self._known[row.number]


def group_rows(
    config: TrainConfig, rows: Sequence[Row], looks: Looks, lattice: Lattice
) -> tuple[list[Group], dict[int, str]]:
    """Groups of rows, and by line number what is wrong with rows that fit into none.

    Without buckets and lengths no file is opened: there is a group of images and one of clips.
    Rows of weight 0 are in no group.
    """
    clips = config.clips or BEFORE
    used = [row for row in rows if row.weight > 0]
    found: dict[tuple[str, ClipShape], list[Row]] = {}
    wrong: dict[int, str] = {}
    if not (clips.buckets or clips.lengths):
        for row in used:
            count = 1 if row.is_image else config.frames
            shape = ClipShape(count, config.height, config.width, lattice)
            found.setdefault((_kind(row), shape), []).append(row)
    else:
        for row, one in zip(used, _find_shapes(config, used, looks, lattice), strict=True):
            if isinstance(one, ClipShape):
                name = f"{_kind(row)} {one.width}x{one.height}x{one.frames}"
                found.setdefault((name, one), []).append(row)
            else:
                wrong[row.number] = str(one)
    return [
        Group(name, tuple(rows), shape)
        for (name, shape), rows in sorted(found.items(), key=lambda item: item[0][0])
    ], wrong


def _kind(row: Row) -> str:
    return "images" if row.is_image else "videos"


def _find_shapes(
    config: TrainConfig, rows: Sequence[Row], looks: Looks, lattice: Lattice
) -> list[ClipShape | RowError]:
    """The shape of each row's bucket, or what is wrong with the row."""

    def find(row: Row) -> ClipShape | RowError:
        try:
            return find_shape(config, row, looks.of(row), lattice)
        except RowError as wrong:
            return wrong

    with ThreadPoolExecutor(LOOKERS) as pool:
        return list(pool.map(find, rows))


def find_shape(config: TrainConfig, row: Row, look: Look, lattice: Lattice) -> ClipShape:
    """The shape that a row is trained in: the nearest bucket, the longest length that it has.

    Raises RowError for a clip that is shorter than every length.
    """
    clips = config.clips or BEFORE
    size = (config.width, config.height)
    if clips.buckets:
        size = choose_bucket(*look.size, config.width * config.height)
    count = 1
    if not row.is_image:
        lengths = sorted({config.frames, *clips.lengths})
        fitting = [length for length in lengths if not clips.lengths or length <= look.frames]
        if not fitting:
            raise row_error(row.number, f"{look.frames} frames", f"{lengths[0]}")
        count = fitting[-1]
    return ClipShape(count, size[1], size[0], lattice)
