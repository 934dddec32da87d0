"""What is written of an object: its class, and every part of its state that Python can see.

An object whose class keeps state in C that is not known here cannot be described.
"""

import collections
import datetime
import decimal
import enum
import fractions
import functools
import logging
import pathlib
import re
import threading
import types
import uuid
import weakref
from collections.abc import Iterator
from typing import Any

import numpy
import torch

from . import code
from .code_bytes import is_library, origin
from .parts import Indescribable, Into, Part, Piece
from .tensors import full_bytes, sampled_bytes

_PLAIN = (type(None), bool, int, complex, str, types.EllipsisType, types.NotImplementedType)
_BY_REPR = (
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    range,
    slice,
    fractions.Fraction,
    decimal.Decimal,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    pathlib.PurePath,
    types.GenericAlias,
    types.UnionType,
    numpy.dtype,
    numpy.generic,
)
_BY_CLASS = (logging.Logger, type(threading.Lock()), type(threading.RLock()), uuid.UUID, object)
"""Told by class and order of visit: they decide nothing, or their value is random.

`object` itself: sentinels.
"""


def plain_bytes(value: Any) -> bytes | None:
    """A value without parts, exactly; None for anything else."""
    kind = type(value)
    if kind is float:
        return f"float {value.hex()}".encode()
    if kind is bytes:
        return b"bytes " + value
    return f"{kind.__name__} {value!r}".encode() if kind in _PLAIN else None


def parts_of(value: Any, into: Into) -> Iterator[Piece]:
    """The parts of `value`, in a fixed order. Raises Indescribable."""
    kind = type(value)
    if isinstance(value, torch.Tensor):
        yield b"tensor"
        yield from full_bytes(value)
    elif type(value).__name__ == "OptimizedModule" and hasattr(value, "dynamo_ctx"):
        yield from _compiled_parts(value)
    elif isinstance(value, torch.nn.Module):
        yield from module_parts(value)
    elif isinstance(value, type):
        yield from code.class_parts(value, into)
    elif (parts := code.callable_parts(value, into)) is not None:
        yield from parts
    elif isinstance(value, enum.Enum):
        yield f"{code.name_of(kind)} {value.name}".encode()
        yield Part(".value", value.value)
    elif kind in _BY_CLASS or isinstance(value, logging.Logger):
        yield code.name_of(kind).encode()
    elif isinstance(value, _BY_REPR):
        yield f"{code.name_of(kind)} {value!r}".encode()
    else:
        yield from _state(value, into)


def _state(value: Any, into: Into) -> Iterator[Piece]:
    yield Part("", type(value))
    yield from _content(value, into)
    attributes = _attributes(value)
    if attributes is not None:
        into.state.instances.append((value, dict(attributes)))
        yield from attribute_parts(attributes)
    for name in _slots(type(value)):
        if hasattr(value, name):
            yield Part(f".{name}", getattr(value, name))
    hidden = _hidden_state(type(value))  # type: ignore[arg-type]  # a class is hashable
    if (
        hidden is not None
        and is_library(hidden.__module__)
        and origin(hidden.__module__)[:6] == "python"
    ):
        yield from _describe_pickle(value)
    elif hidden is not None:
        raise Indescribable(f"{code.name_of(type(value))} keeps state that cannot be read")


def _describe_pickle(value: Any) -> Iterator[Piece]:
    """Of Python's own C types, what they would put into a pickle."""
    try:
        reduced = value.__reduce_ex__(4)
    except (TypeError, ValueError):
        raise Indescribable(
            f"{code.name_of(type(value))} keeps state that cannot be read"
        ) from None
    yield Part("", list(reduced[1:3]) if isinstance(reduced, tuple) else reduced)


def _attributes(value: Any) -> dict | None:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def attribute_parts(attributes: dict) -> Iterator[Piece]:
    """Attributes by name: the order in which an object got them says nothing."""
    for name in sorted(attributes, key=str):
        yield str(name).encode()
        yield Part(f".{name}", attributes[name])


def _content(value: Any, into: Into) -> Iterator[Piece]:
    """Of containers and of C types that show their state.

    Dictionaries in their own order, which code may follow.
    """
    if isinstance(value, (dict, types.MappingProxyType)):
        yield f"dict {len(value)}".encode()
        if isinstance(value, collections.defaultdict):
            yield Part(".default_factory", value.default_factory)
        for key, held in dict.items(value) if isinstance(value, dict) else value.items():
            yield Part(".key", key)
            yield Part(f"[{_short(key)}]", held)
    elif isinstance(value, (list, tuple, collections.deque)):
        yield f"list {len(value)} {getattr(value, 'maxlen', '')}".encode()
        for number, held in enumerate(value):
            yield Part(f"[{number}]", held)
    elif isinstance(value, weakref.ref):
        yield Part("()", value())
    else:
        yield from _flat_content(value, into)


