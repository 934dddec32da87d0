"""Values of tensors as bytes, read raw: packed, quantised and foreign kinds too.

plain tensors              their storage
wrappers (ComfyUI's        the tensors inside, and how they are put together
QuantizedTensor, …)
other subclasses (GGUF)    class, attributes, and the storage behind them
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from .parts import Indescribable, Part, Piece

PLACES, PLACE_BYTES = 4, 4096
"""Where and how much of a large weight is read: 4 KiB at four places, the first and the last bytes
among them."""


WHOLE_BYTES = 64 * 1024
"""So much and less is read in full."""


_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.parameter.Buffer)


_OF_A_LOAD = {"_model_dtype", "patches"}
"""Attributes that ComfyUI and the GGUF loader write on weights as they load a model, after what the
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
