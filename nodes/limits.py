"""Limits of inputs hold for linked values too.

ComfyUI checks what is typed into a widget, but not what another node sends there, and not NaN: a
start of 2**70, a cfg of NaN or a list in place of a number reach `execute` as they are. So every
node of the pack checks its inputs by its own schema first. What sockets without a widget take is in
`sockets.py`.
"""

import inspect
import math
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from functools import wraps
from numbers import Integral, Real
from pathlib import PurePath

from comfy_api.latest import io

from ..sama_core.comfyui.media_values import kind_of, plain
from ..sama_core.errors import InputError, needed
from .sockets import SOCKETS

_SHOWN = 60


def obey_limits(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Let `execute` of `node` check its inputs first, and return `node`.

    It raises InputError for the first wrong input.
    """
    execute = node.execute.__func__
    parameters = dict(list(inspect.signature(execute).parameters.items())[1:])
    order = list(parameters)
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]

    @wraps(execute)
    def check_and_execute(cls, *in_order, **values):
        values = {**dict(zip(order, in_order, strict=False)), **values}
        schema = cls.define_schema()
        inputs = {entry.id: entry for entry in schema.inputs}
        fit = _fit_each if schema.is_input_list else _fit
        absent = next((name for name in required if name not in values), None)
        if absent is not None:  # ComfyUI runs a node so whose only linked input is an empty list
            raise _got_nothing(absent)
        given = {
            name: value
            for name, value in values.items()
            if not _is_left_open(inputs.get(name), value)
        }
        return execute(cls, **{name: fit(inputs.get(name), value) for name, value in given.items()})

    node.execute = classmethod(check_and_execute)
    return node


def _is_left_open(entry: io.Input | None, value: object) -> bool:
    """Whether an optional input is not connected, or a lazy one was not asked for; then `execute`
    has its own default.
    """
    return entry is not None and (entry.optional or bool(entry.lazy)) and value is None


def _fit(entry: io.Input | None, value: object) -> object:
    """`value` in the type of the input that `entry` describes."""
    if entry is None:
        return value
    kind = entry.get_io_type()
    if kind in SOCKETS:
        return SOCKETS[kind](entry.id, value)
    return _WIDGETS[kind](entry, value) if kind in _WIDGETS else value


def _fit_each(entry: io.Input | None, values: list) -> list:
    """The same of every value, for nodes that take each input as a list."""
    if not values and entry is not None:
        raise _got_nothing(entry.id)
    return [_fit(entry, value) for value in values]


def _whole_number(entry: io.Int.Input, value: object) -> int:
    number = _real(value)
    whole = isinstance(number, Integral) or (
        number is not None and _finite(number) and number == int(number)
    )
    if not whole:
        raise _error(entry, value, _span("a whole number", entry))
    return _within(entry, int(number), "a whole number")


def _number(entry: io.Float.Input, value: object) -> float:
    number = _real(value)
    if number is None or not _finite(number):
        raise _error(entry, value, _span("a number", entry))
    number = float(number)
    # A limit that was rounded, to 32 bits or by arithmetic, still is the limit.
    near = (
        limit
        for limit in (entry.min, entry.max)
        if limit is not None and math.isclose(number, limit, rel_tol=1e-6, abs_tol=1e-9)
    )
    return _within(entry, float(next(near, number)), "a number")


def _real(value: object) -> Real | None:
    """The number that `value` is, contains, or spells as text; None if there is none."""
    value = plain(value)
    if isinstance(value, str):
        try:
            return int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
        except ValueError:
            return None
    if isinstance(value, Decimal):
        return int(value) if math.isfinite(value) and value == int(value) else float(value)
    return value if isinstance(value, Real) else None


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _within(entry: io.Int.Input | io.Float.Input, value: float, kind: str) -> float:
    if (entry.min is not None and value < entry.min) or (
        entry.max is not None and value > entry.max
    ):
        raise _error(entry, value, _span(kind, entry))
    return value


def _span(kind: str, entry: io.Int.Input | io.Float.Input) -> str:
    return (
        kind
        if entry.min is None or entry.max is None
        else f"{kind} from {entry.min:g} to {entry.max:,g}"
    )


def _text(entry: io.String.Input, value: object) -> str:
    """Text that can be encoded: halves of UTF-16 pairs, which JSON can contain, become �."""
    if not isinstance(value, str):
        raise _error(entry, value, "a text")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _switch(entry: io.Boolean.Input, value: object) -> bool:
    number = plain(value)
    if not isinstance(number, Real) or not _finite(number):
        raise _error(entry, value, "true or false")
    return bool(number)


def _choice(entry: io.Combo.Input, value: object) -> object:
    """The list's own entry for `value`, which may also be a path or an enum's member."""
    asked = _slashes(value.value if isinstance(value, Enum) else value)
    found = next((option for option in entry.options if _slashes(option) == asked), None)
    if found is None:
        names = list(map(str, entry.options))
        raise _error(
            entry, value, " or ".join(names) if len(names) < 7 else "a name of the node's list"
        )
    return found


def _slashes(name: object) -> object:
    """A text or path with slashes, because workflows come from other systems; numbers unchanged.

    Other values become an object that equals nothing.
    """
    if isinstance(name, str | PurePath):
        return str.__str__(name).replace("\\", "/") if isinstance(name, str) else name.as_posix()
    return name if isinstance(name, int) else object()


_WIDGETS: dict[str, Callable] = {
    "INT": _whole_number,
    "FLOAT": _number,
    "STRING": _text,
    "BOOLEAN": _switch,
    "COMBO": _choice,
}


def _error(entry: io.Input, value: object, need: str) -> InputError:
    default = getattr(entry, "default", None)
    fix = (
        f"Set it to {default}, its default."
        if default not in (None, "")
        else "Check what is connected there."
    )
    return InputError(needed(entry.id, _describe(value), need, fix))


def _got_nothing(name: str) -> InputError:
    """For a list without anything in it, as some nodes give."""
    fix = "Check the node that is connected there: it gave nothing."
    return InputError(needed(name, "an empty list", "a value", fix))


def _describe(value: object) -> str:
    """A number or a text as one short printable line; anything else by its kind."""
    if not isinstance(value, Real | str):
        return kind_of(value)
    if isinstance(value, Real):
        return (
            "a number of over 30 digits" if _finite(value) and abs(value) > 10**30 else str(value)
        )
    text = ascii(value) if not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
