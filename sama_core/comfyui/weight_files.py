"""Weight files: read once, without pickle's powers, and a large model without a second copy of it.

    read_weights    a file's tensors and metadata, as core reads them
    map_weights     a safetensors file's tensors, none of them read yet, each with the place it lies at
    read_into       the mapped tensors, read front to back into memory that becomes the model's own

Core copies a mapped file into the model page by page, in the model's order. That keeps the file's pages beside the
copy, takes several times as long as reading the file, and tells nobody how far it is.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import comfy.utils
import torch
from torch import Tensor, nn

from ..checkpoint import read_header, refuse_non_finite
from ..errors import CheckpointError, needed

Tell = Callable[[int, int], None]
"""`tell(bytes read, bytes in all)` after every piece; what it raises ends the reading."""
PIECE = 16 << 20
_PLACE = "_sama_place"
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}


def read_weights(path: str) -> tuple[dict, dict]:
    """Tensors and metadata of a safetensors or `.pth` file, without pickle's powers.

    Raises CheckpointError, with the file's name, for anything else.
    """
    name = Path(path).name
    if Path(path).suffix in (".safetensors", ".sft"):
        read_header(path)
    try:
        sd, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except Exception as broken:
        raise CheckpointError(needed(name, f"no readable weights ({type(broken).__name__})", "a weight file",
                                     "Download it again.")) from broken
    if not isinstance(sd, dict) or not all(torch.is_tensor(value) for value in sd.values()):
        raise CheckpointError(needed(name, "something else than named tensors", "a weight file", "Download it again."))
    return sd, metadata or {}


@dataclass
class Reading:
    """How the files of one model are read."""

    tell: Tell = lambda done, total: None
    check_finite: bool = False
    """Refuse NaN and infinite values, on the numbers of the file, at the first piece that holds one."""
    done: int = 0
    """Bytes read so far."""
    total: int = 0
    """Bytes that will be read; a base model's tensors that a delta replaces are not."""


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes lie."""

    path: Path
    start: int
    """From the beginning of the file."""
    reading: Reading = field(compare=False)


def map_weights(path: Path, reading: Reading) -> dict[str, Tensor]:
    """The tensors of a safetensors file under its own names, mapped and not read, for `read_into`.

    Whoever reads one of them without `read_into` gets the same numbers through the mapping. The safetensors library
    would map them too, but touches each of them. Raises CheckpointError for a type of numbers that torch lacks.
    """
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    strange = {entry["dtype"] for entry in header.values()} - set(_TYPES)
    if strange:
        raise CheckpointError(needed(path.name, f"numbers of the type {', '.join(sorted(strange))}",
                                     f"one of {', '.join(_TYPES)}", "Choose another file of this model."))
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    mapped = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype, stored = _TYPES[entry["dtype"]], content[start:end]
        # Torch cannot look at bytes as numbers that do not lie at a multiple of their size.
        mapped[name] = (stored.clone() if start % dtype.itemsize else stored).view(dtype).view(entry["shape"])
        setattr(mapped[name], _PLACE, Place(path, start, reading))
    return mapped


def read_into(model: nn.Module, sd: dict[str, Tensor], prefix: str = "") -> bool:
    """Read the mapped tensors of `sd`, in place, as `model` wants to hold them: its types, its device.

    True if there were any: then the model may take the tensors themselves (`assign=True`), they belong to nobody else.
    Tensors that are no parameter of the model as it is built (quantised layers) are read as the file has them.
    Raises CheckpointError if a file ends too early or, where asked for, holds NaN or infinite values.
    """
    mapped = sorted((name for name, value in sd.items() if hasattr(value, _PLACE)),
                    key=lambda name: _key(getattr(sd[name], _PLACE)))
    if not mapped:
        return False
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    reading = getattr(sd[mapped[0]], _PLACE).reading
    reading.done, reading.total = 0, sum(sd[name].numel() * sd[name].element_size() for name in mapped)
    scratch = torch.empty(PIECE, dtype=torch.uint8)
    for name in mapped:
        sd[name] = _read(name, sd[name], own.get(name.removeprefix(prefix)), scratch)
    return True


def _key(place: Place) -> tuple[str, int]:
    return str(place.path), place.start


def _read(name: str, tensor: Tensor, like: Tensor | None, scratch: Tensor) -> Tensor:
    """New memory with the tensor's numbers, of the type and on the device of `like`; through `scratch` if need be."""
    place = getattr(tensor, _PLACE)
    dtype, device = tensor.dtype, torch.device("cpu")
    if like is not None and not like.is_meta:
        device = like.device
        dtype = like.dtype if dtype.is_floating_point and like.is_floating_point() else dtype
    target = torch.empty(tensor.shape, dtype=dtype, device=device)
    if not tensor.numel():
        return target
    as_stored = dtype == tensor.dtype and device.type == "cpu"
    pieces = target.view(-1).split(PIECE // tensor.element_size())
    with open(place.path, "rb", buffering=0) as file:
        file.seek(place.start)
        for piece in pieces:
            stored = piece if as_stored else scratch[:piece.numel() * tensor.element_size()].view(tensor.dtype)
            _fill(stored, file)
            if place.reading.check_finite:
                refuse_non_finite({name: stored}, place.path.name)
            if not as_stored:
                piece.copy_(stored)
            place.reading.done += stored.numel() * stored.element_size()
            place.reading.tell(place.reading.done, place.reading.total)
    return target


def _fill(tensor: Tensor, file) -> None:
    """The file's next bytes, straight into the tensor's memory."""
    left = memoryview(tensor.view(torch.uint8).numpy())
    while left:
        count = file.readinto(left)
        if not count:
            raise CheckpointError(needed(Path(file.name).name, "a file that ended while it was read", "the whole file",
                                         "Download it again, and load it when that is done."))
        left = left[count:]
