"""What a row's files are, and the frames of them that a sample is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Generator, Tensor, randint

from ...clip import ClipRange, ClipSource, FileSource, fit_clip
from ...clip.at_rate import AtRate, count_frames
from ...clip.pairs import SAME_RATE, differ_in_shape
from ...clip.placement import shown_size
from ...clip.source import exact_rate
from ...errors import ClipError
from ...geometry import ClipShape
from .clips_config import BEFORE, ClipsConfig
from .media_files import is_image_file
from .rows import Row, row_error, unreadable


@dataclass(frozen=True)
class Window:
    """Which frames of a row's clips are read, the same ones of source and target."""

    start: int = 0
    """The first frame, at `fps`."""
    fps: Fraction | None = None
    """The rate that the clips are resampled to; None for their own."""


BEGINNING = Window()
"""The first frames, at the clips' own rate."""


@dataclass(frozen=True)
class Look:
    """What a row's files say before their frames are read."""

    size: tuple[int, int]
    """(width, height) of the target as it is shown, in square pixels."""
    rates: tuple[Fraction, ...]
    """Frames per second of the target, and of the source where there is one."""
    fps: Fraction | None
    """The rate that both are resampled to; None for their own."""
    frames: int
    """Frames that both have at that rate; 0 where they were not counted."""

    @property
    def rates_differ(self) -> bool:
        """Whether source and target have different rates."""
        return len(self.rates) > 1 and abs(float(self.rates[0] / self.rates[1]) - 1) > SAME_RATE


def look_at(row: Row, clips: ClipsConfig = BEFORE, count: bool = False) -> Look:
    """What a row's files are, read as `clips` says; the frames that can be read are counted if
    `count`, whatever the files say.

    Raises RowError for a file that cannot be read, a target that the source's crop does not fit,
    and rates that differ where they may not.
    """
    try:
        paths = [path for path in (row.source, row.target) if path]
        files = [FileSource(path) for path in paths]
        if row.source:
            _check_aspects(row, *files)
        facts = [file.facts() for file in reversed(files)]
        rates = () if row.is_image else tuple(found.fps for found in facts)
        look = Look(_size_of(files[-1]), rates, None, 0)
        if look.rates_differ and clips.rates == "refuse" and not clips.fps:
            got = f"a target of {_rate(rates[0])} and a source of {_rate(rates[1])}"
            need = "one frame rate, or rates in [clips] that says how they are read"
            raise row_error(row.number, got, need)
        fps = None if row.is_image else _common_rate(look, clips)
        frames = int(row.is_image)
        if count and not row.is_image:
            frames = min(count_frames(_at_rate(file, fps)) for file in files)
        return Look(look.size, rates, fps, frames)
    except ClipError as error:
        raise unreadable(row, error) from error


def read_row(
    row: Row, shape: ClipShape, window: Window = BEGINNING
) -> tuple[Tensor | None, Tensor]:
    """Source and target frames, each (F, H, W, 3) float32 in 0..1; no source for a clip to restore.

    The F frames of `window` of both, fitted by `fit_clip` to the size of `shape`. Pixels that are
    not square become so, as they do when a clip is edited. Raises RowError for a file that cannot
    be read or is too short, and for a target that the source's crop does not fit. Deviation: the
    released loader crops source and target apart, whatever their sizes, and to the source's bucket;
    here all samples of a batch have one size.
    """
    try:
        target = FileSource(row.target)
        if row.source is None:
            return None, _frames(row, target, shape, window)
        source = FileSource(row.source)
        _check_aspects(row, source, target)
        return _frames(row, source, shape, window), _frames(row, target, shape, window)
    except ClipError as error:
        raise unreadable(row, error) from error


