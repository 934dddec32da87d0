"""Checks on the ComfyUI at hand that all we use of it is there, and takes and gives what we rely
on.

    python -m tests.harness.contract [COMFYUI_FOLDER]

prints what is missing by name, in the seconds that importing ComfyUI takes, and ends with 1 if
anything is.
"""

import ast
import hashlib
import inspect
import io
import logging
import os
import re
import sys
import tempfile
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from types import CellType, FunctionType, MethodType

from . import imports
from .comfy_home import VARIABLE, comfy_source
from .core_contract import ALSO, CALLED, OBJECTS, STAND_INS
from .core_lookup import ABSENT, attributes, check_calls, find, find_refusals, find_untaken
from .core_syntax import calls, function, parse
from .core_uses import Override, Use, overrides, own_names, uses
from .core_words import check_words
from .registry import import_core

ROOT = imports.REPO_ROOT
LIBRARY = sorted((ROOT / "sama_core" / "comfyui").glob("*.py"))
MODEL = sorted((ROOT / "sama_core" / "model").glob("*.py"))
NODES = sorted((ROOT / "nodes").glob("*.py"))
HARNESS = [ROOT / "tests" / "harness" / f"{name}.py" for name in ("executor", "registry")]


@dataclass
class Contract:
    """What was looked at, and what of it is wrong."""

    version: str = ""
    """ComfyUI's."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many of each kind were looked at."""
    missing: list[str] = field(default_factory=list)
    """A line for each thing that ComfyUI lacks, or takes or gives otherwise than we do."""
    unexplained: list[str] = field(default_factory=list)
    """Names in our code that no table and no code of ours explains."""

    def text(self) -> str:
        """The whole in lines, the first of them the sum."""
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        lines = [f"ComfyUI {self.version}: {counts}; {len(self.missing)} missing"]
        lines += [f"  missing: {line}" for line in self.missing]
        return "\n".join(
            lines
            + [
                f"  not in the contract (tests/harness/core_contract.py): {line}"
                for line in self.unexplained
            ]
        )


def check(files: list[Path] | None = None) -> Contract:
    """Everything, on the ComfyUI that is imported in this process; `files` stand in for ours."""
    files = [*NODES, *LIBRARY, *HARNESS] if files is None else files
    found = Contract(".".join(map(str, comfy_source().version())))
    every, classes = uses(files, ROOT), overrides(files, ROOT)
    known = {name for names in OBJECTS.values() for name in names}
    _check_symbols(found, [use for use in every if use.symbol and use.owner not in known])
    _check_objects(found, [use for use in every if not use.symbol or use.owner in known], classes)
    _check_overrides(found, classes)
    _check_stand_ins(found)
    _check_called(found, comfy_source().folder)
    check_words(found, comfy_source().folder, [*LIBRARY, *MODEL])
    found.missing = list(dict.fromkeys(found.missing))
    found.unexplained = list(dict.fromkeys(found.unexplained))
    return found


def _check_symbols(found: Contract, every: list[Use]) -> None:
    table = "the contract's own table"
    every = [
        *every,
        *(Use(*path.rsplit(".", 1), table, True, call=call) for path, call in ALSO.items()),
    ]
    for use in every:
        target, why = find(use.path)
        if target is ABSENT and not use.optional:
            found.missing.append(f"{use.path} ({use.where}){why}")
        elif use.call and target is not ABSENT:
            found.missing += find_refusals(use.path, target, use.call, use.where)
    found.counts["symbols"] = len({use.path for use in every})
    found.counts["calls"] = len({(use.path, use.call) for use in every if use.call})


# --- attributes of objects ---------------------------------------------------------------------


def _check_objects(found: Contract, every: list[Use], classes: list[Override]) -> None:
    ours = own_names([*(ROOT / "sama_core").rglob("*.py"), *NODES, *HARNESS]) | set(dir(object))
    checked = set()
    for use in every:
        path = class_of(use)
        if path is None:
            if (
                not use.optional
                and use.name not in ours | _everyday()
                and not _on_any(use.name, classes)
            ):
                found.unexplained.append(f"{use.owner}.{use.name} ({use.where})")
            continue
        checked.add((path, use.name))
        cls, why = find(path)
        inherited = _add_inherited(cls, classes) | set(dir(object))
        if cls is ABSENT:
            found.missing.append(f"{path} ({use.where}){why}")
        elif use.name not in attributes(cls) | inherited:
            found.missing += [] if use.optional else [f"{path}.{use.name} ({use.where})"]
        elif use.call and use.name not in inherited:
            found.missing += find_refusals(
                f"{path}.{use.name}", _bound(cls, use.name), use.call, use.where
            )
    found.counts["attributes"] = len(checked)


def class_of(use: Use) -> str | None:
    """The class in OBJECTS of the object in this place: that of the longest name that fits."""
    fitting = [
        (len(name), path) for path, names in OBJECTS.items() for name in names if _fits(name, use)
    ]
    return max(fitting)[1] if fitting else None


