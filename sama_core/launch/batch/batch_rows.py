"""One row of a batch: a clip, how it is edited, and where the result goes."""

import re
import unicodedata
from argparse import ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import needed
from ...weights.names import WEIGHT_DTYPES
from ..commands.edit import FITS, area_pixels, check_options
from ..places import VIDEO, shorten_stem
from ..progress import LaunchError

PLAIN_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})(/\d{1,9})?", re.ASCII)


@dataclass(frozen=True)
class Clip:
    """What is edited: a video file, or numbered frames."""

    path: Path
    """The file, or the folder of the frames."""
    frames: tuple[str, ...] = ()
    """Names of the frames in their order; empty for a video."""
    fps: Fraction | None = None
    """Frames per second of the frames."""

    def files(self) -> list[Path]:
        """Every file it consists of."""
        return [self.path / name for name in self.frames] if self.frames else [self.path]


@dataclass(frozen=True)
class Settings:
    """How a clip is edited. Names are those of the options of `edit`; None is the model's own."""

    instruction: str
    """What to change."""
    seed: int
    """Of the noise."""
    steps: int
    """Sampling steps; 0 for the model's own."""
    cfg: float
    """Guidance strength; -1 for the model's own."""
    frames: int | None = None
    """Edit the first so many; None for all."""
    area: int | None = None
    """Working area in pixels."""
    fit: str | None = None
    """How the picture is fitted to the model."""
    lora: str | None = None
    """A LoRA of the server's models/loras."""
    lora_strength: float = 1.0
    """Of the LoRA."""
    weight_dtype: str = WEIGHT_DTYPES[0]
    """How the model's weights are stored."""
    mask: str | None = None
    """Path of a picture or video that is white where the edit may change something."""

    def options(self) -> Namespace:
        """As the options of `edit`."""
        return Namespace(**asdict(self))


@dataclass(frozen=True)
class Row:
    """One line of a table, or one clip of a folder."""

    number: int
    """Line in the table, or place in the folder, from 1."""
    name: PurePosixPath
    """The clip's name as it is shown, relative to the source."""
    clip: Clip
    """What is edited."""
    settings: Settings
    """How."""
    target: PurePosixPath = field(default_factory=PurePosixPath)
    """Where the result goes, relative to the output folder: a file, or a folder of frames."""


@dataclass
class Found:
    """Everything that a source holds."""

    rows: list[Row] = field(default_factory=list)
    """The rows, in order."""
    remarks: list[str] = field(default_factory=list)
    """What the user should know: files that are no clips, columns that mean nothing."""


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader of numbers; a comma counts as a point, as in tables of many countries."""

    def read(text: str) -> Any:
        given = text.strip().replace(",", ".")
        # An exponent could make a number that takes for ever.
        if not PLAIN_NUMBER.fullmatch(given):
            raise ArgumentTypeError("a number")
        try:
            return kind(given)
        except (ValueError, ZeroDivisionError):
            raise ArgumentTypeError("a number") from None

    return read


def _whole(text: str) -> int:
    number = _number(Fraction)(text)
    if number.denominator != 1:
        raise ArgumentTypeError("a whole number")
    return int(number)


def _area(text: str) -> int:
    try:
        return area_pixels(text)
    except ValueError:
        raise ArgumentTypeError("WxH such as 832x480, or a number of pixels from 1024") from None


def _one_of(choices: Iterable[str]) -> Callable[[str], str]:
    """A reader of words that are listed."""

    def read(text: str) -> str:
        if text.strip() not in choices:
            raise ArgumentTypeError(f"one of {', '.join(choices)}")
        return text.strip()

    return read


COLUMNS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "instruction": ("instruction", str.strip),
    "seed": ("seed", _whole),
    "steps": ("steps", _whole),
    "cfg": ("cfg", _number(float)),
    "frames": ("frames", _whole),
    "first": ("frames", _whole),
    "area": ("area", _area),
    "fit": ("fit", _one_of(FITS)),
    "lora": ("lora", str.strip),
    "lora_strength": ("lora_strength", _number(float)),
    "weight_dtype": ("weight_dtype", _one_of(WEIGHT_DTYPES)),
    "mask": ("mask", str.strip),
}
"""Column of a table → the setting, and how its text is read. `first` is `frames`' other name."""
FIRST = "--first"
"""What `batch` calls `edit`'s --frames."""
CLIP, FPS = "clip", "fps"
"""The columns that say what is edited."""
MASK = "mask"
"""The column with the path of a mask."""