def read_mask(row: Row, shape: ClipShape) -> Tensor:
    """Where the text's subject is (F, H, W) in 0..1: the first channel of the row's mask, fitted as
    its target is.

    It has a frame for each of the target, or for each that is trained on, its first ones. Raises
    RowError for a file that cannot be read, and for a mask of another size or length.
    """
    if row.mask is None:
        raise row_error(row.number, "no 'mask'", "one")
    try:
        mask, target = FileSource(row.mask), FileSource(row.target)
        sizes = [_size_of(file) for file in (mask, target)]
        if sizes[0] != sizes[1]:
            (width, height), (need_width, need_height) = sizes
            got = f"a mask of {width}x{height}"
            raise row_error(row.number, got, f"the size of its target, {need_width}x{need_height}")
        _check_length(row, row.mask, shape)
        return _frames(row, mask, shape)[..., 0]
    except ClipError as error:
        raise unreadable(row, error) from error


def _check_length(row: Row, mask: Path, shape: ClipShape) -> None:
    """RowError unless a mask has a frame for each of its target, or for each of `shape`."""
    found = _count(mask)
    if found == shape.frames or found == (wanted := _count(row.target)):
        return
    got = f"a mask of {found} frame{'s' if found > 1 else ''}"
    part = f", or the {shape.frames} that are trained on" if shape.frames != wanted else ""
    raise row_error(row.number, got, f"as many as its target has, {wanted}{part}")


def _count(path: Path) -> int:
    """Frames of a picture or a video; those of mkv, webm, avi and gif do not say how many."""
    if is_image_file(path):
        return 1
    file = FileSource(path)
    return file.facts().frame_count or count_frames(file)


def list_starts(frames: int, length: int, windows: int) -> Sequence[int]:
    """First frames that a window of `length` may have in a clip of `frames`, see `clips.windows`.

    Just 0 where the clip is not longer than the window.
    """
    last = max(0, frames - length)
    if windows == 1 or not last:
        return [0]
    if windows == 0:
        return range(last + 1)
    return sorted({round(place * last / (windows - 1)) for place in range(windows)})


def draw_start(starts: Sequence[int], generator: Generator) -> int:
    """One of them. One draw from `generator`, however many there are."""
    return starts[int(randint(len(starts), (1,), generator=generator))]


def _frames(row: Row, file: FileSource, shape: ClipShape, window: Window = BEGINNING) -> Tensor:
    """Frames of a clip or picture, (F, H, W, 3). Raises RowError where it has fewer."""
    source = _at_rate(file, window.fps)
    size = (shape.width, shape.height)
    wanted = ClipRange(window.start, shape.frames)
    frames, info = fit_clip(source, wanted, size=size, lattice=shape.lattice)
    if info.frame_count < shape.frames:
        found = f"{window.start + info.frame_count} frames in {source.name!r}"
        raise row_error(row.number, found, f"{window.start + shape.frames}")
    return frames


def _check_aspects(row: Row, source: FileSource, target: FileSource) -> None:
    """RowError unless both are shown in the same shape, so that one crop fits both."""
    (width, height), (target_width, target_height) = _size_of(source), _size_of(target)
    if differ_in_shape((width, height), (target_width, target_height)):
        raise row_error(
            row.number,
            f"a target of {target_width}x{target_height}",
            f"the shape of its source, {width}x{height}",
        )


def _size_of(file: FileSource) -> tuple[int, int]:
    facts = file.facts()
    return shown_size(facts.width, facts.height, facts.pixel_aspect)


def _common_rate(look: Look, clips: ClipsConfig) -> Fraction | None:
    """The rate that a row's clips are resampled to, None where they have it, or keep their own."""
    if clips.fps:
        wanted = exact_rate(clips.fps)
        same = all(abs(float(rate / wanted) - 1) <= SAME_RATE for rate in look.rates)
        return None if same else wanted
    return min(look.rates) if look.rates_differ and clips.rates == "resample" else None


def _at_rate(file: FileSource, fps: Fraction | None) -> ClipSource:
    return file if fps is None else AtRate(file, fps)


def _rate(fps: Fraction) -> str:
    return f"{float(fps):.5g} frames per second"