def _fits(name: str, use: Use) -> bool:
    file, colon, owner = name.rpartition(":")
    if colon and not use.where.rpartition(":")[0].endswith(f"/{file}"):
        return False
    return use.owner == owner or (
        use.owner.endswith(f".{owner}") and not use.owner.startswith("self.")
    )


def _bound(cls: type, name: str) -> object:
    """A method as an instance has it."""
    method = inspect.getattr_static(cls, name, None)
    return partial(method, None) if inspect.isfunction(method) else getattr(cls, name, None)


def _add_inherited(cls: object, classes: list[Override]) -> set[str]:
    """What our subclasses of a class add to it."""

    def below(base: object) -> bool:
        return inspect.isclass(base) and inspect.isclass(cls) and issubclass(base, cls)

    return {name for ours in classes if below(find(ours.base)[0]) for name in ours.names}


def _on_any(name: str, classes: list[Override]) -> bool:
    """Whether any class of ComfyUI that the contract knows has it."""
    known = (find(path)[0] for path in {*OBJECTS, *(ours.base for ours in classes)})
    return any(inspect.isclass(cls) and name in attributes(cls) for cls in known)


@cache
def _everyday() -> frozenset[str]:
    """Names of the objects of Python, numpy, torch and PyAV."""
    import av
    import numpy
    import torch

    known = [
        str,
        dict,
        list,
        set,
        bytes,
        int,
        type,
        Path,
        os.stat_result,
        Fraction,
        re.Match,
        io.BytesIO,
        partial,
        ContextVar,
        CellType,
        BaseException,
        OSError,
        FunctionType,
        MethodType,
        ExitStack,
        hashlib.blake2b,
        cache(print),
        logging.Logger,
        logging.makeLogRecord({}),
        inspect.Parameter,
        inspect.Signature,
        numpy.ndarray,
        re.Pattern,
        torch.Tensor,
        torch.amp.GradScaler,
        torch.autograd.function.BackwardCFunction,
        torch.nn.Module,
        torch.device,
        torch.cuda,
        av.container.InputContainer,
        av.container.OutputContainer,
        av.video.stream.VideoStream,
        av.audio.stream.AudioStream,
        av.VideoFrame,
        av.AudioFrame,
        av.Packet,
        av.codec.context.CodecContext,
        av.VideoCodecContext,
        av.AudioCodecContext,
    ]
    return frozenset().union(*map(dir, known))


# --- functions of ours that ComfyUI calls -------------------------------------------------------


def _check_overrides(found: Contract, classes: list[Override]) -> None:
    count = 0
    for ours in classes:
        base = find(ours.base)[0]
        for name in sorted(getattr(base, "__abstractmethods__", frozenset()) - ours.names):
            found.missing.append(f"{ours.name}.{name} ({ours.where}): {ours.base} demands it")
        for name, parameters in ours.methods.items():
            core = getattr(base, name, None)
            if name != "__init__" and callable(core):
                count += 1
                found.missing += find_untaken(
                    f"{ours.name}.{name}", parameters, f"{ours.base}.{name}", core, ours.where
                )
    found.counts["overridden methods"] = count


def _check_stand_ins(found: Contract) -> None:
    for (file, name), (path, dropped, ordered) in STAND_INS.items():
        core, why = find(path)
        if core is ABSENT:
            found.missing.append(f"{path} ({name} in {file} stands in for it){why}")
            continue
        ours = _ours(found, file, name)
        found.missing += (
            find_untaken(name, ours, path, core, file, dropped, ordered) if ours else ()
        )
    found.counts["stand-ins"] = len(STAND_INS)


def _ours(found: Contract, file: str, name: str) -> ast.arguments | None:
    """Parameters of a function of ours that a table names.

    None, and a line about it, if it is no longer there.
    """
    try:
        return function(ROOT / file, name)
    except (OSError, LookupError):
        found.unexplained.append(f"{name} in {file}, which a table names and our code has not")
        return None


def _check_called(found: Contract, core: Path) -> None:
    for (file, called), ours in CALLED.items():
        try:
            seen = calls(parse(core / file), called)
        except (OSError, SyntaxError) as error:
            found.missing.append(f"the call of {called} ({error}) in {file}")
            continue
        if not seen:
            found.missing.append(f"the call of {called} in {file}")
        for place, name in ours:
            parameters = _ours(found, place, name)
            found.missing += (
                check_calls(f"{name} ({place})", parameters, seen, file) if parameters else ()
            )
    found.counts["calls of ours"] = len(CALLED)


def main(arguments: list[str]) -> int:
    """The command: 1 if anything is missing or unexplained."""
    if arguments:
        os.environ[VARIABLE] = arguments[0]
    imports.install()
    with tempfile.TemporaryDirectory() as base:
        import_core(Path(base))
        found = check()
    print(found.text())
    return 1 if found.missing or found.unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