def _flat_content(value: Any, into: Into) -> Iterator[Piece]:
    """Of what holds no parts that could lead back to it; a SimpleNamespace is all in its
    `__dict__`.
    """
    if isinstance(value, (set, frozenset)):
        yield f"set {len(value)}".encode()
        yield from sorted(into.digest_alone(member) for member in value)
    elif isinstance(value, (str, bytes, bytearray, int, float, complex)):
        # Not `repr(value)`: a class of its own may show anything.
        own = next(
            base for base in (str, bytes, bytearray, int, float, complex) if isinstance(value, base)
        )
        yield own.__repr__(value).encode()
    elif isinstance(value, re.Pattern):
        yield f"{value.pattern!r} {value.flags}".encode()
    elif isinstance(value, numpy.ndarray):
        if value.dtype.hasobject:
            raise Indescribable("an array of objects")
        yield f"{value.dtype} {value.shape}".encode()
        yield numpy.ascontiguousarray(value).tobytes()
    elif isinstance(value, torch.Generator):
        yield f"{value.device}".encode()
        yield from full_bytes(value.get_state())


_SHOWN = (
    dict,
    types.MappingProxyType,
    collections.OrderedDict,
    collections.defaultdict,
    set,
    frozenset,
    list,
    tuple,
    collections.deque,
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    re.Pattern,
    numpy.ndarray,
    torch.Generator,
    torch._C.Generator,
    weakref.ref,
    types.SimpleNamespace,
    torch.Size,
)


def _short(key: Any) -> str:
    return (
        repr(key)
        if type(key) in (str, int, type(None)) and len(repr(key)) < 60
        else type(key).__name__
    )


def _slots(kind: type) -> list[str]:
    found = []
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                found.append(f"_{base.__name__.lstrip('_')}{name}" if private else name)
    return found


@functools.lru_cache(4096)
def _hidden_state(kind: type) -> type | None:
    """The class in the family of `kind` whose instances are larger than what Python can see of
    them.
    """
    for base in kind.__mro__:
        if base is object or base in _SHOWN:
            continue
        if base.__base__ is None or base.__itemsize__ != base.__base__.__itemsize__:
            return base
        own = base.__dict__.get("__slots__", ())
        seen = len(
            [own]
            if isinstance(own, str)
            else [name for name in own if name not in ("__dict__", "__weakref__")]
        )
        for offset in ("__dictoffset__", "__weakrefoffset__"):
            # Negative offsets lie before the object, except where its size varies.
            stored = getattr(base, offset) > 0 or (getattr(base, offset) < 0 and base.__itemsize__)
            seen += bool(stored and not getattr(base.__base__, offset))
        if base.__basicsize__ > base.__base__.__basicsize__ + seen * tuple.__itemsize__:
            return base
    return None


# --- modules of torch ---------------------------------------------------------------------------

_TORCHS = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"}


def own_attributes(module: torch.nn.Module) -> dict:
    """A module's attributes, without tensors, children, torch's own registers that hold nothing,
    and its compiler's notes."""
    return {
        name: held
        for name, held in vars(module).items()
        if name not in _TORCHS
        and not name.startswith("_dynamo")
        and not (isinstance(held, collections.OrderedDict) and not held)
    }


def _compiled_parts(module: torch.nn.Module) -> Iterator[Piece]:
    """What torch.compile made of a module: the module, and what it was compiled with."""
    context: Any = module.dynamo_ctx
    backend = context.callback
    while inner := getattr(
        backend, "_torchdynamo_orig_backend", getattr(backend, "_torchdynamo_orig_callable", None)
    ):
        backend = inner
    yield b"compiled"
    yield Part("._orig_mod", module._orig_mod)
    yield Part(".backend", backend)


def module_parts(module: torch.nn.Module) -> Iterator[Piece]:
    """A torch module that another object refers to: its class, attributes, a sample of its weights,
    and its children."""
    yield Part("", type(module))
    yield from attribute_parts(own_attributes(module))
    for kind in ("_parameters", "_buffers"):
        for name, tensor in getattr(module, kind).items():
            yield f"{kind} {name} {tensor is None}".encode()
            if tensor is not None:
                yield from sampled_bytes(tensor)
    for name, child in module._modules.items():
        yield name.encode()
        yield Part(f".{name}", child)
