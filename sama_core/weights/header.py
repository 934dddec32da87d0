"""The header of a safetensors file: names, types, shapes and places of its tensors.

No weight is read.

Names become Wan's own: without a wrapper's prefix, from diffusers' names, without the other parts
of an all-in-one checkpoint.
"""

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, needed
from .names import (
    OF_OTHER_MODELS,
    PREFIXES,
    SAMA_KEYS,
    list_own_names,
    own_name,
    strip_prefix,
    uses_diffusers_names,
)
from .quant_formats import MARK
from .quantised import Stored, as_core_reads, is_small_scale, metadata_layers, read_mark

BUNDLE_ADVICE = (
    "Put it into models/checkpoints and load it with Load Checkpoint, whose MODEL goes through "
    "Prepare SAMA Model; Load SAMA Model reads its model too."
)

_LORA = re.compile(
    r"lora_(A|B|up|down)\b|\.lora[._]|^lora_|\.diff(_b)?$|\.hada_|\.lokr_|\.oft_|\.dora_scale$"
)
_SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.safetensors$")
MAX_HEADER = 100 << 20
"""Bytes of the longest header that the library of safetensors takes."""
_BROKEN = (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a damaged header raises."""

# What files begin with that are given a safetensors file's name, or chosen in its place.
_OTHER_FILES = {
    b"GGUF": "a GGUF file",
    b"PK\3\4": "a PyTorch file (.pth)",
    b"\x80\2": "an old PyTorch file (.pth)",
    b"<": "a web page",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}

# Bits of one value of each type.
_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
    "F4": 4,
}


class Place(NamedTuple):
    """Where a tensor lies in its file, and as what."""

    dtype: str
    """As the file writes it: BF16, F8_E4M3 …"""
    start: int
    """Bytes from the file's beginning."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class WeightFile:
    """The header of one safetensors file, under the model's own names."""

    path: Path
    """The file."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of every tensor."""
    metadata: dict[str, str]
    """The file's `__metadata__`; empty without one."""
    places: dict[str, Place]
    """Where every tensor lies, under the names of `shapes`."""
    left_out: tuple[str, ...] = ()
    """Tensors of an all-in-one checkpoint that belong to its text encoder and VAE."""
    diffusers: bool = False
    """Whether the file gives the tensors diffusers' names."""

    @property
    def kind(self) -> str:
        """'full', 'delta', 'wan', 'lora' or 'foreign'."""
        has_sama = any(key in self.shapes for key in SAMA_KEYS)
        has_block = any(key.startswith("blocks.") for key in self.shapes)
        if any(_LORA.search(key) for key in self.shapes):
            return "lora"
        if has_sama:
            return "full" if "head.modulation" in self.shapes and has_block else "delta"
        return "wan" if has_block or "patch_embedding.weight" in self.shapes else "foreign"

    def quantised_layers(self) -> dict[str, object] | None:
        """Layer → mark of the metadata's list, under the model's own names; None without a list."""
        layers = metadata_layers(self.metadata, self.path.name)
        if layers is None:
            return None
        return {
            own_name(layer, self.diffusers): mark
            for layer, mark in layers.items()
            if not OF_OTHER_MODELS(layer)
        }

    def list_stored(self) -> dict[str, Stored]:
        """Type and shape of every tensor, and one mark for each quantised layer. Reads no more than
        the marks.

        Raises CheckpointError for marks that cannot be read.
        """
        marks = {key: place for key, place in self.places.items() if key.endswith(f".{MARK}")}
        said = {key: read_mark(data) for key, data in _bytes(self.path, marks).items()}
        stored = {
            key: Stored(place.dtype, self.shapes[key], said.get(key))
            for key, place in self.places.items()
        }
        return as_core_reads(stored, self.quantised_layers(), self.path.name)

    def small_scales(self) -> dict[str, tuple[str, bytes]]:
        """Type and bytes of the quantisation scales that take little room, which block-wise ones do
        not.
        """
        scales = {
            key: place
            for key, place in self.places.items()
            if is_small_scale(key, place.dtype, place.size)
        }
        return {key: (scales[key].dtype, data) for key, data in _bytes(self.path, scales).items()}


def _bytes(path: Path, places: Mapping[str, Place]) -> dict[str, bytes]:
    """What lies at these places."""
    if not places:
        return {}
    found = {}
    with open(path, "rb") as file:
        for key, place in places.items():
            file.seek(place.start)
            found[key] = file.read(place.size)
    return found


def read_header(path: str | Path, own_names: bool = True) -> WeightFile:
    """Names, shapes and metadata of a safetensors file, with `own_names` as the DiT names them.

    Raises CheckpointError for anything that is not a whole safetensors file; nothing is loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            needed(str(path), "no such file", "a safetensors file", "Choose a file that exists.")
        )
    size = path.stat().st_size
    try:
        file, whole = _parse_header(path, size)
    except _BROKEN as broken:
        raise CheckpointError(
            needed(
                path.name,
                f"no readable safetensors header ({_what_it_is(path) or broken})",
                "a safetensors file",
                "Download it again; GGUF files go through a GGUF loader.",
            )
        ) from broken
    if whole != size:
        raise CheckpointError(
            needed(
                path.name,
                f"{size:,} bytes",
                f"{whole:,} bytes",
                "The file is truncated or damaged: download it again.",
            )
        )
    return _with_own_names(file) if own_names else file


def _parse_header(path: Path, size: int) -> tuple[WeightFile, int]:
    """(the header under the file's own names, the bytes that a whole file has).

    `size` is the bytes that the file has. Raises one of _BROKEN for what is no header.
    """
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", None) or {}
    if not all(isinstance(text, str) for text in dict(metadata).values()):
        raise ValueError("metadata that is no text")
    whole = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
    places = {key: _place(entry, 8 + length) for key, entry in header.items()}
    _check_places(shapes, places, 8 + length)
    return WeightFile(path, shapes, metadata, places), whole


def _with_own_names(file: WeightFile) -> WeightFile:
    """The same header, with tensors as the DiT names them."""
    _refuse_twins(file.path, file.shapes)
    own = list_own_names(file.shapes)
    return WeightFile(
        file.path,
        strip_prefix(file.shapes),
        file.metadata,
        strip_prefix(file.places),
        tuple(key for key in file.shapes if key not in own),
        uses_diffusers_names(file.shapes),
    )


def _what_it_is(path: Path) -> str | None:
    """What a file that is no safetensors file is instead, by its first bytes; None where they do
    not tell.
    """
    with open(path, "rb") as file:
        head = file.read(64)
    if len(head) < 8:  # where a header would say its own length
        return f"a file of {len(head)} bytes" if head else "an empty file"
    return next((what for begin, what in _OTHER_FILES.items() if head.startswith(begin)), None)


def _place(entry: dict, data: int) -> Place:
    first, last = entry["data_offsets"]
    _refuse_odd_numbers("data_offsets", (first, last))
    return Place(str(entry["dtype"]), data + first, last - first)


def _check_places(shapes: Mapping[str, tuple], places: Mapping[str, Place], data: int) -> None:
    """ValueError unless the tensors lie one behind the other, each as large as its type and shape
    say.
    """
    for key, place in places.items():
        _refuse_odd_numbers(f"{key} of shape", shapes[key])
        bits = _BITS.get(place.dtype)
        if bits is not None and place.size * 8 != math.prod(shapes[key]) * bits:
            raise ValueError(
                f"{key} of type {place.dtype} and shape {list(shapes[key])} in {place.size} bytes"
            )
    end = data
    for place in sorted(places.values(), key=lambda place: (place.start, place.size)):
        if place.start != end:
            raise ValueError(f"{abs(place.start - end)} bytes that belong to no tensor or to two")
        end += place.size


def _refuse_odd_numbers(what: str, numbers: tuple) -> None:
    """ValueError for what JSON allows and no size or place is: fractions, true, less than 0."""
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{what} {list(numbers)}")


def _refuse_twins(path: Path, names: Iterable[str]) -> None:
    """CheckpointError where two of the names are one tensor's, with different prefixes."""
    seen: dict[str, str] = {}
    for name, own in list_own_names(names).items():
        if own in seen:
            raise CheckpointError(
                needed(
                    path.name,
                    f"the tensor {own} twice ({seen[own]} and {name})",
                    "each once",
                    "The file was put together wrongly: choose another.",
                )
            )
        seen[own] = name


def is_bundle(names: Iterable[str]) -> bool:
    """True for the names of a checkpoint that holds a diffusion model with its text encoder or
    VAE.
    """
    names = list(names)
    return any(name.startswith(PREFIXES[0]) for name in names) and any(map(OF_OTHER_MODELS, names))


def shard_paths(path: str | Path) -> list[Path]:
    """All shards that belong to `path`: a directory's, a numbered shard's siblings, or the file
    alone.

    Raises CheckpointError naming the shards that are absent.
    """
    path = Path(path)
    if path.is_dir():
        # Hidden files are macOS's notes beside them (._NAME), and others' unfinished ones.
        found = sorted(file for file in path.glob("*.safetensors") if not file.name.startswith("."))
        if not found:
            raise CheckpointError(
                needed(
                    str(path.name),
                    "a folder without .safetensors files",
                    "Wan 2.1 shards",
                    "Put diffusion_pytorch_model-*.safetensors there.",
                )
            )
        return sorted({shard for file in found for shard in shard_paths(file)})
    match = _SHARD.match(path.name)
    if not match:
        return [path]
    stem, total = match[1], int(match[3])
    wanted = [
        path.with_name(f"{stem}-{i:05d}-of-{total:05d}.safetensors") for i in range(1, total + 1)
    ]
    absent = [shard.name for shard in wanted if not shard.exists()]
    if absent:
        raise CheckpointError(
            needed(
                path.name,
                f"{total - len(absent)} of {total} shards",
                "all shards",
                f"Missing: {list_some(absent)}.",
            )
        )
    return wanted


def list_some(names: Iterable[str], limit: int = 12) -> str:
    """The names in one line, cut after `limit`."""
    names = list(names)
    return ", ".join(names[:limit]) + (
        f" and {len(names) - limit} more" if len(names) > limit else ""
    )
