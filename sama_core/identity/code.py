"""Describe functions, classes and modules by their code in memory and by the values it reads.

Installed libraries count by their version. Other code, ComfyUI's and node packs', counts by its
bytes in memory and by the Python files of its package, see `code_bytes.py`.
"""

import contextlib
import enum
import functools
import os
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .code_bytes import (
    code_bytes,
    code_names,
    code_words,
    find_reassigned,
    is_library,
    origin,
)
from .parts import Into, Part, Piece

_BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodWrapperType,
)
_PYTHONS_OWN = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "__annotations__",
    "__qualname__",
    "__slots__",
    "__slotnames__",
    "__abstractmethods__",
    "_abc_impl",
    "__parameters__",
    "__orig_bases__",
    "__match_args__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__firstlineno__",
    "__static_attributes__",
}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device)


def name_of(thing: Any) -> str:
    """`module.qualified name`."""
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{getattr(thing, '__module__', '')}.{name}"


def callable_parts(value: Any, into: Into) -> Iterator[Piece] | None:
    """The parts of functions and what comes with them; None for anything else."""
    for kinds, parts in _PARTS:
        if isinstance(value, kinds):
            return parts(value, into)
    if type(value).__name__ == "CustomOpDef":  # torch.library's
        operator: list[Piece] = [f"operator {value._qualname}".encode(), Part("", value._init_fn)]
        return iter(operator)
    if isinstance(value, _BUILT_IN) or type(value).__name__ in ("OpOverload", "OpOverloadPacket"):
        return _built_in_parts(value)
    return None


def _method_parts(method: types.MethodType, into: Into) -> Iterator[Piece]:
    yield b"method"
    yield Part("", method.__func__)
    yield Part(".__self__", method.__self__)


def _partial_parts(partial: functools.partial, into: Into) -> Iterator[Piece]:
    yield b"partial"
    yield Part("", partial.func)
    yield Part(".args", partial.args)
    yield Part(".keywords", partial.keywords)
    yield Part("", vars(partial))


def _cached_parts(cached: functools._lru_cache_wrapper, into: Into) -> Iterator[Piece]:
    yield b"lru_cache"
    for name, held in sorted(vars(cached).items()):
        yield Part(f".{name}", held)


def _unbound_parts(method: staticmethod | classmethod, into: Into) -> Iterator[Piece]:
    yield type(method).__name__.encode()
    yield Part("", method.__func__)


def _property_parts(value: property, into: Into) -> Iterator[Piece]:
    yield b"property"
    yield Part(".fget", value.fget)
    yield Part(".fset", value.fset)


def _code_parts(value: types.CodeType, into: Into) -> Iterator[Piece]:
    yield code_bytes(value)


def _built_in_parts(value: Any) -> Iterator[Piece]:
    named = (
        f"{name_of(value)} of {name_of(value.__objclass__)}"
        if hasattr(value, "__objclass__")
        else name_of(value)
    )
    yield (
        f"built in {named} {value if type(value).__name__.startswith('OpOverload') else ''}"
    ).encode()
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        yield Part(".__self__", owner)


def _module_parts(module: types.ModuleType, into: Into) -> Iterator[Piece]:
    """A module that another object refers to. That object may read any variable of the module, so
    all variables with plain values are written.

    What functions read of the module by name is written with these functions, see `_reads`.
    """
    yield f"module {module.__name__} {origin(module.__name__)}".encode()
    if is_library(module.__name__) or into.covered(module.__name__):
        return
    for name, held in sorted(vars(module).items()):
        if not name.startswith("__") and _is_plain(held):
            yield name.encode()
            yield Part(f".{name}", held)


def _cell_parts(cell: types.CellType, into: Into) -> Iterator[Piece]:
    try:
        held = cell.cell_contents
    except ValueError:
        yield b"empty cell"
        return
    into.state.cells.append((cell, held))
    yield Part("", held)


# --- functions ----------------------------------------------------------------------------------


def _function_parts(function: types.FunctionType, into: Into) -> Iterator[Piece]:
    # Not `__module__` and `__qualname__`: functools.wraps copies those of another function.
    home, code = function.__globals__.get("__name__"), function.__code__
    yield f"function {name_of(function)} {home}.{code.co_qualname} {origin(home)}".encode()
    yield code_bytes(code)
    if is_library(home) and "<locals>" not in code.co_qualname:
        return
    yield Part(".__defaults__", function.__defaults__)
    yield Part(".__kwdefaults__", function.__kwdefaults__)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield Part(f".{name}", cell)
    for name, held in sorted(vars(function).items()):
        yield Part(f".{name}", held)
    if not is_library(home):
        yield from _globals_read(function, into)


