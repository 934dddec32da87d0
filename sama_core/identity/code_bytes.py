"""What stands for code in a key: the package that it comes from, and what its instructions do.

Python itself and installed libraries count by their version, another package by the bytes of its
files. A package whose files changed after they were loaded cannot be described: what runs and what
the files say are two things. A function counts by its bytecode, wherever it comes from.
"""

import dis
import functools
import hashlib
import inspect
import os
import sys
import sysconfig
import time
import types
from importlib import metadata
from pathlib import Path
from typing import Any

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


# --- instructions -------------------------------------------------------------------------------


@functools.lru_cache(1024)
def find_reassigned(module: str | None) -> frozenset[str]:
    """Names of a module's variables that its own functions assign."""
    space, found = vars(sys.modules[module]) if module in sys.modules else {}, set()
    held = [
        *space.values(),
        *(
            inner
            for kind in space.values()
            if isinstance(kind, type) and kind.__module__ == module
            for inner in vars(kind).values()
        ),
    ]
    waiting = [
        function.__code__
        for function in (getattr(value, "__func__", value) for value in held)
        if isinstance(function, types.FunctionType) and function.__globals__ is space
    ]
    while waiting:
        code = waiting.pop()
        waiting += [const for const in code.co_consts if isinstance(const, types.CodeType)]
        found |= {
            step.argval for step in dis.get_instructions(code) if step.opname == "STORE_GLOBAL"
        }
    return frozenset(found)


def code_names(code: types.CodeType) -> frozenset[str]:
    """Every name that code looks up, inner functions' too."""
    return _digest(code)[1]


def code_bytes(code: types.CodeType) -> bytes:
    """What code does, without the file and lines it came from."""
    return _digest(code)[0]


_codes: dict[int, tuple[types.CodeType, bytes, frozenset]] = {}


def _digest(code: types.CodeType) -> tuple[bytes, frozenset]:
    if id(code) not in _codes:
        if len(_codes) > 100_000:
            _codes.clear()
        inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
        names = frozenset(code.co_names).union(*(code_names(const) for const in inner))
        facts = (
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_cellvars,
            [_constant(held) for held in code.co_consts],
        )
        digest = hashlib.blake2b(code.co_code, digest_size=20)
        digest.update(repr(facts).encode() + getattr(code, "co_exceptiontable", b""))
        _codes[id(code)] = code, digest.digest(), names
    return _codes[id(code)][1:]


def _constant(held: Any) -> Any:
    if isinstance(held, types.CodeType):
        return code_bytes(held)
    if isinstance(held, frozenset):
        return "frozenset", sorted(map(repr, held))
    return type(held).__name__, held


def code_words(code: types.CodeType) -> set[str]:
    """Every text that code holds as a constant, inner functions' too."""
    inner = (code_words(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return {const for const in code.co_consts if isinstance(const, str)}.union(*inner)
