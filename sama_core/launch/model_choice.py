"""The model files: which there are, where they belong, which an edit takes. The one table; nodes import it too."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import embedded
from ..released_files import (
    DIFFUSION_MODEL,
    MODEL_FILES,
    TEXT_ENCODER,
    VAE,
    ModelFile,
    default_file,
)
from .progress import LaunchError

# Words in the names of small models that are no SAMA-14B, whoever made them.
SMALL_MARKS = ("shapes", "untrained")


NOTICE = (
    "{why}: editing with SAMA-Shapes, the small model inside the pack. It knows coloured shapes only. "
    "`python3 run.py models` shows what to download for real videos."
)


@dataclass(frozen=True)
class Trio:
    """Names of the three files of one edit, as the loader nodes list them."""

    diffusion_model: str
    text_encoder: str
    vae: str

    lacking: tuple[str, ...] = ()
    """What SAMA-14B lacks here, if these are SAMA-Shapes' files: `ModelFile.where` of each."""

    @property
    def small(self) -> bool:
        """Whether these are SAMA-Shapes' files."""
        return bool(self.lacking)

    def notice(self) -> str:
        """What to tell the artist about SAMA-Shapes: why it edits, and what it knows."""
        whole = any(
            file.where() in self.lacking for file in MODEL_FILES if file.role == DIFFUSION_MODEL
        )
        return NOTICE.format(
            why="No SAMA-14B here" if whole else f"SAMA-14B lacks {'; '.join(self.lacking)}"
        )


def choose_trio(
    diffusion_models: Iterable[str], text_encoders: Iterable[str], vaes: Iterable[str]
) -> Trio:
    """The files to edit with, of those ComfyUI lists: SAMA-14B's if all three are there, else SAMA-Shapes'.

    Raises LaunchError if neither is whole.
    """
    offered = {
        DIFFUSION_MODEL: list(diffusion_models),
        TEXT_ENCODER: list(text_encoders),
        VAE: list(vaes),
    }
    large = {role: _large(role, names) for role, names in offered.items()}
    lacking = tuple(default_file(role).where() for role, name in large.items() if not name)
    if not lacking:
        return Trio(*large.values())
    small = [
        _named(file.name, names)
        for file, names in zip(embedded.FILES, offered.values(), strict=True)
    ]
    if not all(small):
        raise LaunchError(
            "Model files: missing "
            + "; ".join(lacking)
            + ", and the pack's own small ones are not "
            "listed either. Update the pack, or run `python3 run.py models --download`."
        )
    return Trio(*small, lacking)


def _large(role: str, names: Iterable[str]) -> str | None:
    """The best file of a role by its name: one of the table, the largest first, else one that looks like it."""
    looks = {DIFFUSION_MODEL: ("sama",), TEXT_ENCODER: ("umt5", "xxl"), VAE: ("wan", "2.1", "vae")}[
        role
    ]
    names = [name for name in names if not any(mark in name.lower() for mark in SMALL_MARKS)]
    for file in sorted(
        (file for file in MODEL_FILES if file.role == role), key=lambda file: -file.size
    ):
        found = _named(file.filename, names)
        if found:
            return found
    similar = (
        name for name in names if all(part in name.lower().replace("2_1", "2.1") for part in looks)
    )
    return next(similar, None)


def _named(filename: str, names: Iterable[str]) -> str | None:
    """The first of `names` that is this file, in whatever subfolder."""
    return next(
        (name for name in names if name.replace("\\", "/").rpartition("/")[2] == filename), None
    )


def state(file: ModelFile, models_dirs: Iterable[Path]) -> str:
    """`present`, `missing`, or what is wrong with the file that is there."""
    for models_dir in models_dirs:
        place = file.place(models_dir)
        if place.is_file():
            size = place.stat().st_size
            return "present" if size == file.size else f"wrong size: {size:,} bytes"
        started = sum(part.stat().st_size for part in place.parent.glob(f"{place.name}.*.part"))
        if started:
            return f"{started / file.size:.0%} downloaded"
    return "missing"


def table(models_dirs: list[Path], files: Iterable[ModelFile] = MODEL_FILES) -> str:
    """Every file, what it is for, its state, size, folder and source, as lines of text."""
    rows = [("for", "file", "state", "GB", "folder", "source")]
    rows += [
        (
            file.role,
            file.filename,
            state(file, models_dirs),
            f"{file.size / 1e9:.2f}",
            f"models/{file.folder}",
            f"{file.repo}/{file.path}",
        )
        for file in files
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def to_download(
    models_dirs: list[Path], files: Iterable[ModelFile] = MODEL_FILES
) -> list[ModelFile]:
    """The default file of every role that has no complete file yet."""
    files = tuple(files)
    wanted = []
    for role in dict.fromkeys(file.role for file in files):
        group = [file for file in files if file.role == role]
        if not any(state(file, models_dirs) == "present" for file in group):
            wanted.append(group[0])
    return wanted