def read_settings(where: str, cells: dict[str, Any], usual: Settings) -> Settings:
    """The settings of one row: its cells, and `usual` where they are empty.

    Raises LaunchError, which names the place `where`, for a value that no edit can have.
    """
    given: dict[str, Any] = {}
    for column, cell in cells.items():
        if column in COLUMNS and cell not in (None, ""):
            name, read = COLUMNS[column]
            try:
                given[name] = read(str(cell))
            except ArgumentTypeError as wrong:
                raise LaunchError(
                    needed(f"{where}, column {column}", cell, str(wrong), "Correct that cell.")
                ) from None
    settings = replace(usual, **given)
    try:
        check_options(settings.options(), FIRST)
    except LaunchError as wrong:
        raise LaunchError(f"{where}: {wrong}") from None
    return settings


def read_fps(where: str, text: str) -> Fraction:
    """Frames per second, as 24, 23.976 or 24000/1001. Raises LaunchError for anything else."""
    try:
        fps = _number(Fraction)(str(text))
    except ArgumentTypeError:
        fps = Fraction(0)
    if not 0 < fps <= 1000:
        raise LaunchError(
            needed(where, text, "frames per second, such as 24 or 24000/1001", "Correct it.")
        )
    return fps


def name_targets(rows: Iterable[Row], as_frames: bool) -> list[Row]:
    """The rows with the place of each result: the clip's own, with another ending.

    A clip with several rows gets the seed in the name, and a mark of the settings where that does
    not tell them apart; clips that differ in their ending alone keep it.
    """
    rows = list(rows)
    first = [replace(row, target=_plain(row, as_frames)) for row in rows]
    clips_of: dict[str, set[PurePosixPath]] = {}
    for row in first:
        clips_of.setdefault(_fold(row.target), set()).add(row.name)
    named = [_keep_ending(row) if len(clips_of[_fold(row.target)]) > 1 else row for row in first]
    for mark in (_seed, _settings):
        kinds: dict[str, set[Settings]] = {}
        for row in named:
            kinds.setdefault(_fold(row.target), set()).add(row.settings)
        named = [
            replace(row, target=_add(row.target, mark(row)))
            if len(kinds[_fold(row.target)]) > 1
            else row
            for row in named
        ]
    return named


def _plain(row: Row, as_frames: bool) -> PurePosixPath:
    if row.clip.frames:
        return row.name if as_frames else row.name.with_name(f"{row.name.name}{VIDEO}")
    return row.name.with_suffix("" if as_frames else VIDEO)


def _keep_ending(row: Row) -> Row:
    ending = VIDEO if row.target.suffix == VIDEO else ""
    return replace(row, target=row.name.with_name(f"{row.name.name}{ending}"))


def _seed(row: Row) -> str:
    return f"seed{row.settings.seed}"


def _settings(row: Row) -> str:
    return sha256(repr(row.settings).encode()).hexdigest()[:8]


def _add(target: PurePosixPath, mark: str) -> PurePosixPath:
    if target.suffix == VIDEO:
        return target.with_name(f"{shorten_stem(Path(target.name))}_{mark}{VIDEO}")
    return target.with_name(f"{target.name}_{mark}")


def _fold(target: PurePosixPath) -> str:
    """One text for names that some file systems hold to be the same."""
    return unicodedata.normalize("NFC", str(target)).casefold()


def count_endings(names: Iterable[str]) -> str:
    """How many files have which ending, as `12 .txt, 1 without ending`."""
    endings = Counter(PurePosixPath(name).suffix.lower() or "without ending" for name in names)
    return ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
