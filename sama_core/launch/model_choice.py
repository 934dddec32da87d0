"""Which model files are here, which ones an edit uses, and which ones a download fetches."""

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

SMALL_MARKS = ("shapes", "untrained")
"""Words in the names of small models, which are not SAMA-14B."""
LOOKS = {DIFFUSION_MODEL: ("sama",), TEXT_ENCODER: ("umt5", "xxl"), VAE: ("wan", "2.1", "vae")}
"""Words that are all in the name of a file for each role, even if it is not in the table."""
NOTICE = (
    "{why}: editing with SAMA-Shapes, the small model inside the pack. It knows coloured shapes "
    "only. `python3 run.py models` shows what to download for real videos."
)


@dataclass(frozen=True)
class Trio:
    """The three files of one edit, by the names that the loader nodes list."""

    diffusion_model: str
    """File of the model."""
    text_encoder: str
    """File of the text encoder."""
    vae: str
    """File of the VAE."""
    lacking: tuple[str, ...] = ()
    """Files of SAMA-14B that are missing, by `ModelFile.where`, if these are SAMA-Shapes' files."""

    @property
    def small(self) -> bool:
        """Whether these are SAMA-Shapes' files."""
        return bool(self.lacking)

    def notice(self) -> str:
        """For the user: why SAMA-Shapes edits, and what it can do."""
        no_model = default_file(DIFFUSION_MODEL).where() in self.lacking
        return NOTICE.format(
            why="No SAMA-14B here" if no_model else f"SAMA-14B lacks {'; '.join(self.lacking)}"
        )


def choose_trio(
    diffusion_models: Iterable[str], text_encoders: Iterable[str], vaes: Iterable[str]
) -> Trio:
    """The files to edit with, of the names that ComfyUI lists for each role.

    SAMA-14B's files if all three are there, else SAMA-Shapes'. Raises LaunchError if both are
    incomplete.
    """
    offered = (list(diffusion_models), list(text_encoders), list(vaes))
    roles = (DIFFUSION_MODEL, TEXT_ENCODER, VAE)
    large = [_find_large(role, names) for role, names in zip(roles, offered, strict=True)]
    lacking = tuple(
        default_file(role).where() for role, name in zip(roles, large, strict=True) if not name
    )
    small = [
        _find_name(file.name, names) for file, names in zip(embedded.FILES, offered, strict=True)
    ]
    candidates: tuple[tuple[list[str | None], tuple[str, ...]], ...] = (
        (large, ()),
        (small, lacking),
    )
    for (model, text_encoder, vae), missing in candidates:
        if model and text_encoder and vae:
            return Trio(model, text_encoder, vae, missing)
    raise LaunchError(
        f"Model files: missing {'; '.join(lacking)}, and the pack's own small ones are not listed "
        "either. Update the pack, or run `python3 run.py models --download`."
    )


def _find_large(role: str, names: Iterable[str]) -> str | None:
    """The best file for a role: the largest one of the table, else one with a similar name."""
    names = [name for name in names if not any(mark in name.lower() for mark in SMALL_MARKS)]
    files = [file for file in MODEL_FILES if file.role == role]
    for file in sorted(files, key=lambda file: -file.size):
        name = _find_name(file.filename, names)
        if name:
            return name
    similar = (
        name
        for name in names
        if all(part in name.lower().replace("2_1", "2.1") for part in LOOKS[role])
    )
    return next(similar, None)


def _find_name(filename: str, names: Iterable[str]) -> str | None:
    """The first of `names` that is this file, in any subfolder."""
    return next(
        (name for name in names if name.replace("\\", "/").rpartition("/")[2] == filename), None
    )


def state(file: ModelFile, models_dirs: Iterable[Path]) -> str:
    """State of a file in the models folders: `present`, `missing`, or how much of it is there."""
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
    """The table for the user: role, state, size, folder and source of every file."""
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
    """The default file of every role for which no file is complete yet."""
    files = tuple(files)
    wanted = []
    for role in dict.fromkeys(file.role for file in files):
        group = [file for file in files if file.role == role]
        if not any(state(file, models_dirs) == "present" for file in group):
            wanted.append(group[0])
    return wanted