def _globals_read(function: types.FunctionType, into: Into) -> Iterator[Piece]:
    """What code reads from its module, from modules it names there or holds, and from the
    environment.

    Of covered packages only constants, and functions that another package put there: what they
    change as they work are caches and counters.
    """
    names, space = code_names(function.__code__), function.__globals__
    plain_only = into.covered(space.get("__name__"))
    if plain_only:
        names = names - find_reassigned(space.get("__name__"))
    held_modules = [
        held for _name, held in _list_closure(function) if isinstance(held, types.ModuleType)
    ]
    if not plain_only:
        yield from _environment(function)
        held_modules += [
            module
            for name in sorted(names)
            if name not in space
            for module in _find_imported(name, space)
        ]
    for name in sorted(names & space.keys()):
        if isinstance(space[name], types.ModuleType):
            held_modules.append(space[name])
        else:
            yield from _global_part(name, space[name], plain_only, into)
    yield from _reads(held_modules, names, plain_only, into)


def _reads(
    modules: list[types.ModuleType], names: frozenset[str], plain_only: bool, into: Into
) -> Iterator[Piece]:
    """Variables called `names` of `modules`, and of modules that are such variables:
    `pack.settings.scale`.
    """
    waiting, seen = modules[::-1], set()
    while waiting:
        module = waiting.pop()
        if id(module) in seen or is_library(module.__name__):
            continue
        seen.add(id(module))
        yield f"module {module.__name__}".encode()
        plain = plain_only or into.covered(module.__name__)
        for name in sorted(
            (names & vars(module).keys()) - (find_reassigned(module.__name__) if plain else set())
        ):
            held = vars(module)[name]
            if isinstance(held, types.ModuleType):
                waiting += [] if plain else [held]
            else:
                yield from _global_part(f"{module.__name__}.{name}", held, plain, into)


def _list_closure(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # an empty cell
            yield name, cell.cell_contents


def _environment(function: types.FunctionType) -> Iterator[bytes]:
    """Environment variables that a function may read: its code uses the environment, and one of its
    strings is the variable's name.
    """
    if code_names(function.__code__).isdisjoint(("environ", "getenv", "environb")):
        return
    space = function.__globals__
    words = {
        text for name in code_names(function.__code__) if isinstance(text := space.get(name), str)
    }
    for name in sorted((words | code_words(function.__code__)) & os.environ.keys()):
        yield f"variable {name} {os.environ[name]!r}".encode()


def _find_imported(name: str, space: dict) -> list[types.ModuleType]:
    """Modules that a function imports when it runs, as far as they are in `sys.modules` already."""
    package, found = space.get("__package__") or "", [sys.modules.get(name)]
    while package:
        found.append(sys.modules.get(f"{package}.{name}" if name else package))
        package = package.rpartition(".")[0]
    return [module for module in found if isinstance(module, types.ModuleType)]


def _global_part(name: str, held: Any, plain_only: bool, into: Into) -> Iterator[Piece]:
    yield name.encode()
    if not plain_only or (_is_plain(held) and not isinstance(held, (dict, list, set))):
        yield Part(f" reading {name}", held)
    elif callable(held):
        yield name_of(held).encode()
        if is_foreign(held, into.covered):
            yield Part(f" reading {name}", held)


def is_foreign(held: Any, covered: Callable[[str | None], bool]) -> bool:
    """Whether a callable belongs neither to a library nor to a covered package. A function with a
    closure counts too: it may be a wrapper around something foreign.
    """
    if not isinstance(held, types.FunctionType):
        home = type(held).__module__
        return not isinstance(held, type) and not is_library(home) and not covered(home)
    module = held.__globals__.get("__name__")
    return bool(held.__closure__) or not (is_library(module) or covered(module))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(held) for key, held in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(isinstance(held, _PLAIN) for held in value)
    return isinstance(value, _PLAIN)


def class_parts(kind: type, into: Into) -> Iterator[Piece]:
    """A class: its name, and unless a library's, its bases, methods and attributes."""
    yield f"class {name_of(kind)} {origin(kind.__module__)}".encode()
    if is_library(kind.__module__):
        yield from replaced_functions(kind)
        return
    for base in kind.__bases__:
        yield Part("", base)
    plain_only = into.covered(kind.__module__)
    for name, held in sorted(kind.__dict__.items()):
        if name in _PYTHONS_OWN or (plain_only and not _is_code(held) and not _is_plain(held)):
            continue
        yield name.encode()
        yield Part(f".{name}", held)


def replaced_functions(library: type | types.ModuleType) -> Iterator[Piece]:
    """Functions of an installed library's class or module that another package has put in their
    place.
    """
    for name, held in sorted(vars(library).items()):
        function = getattr(held, "__func__", held)
        if isinstance(function, types.FunctionType) and not is_library(
            function.__globals__.get("__name__")
        ):
            yield name.encode()
            yield Part(f".{name}", function)


def _is_code(value: Any) -> bool:
    return isinstance(value, (types.FunctionType, staticmethod, classmethod, property))


_PARTS: tuple[tuple[type | tuple[type, ...], Callable[..., Iterator[Piece]]], ...] = (
    (types.FunctionType, _function_parts),
    (types.MethodType, _method_parts),
    (types.ModuleType, _module_parts),
    (functools.partial, _partial_parts),
    (functools._lru_cache_wrapper, _cached_parts),
    ((staticmethod, classmethod), _unbound_parts),
    (property, _property_parts),
    (types.CellType, _cell_parts),
    (types.CodeType, _code_parts),
)
