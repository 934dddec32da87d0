"""Code as bytes: what a function does, which names it looks up, and which texts it holds."""

import dis
import functools
import hashlib
import sys
import types
from typing import Any


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


# --- classes ------------------------------------------------------------------------------------


def code_words(code: types.CodeType) -> set[str]:
    """Every text that code holds as a constant, inner functions' too."""
    inner = (code_words(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return {const for const in code.co_consts if isinstance(const, str)}.union(*inner)
