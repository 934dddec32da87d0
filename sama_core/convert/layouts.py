"""What a converted safetensors file holds, byte by byte, before a weight is read.

    header | float32 tensors | matrices: scale, float8 values, comfy_quant | 16-bit | scaled_fp8

Every tensor starts at a multiple of its element's size, as the library's own files do. A matrix in
float8 (e4m3fn) has one scale: w ≈ scale · q with scale = max|w| / 448, the same numbers as
ComfyUI's own `TensorCoreFP8E4M3Layout.quantize(w.float(), scale="recalculate")`. The file's
checksum stands in its header: `verify` compares.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, needed
from ..weights.header import MAX_HEADER
from .formats import Format, is_matrix
from .weight_source import DTYPES, Chunk, Source, SourceTensor

FLOAT8 = torch.float8_e4m3fn


LARGEST = torch.finfo(FLOAT8).max
"""448"""


def fp8_scale(chunks: Iterable[Tensor]) -> Tensor:
    """Scalar float32 scale of a matrix given in chunks; 1 for a matrix of zeros, or of values so
    small that their scale would have no inverse.
    """
    return _scale_for(chunk.abs().amax() for chunk in chunks)


def _scale_for(largest: Iterable[Tensor]) -> Tensor:
    """The scale of a matrix whose chunks have these largest absolute values."""
    most = torch.stack([value.float() for value in largest]).amax()
    scale = most / LARGEST
    return scale if torch.isfinite(1.0 / scale) else torch.ones(())


def to_fp8(chunk: Tensor, scale: Tensor) -> Tensor:
    """A chunk of the matrix, of any float type, as float8 of the same shape; computed in
    float32.
    """
    return (chunk.float() * (1.0 / scale)).clamp_(-LARGEST, LARGEST).to(FLOAT8)


CHECKSUM_KEY = "sama.sha256"


FACTS_KEY = "sama.converted"
"""Metadata of every file made here: its checksum, and how it was made."""


BLANK = b"0" * 64
"""What stands in the header until the checksum is known."""


_DIGITS = re.compile(
    re.escape(CHECKSUM_KEY.encode()) + rb'(?:":"|.{4}@\0{7})([0-9a-f]{64})', re.DOTALL
)


_PACK = re.compile(
    re.escape(FACTS_KEY.encode()) + rb'.{0,200}?\\?"pack\\?": \\?"([0-9A-Za-z.+-]{1,40})\\?"',
    re.DOTALL,
)


WEIGHTS_ONLY = {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}


ACTIVATIONS_TOO = {"format": "float8_e4m3fn"}


Job = Callable[[], Any]
"""Makes a buffer, the next bytes of a piece; may be called in any thread."""


@dataclass(frozen=True)
class Piece:
    """Consecutive bytes of the result that are made together."""

    name: str
    """Name of the tensor or matrix."""
    size: int
    """Bytes."""
    jobs: Callable[[Callable[[], Any]], Iterable[Job]]
    """What makes them, in order, given a function that waits for what `prepare` returns."""
    prepare: Callable[[], Any] | None = None
    """Finds what all jobs need to know. It takes long, so it is begun before their turn."""


@dataclass(frozen=True)
class Layout:
    """The whole result: what is known before anything is read, and how the rest is made."""

    header: bytes
    """With BLANK, once, where the checksum goes."""
    pieces: list[Piece]
    """What follows the header, in the file's order."""
    quantised: int
    """Matrices that are quantised."""
    kept: dict[str, int]
    """Tensors that are not, by their type in the result."""

    @property
    def checksum_at(self) -> int:
        """Where in the header the checksum goes."""
        position = checksum_position(self.header)
        if position is None:
            raise ValueError("the header has no place for a checksum")
        return position

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.header) + sum(piece.size for piece in self.pieces)


def safetensors_layout(source: Source, made: Format, metadata: Mapping[str, str]) -> Layout:
    """The layout of one of the float8 forms."""
    matrices = [
        tensor
        for name, tensor in source.tensors.items()
        if is_matrix(name) and tensor.count % 4 == 0
    ]
    quantised = {tensor.name for tensor in matrices}
    kept = [tensor for tensor in source.tensors.values() if tensor.name not in quantised]
    wide = [tensor for tensor in kept if tensor.dtype == "F32"]
    narrow = [tensor for tensor in kept if tensor.dtype != "F32"]

    contents = [_as_it_is(tensor) for tensor in wide]
    contents += [_matrix(tensor, made) for tensor in matrices]
    contents += [_as_it_is(tensor) for tensor in narrow]
    if made.name == "fp8_scaled":
        # Two elements tell ComfyUI to multiply in full precision.
        mark = ("scaled_fp8", "F8_E4M3", (2,), 2)
        contents.append(([mark], Piece(mark[0], 2, lambda _: [lambda: bytes(2)])))
    entries = [entry for held, _ in contents for entry in held]
    pieces = [piece for _, piece in contents]
    return Layout(
        _header(entries, {**metadata, CHECKSUM_KEY: BLANK.decode()}),
        pieces,
        len(matrices),
        count_dtypes(kept),
    )


