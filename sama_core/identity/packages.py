"""Where code comes from: Python itself, an installed library by its version, or a package by the
bytes of its files.

A package whose files changed after they were loaded cannot be described: what runs and what the
files say are two things.
"""

import functools
import hashlib
import inspect
import os
import sys
import sysconfig
import time
from importlib import metadata
from pathlib import Path

from .parts import Indescribable

_LOADED = time.time()
"""Files that changed after this are not what was loaded."""
_LIBRARIES = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")}
)


def is_library(module: str | None) -> bool:
    """Whether a module belongs to Python or to an installed distribution."""
    return origin(module).startswith(("python", "library"))


@functools.lru_cache(4096)
def _home(module: str | None) -> tuple[str, str, Path | None]:
    """What kind of code a module is, its version where it has one, and where its package's files
    lie.
    """
    root = (module or "").split(".")[0]
    if root in sys.stdlib_module_names or root in sys.builtin_module_names:
        return "python", sys.version, None
    file = _file_of(module) or _file_of(root)
    if file is None:
        return "source", root, None
    if str(file).startswith(_LIBRARIES) or not {"site-packages", "dist-packages"}.isdisjoint(
        file.parts
    ):
        return "library", f"{root} {_version(root)}", None
    top = _file_of(root) or file
    return "source", root, top.parent if top.name == "__init__.py" else top


def _file_of(module: str | None) -> Path | None:
    found = sys.modules.get(module or "")
    file = inspect.getattr_static(found, "__file__", None) if found else None
    return Path(file).resolve() if file else None


def _version(root: str) -> str:
    version = getattr(sys.modules.get(root), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return metadata.version(root)
    except metadata.PackageNotFoundError:
        return ""


def origin(module: str | None) -> str:
    """Where a module's code comes from.

    Raises Indescribable where its files changed since they were loaded.
    """
    kind, version, place = _home(module)
    return f"{kind} {version}" if place is None else f"{kind} {_files(place)}"


@functools.lru_cache(256)
def _files(place: Path) -> str:
    """A digest of a package's Python files, taken once."""
    digest = hashlib.blake2b(digest_size=20)
    for file in _sources(place) if place.is_dir() else [place]:
        state = file.stat()
        if max(state.st_mtime, state.st_ctime) > _LOADED:
            raise Indescribable(
                f"{place.name} changed on disk after it was loaded: restart ComfyUI"
            )
        digest.update(str(file.relative_to(place.parent)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _sources(folder: Path) -> list[Path]:
    """Python files of a package; hidden folders and virtual environments are not its own."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__pycache__", "tests"))
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        found += [Path(place, name) for name in names if name.endswith(".py")]
    return sorted(found)
