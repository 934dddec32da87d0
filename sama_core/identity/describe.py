"""One walk over a graph of objects, written into a digest.

Every object is opened once; met again, it is written as the number of its first visit, so cycles
end and random identities (UUIDs, sentinels) count by their order alone. The stack of open objects
is a list: depth is not limited.

Values of tensors as bytes, read raw: packed, quantised and foreign kinds too.

    plain tensors              their storage
    wrappers (core's           the tensors inside, and how they are put together
    QuantizedTensor, …)
    other subclasses (GGUF)    class, attributes, and the storage behind them
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import CellType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_TOKEN, _AGAIN, _OPEN, _CLOSE = b"\0", b"\1", b"\2", b"\3"


class Indescribable(Exception):
    """Something that has state which cannot be read.

    `path` says where it hangs, `what` what it is.
    """

    def __init__(self, what: str, path: str = ""):
        super().__init__(f"{path}: {what}" if path else what)
        self.what, self.path = what, path


@dataclass(frozen=True, slots=True)
class Part:
    """A thing that another is made of, and its name there."""

    name: str
    value: Any


Piece = bytes | memoryview | Part
"""What is written of an object: bytes, or a thing that is described in its turn."""


@dataclass
class _Visit:
    name: str
    parts: Iterator[Piece]


@dataclass
class State:
    """What was met that may change as it works: cells with their contents, instances with their
    attributes.
    """

    cells: list[tuple[CellType, Any]] = field(default_factory=list)
    instances: list[tuple[Any, dict]] = field(default_factory=list)


class Description:
    """The digest of everything given to `add`, in that order.

    `special(value)` gives the parts of objects that the caller knows better than `kinds.parts_of`,
    else None. `covered(module name)` tells whose code the caller describes as a whole: of it only
    plain globals are read.
    """

    def __init__(self, special=lambda value: None, covered=lambda module: False):
        self.special, self.covered, self.state = special, covered, State()
        self._digest = hashlib.blake2b(digest_size=20)
        self._seen: dict[int, tuple[int, Any]] = {}

    @property
    def key(self) -> str:
        """40 hexadecimal digits."""
        return self._digest.hexdigest()

    def add(self, value: Any, name: str = "") -> "Description":
        """Write one more thing.

        Raises Indescribable with the path to what cannot be described, for whatever reason.
        """
        stack = [_Visit(name, iter([Part("", value)]))]
        try:
            while stack:
                part = next(stack[-1].parts, None)
                if part is None:
                    stack.pop()
                    self._digest.update(_CLOSE)
                elif isinstance(part, Part):
                    self._open(part, stack)
                else:
                    self._write(_TOKEN, part)
        except Indescribable as error:
            raise Indescribable(
                error.what, "".join(visit.name for visit in stack) + error.path
            ) from None
        except (
            Exception
        ) as error:  # of other people's objects: whatever they raise when they are looked at
            raise Indescribable(
                f"it cannot be read ({type(error).__name__}: {error})",
                "".join(visit.name for visit in stack),
            ) from error
        return self

    def _open(self, part: Part, stack: list[_Visit]) -> None:
        from .kinds import parts_of, plain_bytes

        plain = plain_bytes(part.value)
        if plain is not None:
            self._write(_TOKEN, plain)
            return
        seen = self._seen.get(id(part.value))
        if seen is not None:
            self._write(_AGAIN, seen[0].to_bytes(8, "little"))
            return
        # The object is kept with its number: an id may be given again once its object is gone.
        self._seen[id(part.value)] = len(self._seen), part.value
        visit = _Visit(part.name, iter(()))
        stack.append(visit)
        self._digest.update(_OPEN)
        parts: Iterable[Piece] | None = self.special(part.value)
        visit.parts = iter(parts_of(part.value, self) if parts is None else parts)

    def _write(self, mark: bytes, piece) -> None:
        self._digest.update(mark)
        self._digest.update(len(piece).to_bytes(8, "little"))
        self._digest.update(piece)


PLACES, PLACE_BYTES = 4, 4096
"""Where and how much of a large weight is read: 4 KiB at four places, the first and the last bytes
among them."""


WHOLE_BYTES = 64 * 1024
"""So much and less is read in full."""


_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.parameter.Buffer)


_OF_A_LOAD = {"_model_dtype", "patches"}
"""Attributes that core and the GGUF loader write on weights as they load a model, after what the
patcher says."""


def full_bytes(tensor: Tensor) -> Iterator[Piece]:
    """A tensor with all of its values."""
    return _parts(tensor, _all)


def sampled_bytes(tensor: Tensor, whole: int = WHOLE_BYTES) -> Iterator[Piece]:
    """A tensor's header, and its values: all of them up to `whole` bytes, else those at `PLACES`
    places.
    """
    return _parts(tensor, lambda raw: _all(raw) if _nbytes(raw) <= whole else _places(raw))


def _parts(tensor: Tensor, values: Callable[[Tensor], memoryview]) -> Iterator[Piece]:
    if is_traceable_wrapper_subclass(tensor):
        names, how = tensor.__tensor_flatten__()
        yield f"{type(tensor).__qualname__} {tuple(tensor.shape)}".encode()
        yield Part(".how", how)
        for name in names:
            yield name.encode()
            yield from _parts(getattr(tensor, name), values)
        return
    raw = _raw(tensor)
    yield f"{raw.dtype} {tuple(raw.shape)}".encode()
    if type(tensor) not in _PLAIN:
        yield type(tensor).__qualname__.encode()
    for name, value in sorted(vars(tensor).items()):
        if name not in _OF_A_LOAD and not name.startswith("_dynamo"):  # notes of torch.compile
            yield Part(f".{name}", value)
    yield values(raw)


def _raw(tensor: Tensor) -> Tensor:
    """The tensor without what its class makes of it."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        raise Indescribable(f"a tensor of layout {tensor.layout}")
    with torch._C.DisableTorchFunctionSubclass():
        raw = Tensor.as_subclass(tensor, Tensor)
        raw = Tensor.detach(raw).resolve_conj().resolve_neg()
        if raw.numel() and not raw.is_meta and raw.untyped_storage().nbytes() == 0:
            raise Indescribable(f"a {type(tensor).__qualname__} that shows no values")
    return raw


def _nbytes(raw: Tensor) -> int:
    return raw.numel() * raw.element_size()


def _all(raw: Tensor) -> memoryview:
    if raw.is_meta:
        raise Indescribable("a tensor without values (meta)")
    return _memory(raw.contiguous().reshape(-1).view(torch.uint8))


def _places(raw: Tensor) -> memoryview:
    if raw.is_meta:
        raise Indescribable("a tensor without values (meta)")
    # In the order of the storage, where the values of a tensor with other strides lie elsewhere.
    span = (
        sum((size - 1) * stride for size, stride in zip(raw.shape, raw.stride(), strict=True)) + 1
    )
    flat = raw.as_strided((span,), (1,), raw.storage_offset()).view(torch.uint8)
    last = max(0, flat.numel() - PLACE_BYTES)
    starts = [last * place // (PLACES - 1) for place in range(PLACES)]
    places = _memory(torch.cat([flat[start : start + PLACE_BYTES] for start in starts]))
    return (
        places if raw.is_contiguous() else memoryview(bytes(places) + repr(raw.stride()).encode())
    )


def _memory(values: Tensor) -> memoryview:
    return memoryview(values.cpu().numpy())  # type: ignore[arg-type]  # numpy says no buffer
