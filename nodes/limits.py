"""Values that come over a link obey the limits of typed ones.

ComfyUI checks what is typed into a widget, but not what another node sends there, and not NaN: a start of 2**70, a cfg
of NaN or a list in place of a number reach `execute` as they are. So every node of the pack checks its inputs by its
own schema first. What sockets without a widget take is in `sockets.py`.
"""

import math
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real

from comfy_api.latest import io

from ..sama_core.errors import InputError, needed
from .sockets import SOCKETS, kind_of

_SHOWN = 60


def obey_limits(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """`node` itself, whose `execute` first checks its inputs and raises InputError for the first wrong one."""
    execute = node.execute.__func__

    @wraps(execute)
    def checked(cls, **values):
        inputs = {entry.id: entry for entry in cls.define_schema().inputs}
        given = {name: value for name, value in values.items() if not _is_left_open(inputs.get(name), value)}
        return execute(cls, **{name: _fit(inputs.get(name), value) for name, value in given.items()})

    node.execute = classmethod(checked)
    return node


def _is_left_open(entry: io.Input | None, value: object) -> bool:
    """Whether an optional input got nothing: then `execute` has its own default."""
    return entry is not None and entry.optional and value is None


def _fit(entry: io.Input | None, value: object) -> object:
    """`value` in the type of the input that `entry` describes."""
    if entry is None:
        return value
    kind = entry.get_io_type()
    if kind in SOCKETS:
        SOCKETS[kind](entry.id, value)
        return value
    return _WIDGETS[kind](entry, value) if kind in _WIDGETS else value


def _whole_number(entry: io.Int.Input, value: object) -> int:
    whole = isinstance(value, Integral) or (isinstance(value, Real) and math.isfinite(value) and value == int(value))
    if not whole:
        raise _wrong(entry, value, _span("a whole number", entry))
    return _within(entry, int(value), "a whole number")


def _number(entry: io.Float.Input, value: object) -> float:
    if not isinstance(value, Real) or not _finite(value):
        raise _wrong(entry, value, _span("a number", entry))
    return _within(entry, float(value), "a number")


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _within(entry: io.Int.Input | io.Float.Input, value: float, kind: str) -> float:
    if (entry.min is not None and value < entry.min) or (entry.max is not None and value > entry.max):
        raise _wrong(entry, value, _span(kind, entry))
    return value


def _span(kind: str, entry: io.Int.Input | io.Float.Input) -> str:
    return kind if entry.min is None or entry.max is None else f"{kind} from {entry.min:g} to {entry.max:,g}"


def _text(entry: io.String.Input, value: object) -> str:
    """Text that can be written and sent on: halves of UTF-16 pairs, which JSON can carry, become �."""
    if not isinstance(value, str):
        raise _wrong(entry, value, "a text")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _switch(entry: io.Boolean.Input, value: object) -> bool:
    if not isinstance(value, Integral) or value not in (0, 1):
        raise _wrong(entry, value, "true or false")
    return bool(value)


def _choice(entry: io.Combo.Input, value: object) -> object:
    if not isinstance(value, str | int) or value not in entry.options:
        names = list(map(str, entry.options))
        raise _wrong(entry, value, " or ".join(names) if len(names) < 7 else "a name of the node's list")
    return value


_WIDGETS: dict[str, Callable] = {"INT": _whole_number, "FLOAT": _number, "STRING": _text, "BOOLEAN": _switch,
                                 "COMBO": _choice}


def _wrong(entry: io.Input, value: object, need: str) -> InputError:
    default = getattr(entry, "default", None)
    fix = f"Set it to {default}, its default." if default not in (None, "") else "Look at what is connected there."
    return InputError(needed(entry.id, _shown(value), need, fix))


def _shown(value: object) -> str:
    """A number, a text or a name as the artist would write it; anything else by its kind. One short printable line."""
    if not isinstance(value, Real | str):
        return kind_of(value)
    if isinstance(value, Real):
        return "a number of over 30 digits" if _finite(value) and abs(value) > 10**30 else str(value)
    text = ascii(value) if not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
