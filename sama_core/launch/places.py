"""Paths that the commands use, and the files that they write.

Everything but the sources is in `.venv` and `.runtime` in the pack's folder, which git ignores. The
path of a result is checked before the work; the file is written under a temporary name and never
replaces another file.
"""

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from ..errors import needed
from .progress import LaunchError

PathKind = TypeVar("PathKind", bound=PurePath)
PACK_ROOT = Path(os.path.abspath(__file__)).parents[2]
PACK_NAME = "ComfyUI-SAMA"
VIDEO, PICTURE = ".mp4", ".png"
"""Suffixes of results."""
LONGEST_STEM = 150
"""Bytes of a clip's name in that of its result."""
LONGEST_NAME = 240
"""Bytes of a result's name: file systems take 255, and a number may be added."""


@dataclass(frozen=True)
class Places:
    """Every path the commands use."""

    root: Path = PACK_ROOT
    """The pack's folder, with its sources."""
    work: Path = PACK_ROOT
    """Where `.venv` and `.runtime` go."""
    tree: str = ""
    """Name of the environment of a ComfyUI that set-up did not fetch, see `places_of`; empty for
    `.venv` itself."""

    @property
    def venv(self) -> Path:
        """The environment: `.venv`, or for another ComfyUI a layer over it.

        Layers are inside `.venv`, so that deleting it deletes all of them.
        """
        whole = self.work / ".venv"
        return whole / "trees" / self.tree if self.tree else whole

    @property
    def python(self) -> Path:
        """The environment's Python interpreter, which may not exist yet."""
        return self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamps(self) -> Path:
        """Marks of finished set-up steps: in the environment, so that they are deleted with it."""
        return self.venv / "sama_steps"

    @property
    def runtime(self) -> Path:
        """Everything that is not part of the environment: ComfyUI, its files, logs."""
        return self.work / ".runtime"

    @property
    def comfyui(self) -> Path:
        """The ComfyUI that set-up fetches."""
        return self.runtime / "ComfyUI"

    @property
    def base(self) -> Path:
        """ComfyUI's base directory: custom_nodes, models, input, output, temp, user."""
        return self.runtime / "base"

    @property
    def models(self) -> Path:
        """The models folder in it."""
        return self.base / "models"

    @property
    def jobs(self) -> Path:
        """Folder with one folder for each running edit, removed at its end."""
        return self.runtime / "jobs"

    @property
    def edits(self) -> Path:
        """User folder of the ComfyUIs that edit: there lies what is finished of stopped edits."""
        return self.runtime / "unfinished"

    def log(self, name: str) -> Path:
        """Path of the log called `name`; its folder is made if it is absent."""
        folder = self.runtime / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"


def clean_env(**extra: str) -> dict[str, str]:
    """Environment variables for a program of the commands: those of this process, plus `extra`.

    Variables that would add packages to the environment are left out.
    """
    dropped = {"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | extra


def say_missing(path: Path) -> str:
    """What lies in the place of a file that is not there."""
    return "a folder" if os.path.isdir(path) else "no such file"


def choose_target(out: str | None, clip: Path, seed: int) -> Path:
    """Path for the result: `out`, or `<clip>_sama_seed<N>.mp4` in the current folder.

    Raises LaunchError if nothing can be written there.
    """
    default = f"{shorten_stem(clip)}_sama_seed{seed}{VIDEO}"
    given = out or default
    inside = os.path.isdir(os.path.expanduser(given))
    return check_target("--out", os.path.join(given, default) if inside else given, VIDEO)


def shorten_stem(clip: Path) -> str:
    """The clip's name for that of its result: with what is added, file systems take 255 bytes."""
    stem = clip.stem
    whole = len(os.fsencode(stem)) <= LONGEST_STEM
    return stem if whole else os.fsencode(stem)[:LONGEST_STEM].decode("utf-8", "ignore")


def check_target(option: str, given: str | Path, suffix: str) -> Path:
    """The absolute path of a file that an `option` names; a missing suffix is added.

    Raises LaunchError for another suffix, or for a folder that is absent or not writable.
    """
    refuse_absent_folder(option, str(given))
    target = Path(os.path.abspath(os.path.expanduser(given)))
    if not target.suffix:
        target = target.with_suffix(suffix)
    if target.suffix.lower() != suffix:
        raise LaunchError(
            needed(option, target.name, f"a name ending in {suffix}", "Give such a name.")
        )
    if len(os.fsencode(target.name)) > LONGEST_NAME:
        got = f"a name of {len(os.fsencode(target.name))} bytes"
        raise LaunchError(needed(option, got, f"{LONGEST_NAME} at most", "Give a shorter one."))
    if not os.path.isdir(target.parent):
        raise LaunchError(
            needed(option, target, "an existing folder", f"Make {target.parent} first.")
        )
    if not os.access(target.parent, os.W_OK):
        raise LaunchError(
            needed(
                option,
                f"{target.parent}, which may not be written",
                "a writable folder",
                f"Give another place with {option}.",
            )
        )
    return target


def refuse_absent_folder(option: str, given: str) -> None:
    """Raises LaunchError for a folder that an `option` names as one, by a slash at its end, and
    that is absent.
    """
    ends = given.endswith(os.sep) or bool(os.altsep and given.endswith(os.altsep))
    if ends and not os.path.isdir(os.path.expanduser(given)):
        raise LaunchError(needed(option, given, "an existing folder", "Make it first."))


def write_new(target: Path, chunks: Iterable[bytes], option: str = "--out") -> Path:
    """Writes a file, which an `option` names, and returns its path; the file appears whole or not
    at all.

    If `target` exists, `_2`, `_3` … is added to its stem. Raises LaunchError if writing fails.
    """
    part = target.with_name(f".{uuid.uuid4().hex[:12]}.part")
    try:
        with part.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return _give_name(part, target)
    except OSError as error:
        raise LaunchError(_explain(error, target, option)) from error
    finally:
        part.unlink(missing_ok=True)


def free_names(target: PathKind) -> Iterator[PathKind]:
    """`target`, then `target_2`, `target_3` …"""
    yield target
    number = 2
    while True:
        yield target.with_stem(f"{target.stem}_{number}")
        number += 1


def _give_name(part: Path, target: Path) -> Path:
    """Renames the finished file to the first free name, even if other programs write there too."""
    for candidate in free_names(target):
        try:
            os.link(part, candidate)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            # File systems without hard links: reserve the name, then replace the empty file.
            try:
                candidate.touch(exist_ok=False)
            except FileExistsError:
                continue
            try:
                part.replace(candidate)
            except OSError:
                candidate.unlink(missing_ok=True)
                raise
        return candidate
    raise AssertionError("names never run out")


def _explain(error: OSError, target: Path, option: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return needed(
            f"saving {target.name}",
            f"a full disk at {target.parent}",
            "room for it",
            f"Free disk space, or give another place with {option}; no incomplete file is left.",
        )
    return (
        f"saving {target}: {error.strerror or error}. "
        f"Give another place with {option}; no incomplete file is left."
    )
