"""Looks names up in the ComfyUI that is imported.

What stands at a path, what instances have, what a call accepts.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any

from .core_syntax import Call

ABSENT = object()
"""Stands for what is not there; None may be."""


@cache
def _import(name: str) -> tuple[Any, str]:
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # whatever a newer ComfyUI raises when it is imported is the finding
        return ABSENT, f"{type(error).__name__}: {error}"


def find(path: str) -> tuple[Any, str]:
    """What stands at a dotted path, or ABSENT.

    And why, where a module on the way could not be imported.
    """
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        module, why = _import(".".join(parts[:length]))
        if module is not ABSENT:
            return _below(module, parts[length:]), ""
        if not why.startswith("ModuleNotFoundError"):
            return ABSENT, f": importing it raised {why}"
    return ABSENT, ""


def _below(target: Any, names: list[str]) -> Any:
    for number, name in enumerate(names):
        if inspect.isclass(target) and not hasattr(target, name):
            # Instances have it, or the class has it from the first instance on; what lies below
            # cannot be looked at.
            return None if number == len(names) - 1 and name in attributes(target) else ABSENT
        target = getattr(target, name, ABSENT)
        if target is ABSENT:
            break
    return target


@cache
def attributes(cls: type) -> frozenset[str]:
    """Names that instances of a class have.

    Its own, annotated ones, and those that its methods set.
    """
    names = set(dir(cls))
    for part in cls.__mro__:
        names |= set(vars(part).get("__annotations__", ()))
        names |= set(
            re.findall(
                rf"(?:self|cls|{part.__name__})\.(\w+)\s*(?:[:,][^=\n]*)?=[^=]", _source(part)
            )
        )
    return frozenset(names)


@cache
def _source(cls: type) -> str:
    try:
        return textwrap.dedent(inspect.getsource(cls)) if cls.__module__ != "builtins" else ""
    except (OSError, TypeError):
        return ""


def signature(target: Any) -> inspect.Signature | None:
    """How something is called; None if it is not, or does not tell."""
    try:
        return inspect.signature(target) if callable(target) else None
    except (TypeError, ValueError):
        return None


def find_refusals(path: str, target: Any, call: Call, where: str) -> Iterator[str]:
    """A line if `target` cannot be called so."""
    known = signature(target)
    if known is None:
        return
    try:
        bind = known.bind_partial if call.more else known.bind
        bind(*[None] * call.positional, **dict.fromkeys(call.keywords))
    except TypeError as error:
        yield f"{path}{known} as called in {where}: {error}"


def find_untaken(
    name: str,
    ours: ast.arguments,
    path: str,
    core: Any,
    where: str,
    dropped: int = 0,
    ordered: bool = True,
) -> Iterator[str]:
    """A line for each parameter of ComfyUI's function that ours neither names nor takes by `**`.

    If `ordered`, ours must also have them in its places; `dropped` of our first ones it has not.
    """
    positional = [
        argument.arg
        for argument in (*ours.posonlyargs, *ours.args)
        if argument.arg not in ("self", "cls")
    ]
    positional = positional[dropped:]
    named = {*positional, *(argument.arg for argument in ours.kwonlyargs)}
    known = signature(core)
    asked = (
        [part for part in known.parameters.values() if part.name not in ("self", "cls")]
        if known
        else []
    )
    for number, part in enumerate(asked):
        if part.kind in (part.VAR_POSITIONAL, part.VAR_KEYWORD):
            continue
        if part.name not in named and ours.kwarg is None:
            yield f"{name} ({where}) has no parameter {part.name!r} of {path}{known}"
        elif ordered and part.name in positional and positional.index(part.name) != number:
            yield f"{name} ({where}) has {part.name!r} in another place than {path}{known}"


def check_calls(name: str, ours: ast.arguments, calls: list[Call], where: str) -> Iterator[str]:
    """A line for each way in which ComfyUI calls our function in `where` that it would not take."""
    positional = [
        argument.arg
        for argument in (*ours.posonlyargs, *ours.args)
        if argument.arg not in ("self", "cls")
    ]
    needed = positional[: len(positional) - len(ours.defaults)]
    for call in dict.fromkeys(calls):
        if call.positional > len(positional) and ours.vararg is None:
            takes = f"{name} takes {len(positional)} arguments by position"
            yield f"{takes}, {where} gives {call.positional}"
        for keyword in call.keywords:
            if (
                keyword not in (*positional, *(argument.arg for argument in ours.kwonlyargs))
                and ours.kwarg is None
            ):
                yield f"{name} has no parameter {keyword!r}, which {where} gives"
        lacking = set(needed[call.positional :]) - set(call.keywords)
        if lacking and not call.more:
            yield f"{name} needs {', '.join(sorted(lacking))}, which {where} does not give"