def checksum_position(header: bytes) -> int | None:
    """Where a header, safetensors or GGUF, has its file's checksum; None where it has none."""
    found = _DIGITS.search(header)
    return None if found is None else found.start(1)


def find_pack(header: bytes) -> str | None:
    """The version of this pack that a header, safetensors or GGUF, names as its maker; None where
    it names none.
    """
    found = _PACK.search(header)
    return None if found is None else found[1].decode()


def blank_out(header: bytes) -> bytes:
    """A header with BLANK in place of the checksum, if it has one."""
    at = checksum_position(header)
    return header if at is None else header[:at] + BLANK + header[at + len(BLANK) :]


def count_dtypes(kept: list[SourceTensor]) -> dict[str, int]:
    """How many tensors there are of each type."""
    return {
        dtype: number
        for dtype in DTYPES
        if (number := sum(tensor.dtype == dtype for tensor in kept))
    }


def buffer(tensor: Tensor) -> np.ndarray:
    """A contiguous tensor's bytes, without a copy."""
    return tensor.contiguous().view(torch.uint8).numpy()


Entry = tuple[str, str, tuple[int, ...], int]
"""Of a header: name, type, shape and bytes of a tensor."""


def _as_it_is(tensor: SourceTensor) -> tuple[list[Entry], Piece]:
    def copy(chunk: Chunk) -> np.ndarray:
        return buffer(chunk.read_finite())

    def jobs(_) -> list[Job]:
        return [partial(copy, chunk) for chunk in tensor.chunks()]

    entry = (tensor.name, tensor.dtype, tensor.shape, tensor.size)
    return [entry], Piece(tensor.name, tensor.size, jobs)


def _matrix(tensor: SourceTensor, made: Format) -> tuple[list[Entry], Piece]:
    layer = tensor.name.removesuffix(".weight")
    old = made.name == "fp8_scaled"
    mark = (
        b""
        if old
        else _pad(json.dumps(ACTIVATIONS_TOO if made.name == "fp8_fast" else WEIGHTS_ONLY), 4)
    )
    held: list[Entry] = [
        (f"{layer}.{'scale_weight' if old else 'weight_scale'}", "F32", (), 4),
        (tensor.name, "F8_E4M3", tensor.shape, tensor.count),
    ]
    if mark:
        held.append((f"{layer}.comfy_quant", "U8", (len(mark),), len(mark)))

    def find_scale() -> Tensor:
        return _scale_for(chunk.find_largest(chunk.read()) for chunk in tensor.chunks())

    def quantise(scale: Callable[[], Tensor], chunk: Chunk) -> np.ndarray:
        return buffer(to_fp8(chunk.read(), scale()))

    def jobs(scale: Callable[[], Tensor]) -> Iterator[Job]:
        yield lambda: struct.pack("<f", scale().item())
        for chunk in tensor.chunks():
            yield partial(quantise, scale, chunk)
        if mark:
            yield lambda: mark

    return held, Piece(held[0][0], sum(entry[3] for entry in held), jobs, find_scale)


def _header(entries: list[tuple], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, dict[str, Any]] = {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape, size in entries:
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = _pad(json.dumps(table, separators=(",", ":")), 8)
    return struct.pack("<Q", len(text)) + text


def _pad(text: str, multiple: int) -> bytes:
    """UTF-8 with blanks behind, which JSON ignores."""
    data = text.encode()
    return data + b" " * (-len(data) % multiple)


NO_PROGRESS: Callable[[int, int], None] = lambda done, total: None  # noqa: E731


_READ = 1 << 22


def read_head(file: BinaryIO) -> bytes:
    """The beginning of a file that is open there, with all of a header that `convert` wrote: a GGUF
    file does not say how long that is, so as far as its checksum.
    """
    head = file.read(8)
    length = None if len(head) < 8 or head.startswith(b"GGUF") else struct.unpack("<Q", head)[0]
    if length is not None and length <= MAX_HEADER:
        return head + file.read(length)
    head += file.read(2 * _READ)
    while length is None and len(head) <= MAX_HEADER and checksum_position(head) is None:
        more = file.read(len(head))
        if not more:
            break
        head += more
    return head


def verify(path: str | Path, progress: Callable[[int, int], None] = NO_PROGRESS) -> str:
    """The checksum of a file that `convert` made, after reading all of it.

    Raises CheckpointError for a file without one, or with other contents than it had when it was
    written.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            needed(str(path), "no such file", "a converted file", "Choose a file that exists.")
        )
    with open(path, "rb") as file:
        head = read_head(file)
        at = checksum_position(head)
        if at is None:
            raise CheckpointError(
                needed(
                    path.name,
                    "no checksum of ours",
                    "a file that SAMA Convert Weights made",
                    "Other files are checked against their publisher's checksum.",
                )
            )
        digest = hashlib.sha256(blank_out(head))
        done, size = len(head), path.stat().st_size
        while data := file.read(_READ):
            digest.update(data)
            done += len(data)
            progress(done, size)
    expected = head[at : at + len(BLANK)].decode()
    if digest.hexdigest() != expected:
        raise CheckpointError(
            needed(
                path.name,
                f"contents with checksum {digest.hexdigest()}",
                expected,
                "The file is damaged: convert it again, and allow it to be overwritten.",
            )
        )
    return expected
