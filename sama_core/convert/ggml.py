"""GGUF files as ComfyUI-GGUF reads them, through the library `gguf`: architecture `wan`, Wan's own
tensor names.

A GGUF tensor has at most four dimensions; one with more is stored as a matrix, and its shape under
`comfy.gguf.orig_shape.<name>`. Tensors that are not quantised are float32, but for the large
matrices (time and text projections), which keep the source's type.
"""

import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import ConversionError, needed
from ..weights.names import SAMA_MODULES
from .formats import NEAREST, Format, is_matrix
from .layouts import BLANK, CHECKSUM_KEY, Job, Layout, Piece, buffer
from .weight_source import Chunk, Source, SourceTensor

ARCHITECTURE = "wan"
_MOST_DIMENSIONS = 4
_RESERVED = ("general.", "comfy.gguf.", "GGUF.", "split.")


def gguf_layout(source: Source, made: Format, metadata: Mapping[str, str]) -> Layout:
    """The layout of one of the GGUF forms.

    Raises ConversionError where the library is absent or cannot write it.
    """
    gguf = require_gguf()
    kind = require_writable(gguf, made)
    stored = {tensor.name: _choose_type(gguf, tensor, kind) for tensor in source.tensors.values()}
    header, alignment = _header(gguf, source, made, metadata, stored)
    pieces = [
        _piece(gguf, tensor, stored[tensor.name], alignment) for tensor in source.tensors.values()
    ]
    quantised = [name for name in stored if is_matrix(name) and stored[name] == kind]
    kept = [kind.name for name, kind in stored.items() if name not in set(quantised)]
    return Layout(
        header, pieces, len(quantised), {name: kept.count(name) for name in sorted(set(kept))}
    )


def require_gguf():
    """The library. Raises ConversionError saying how to install it."""
    try:
        import gguf
    except ImportError as absent:
        raise ConversionError(
            needed(
                "GGUF formats",
                "no library gguf in this Python",
                "the package gguf",
                "Install it with `python -m pip install gguf` for the Python that runs ComfyUI "
                "(the portable version: "
                "`python_embeded\\python.exe -m pip install gguf`), or choose an fp8 format.",
            )
        ) from absent
    return gguf


def gguf_version() -> str:
    """The library's version; results may differ between versions."""
    return importlib.metadata.version("gguf")


def require_writable(gguf, made: Format):
    """The library's quantisation type.

    Raises ConversionError where it reads the type but cannot write it.
    """
    kind = gguf.GGMLQuantizationType[made.ggml]
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    try:
        gguf.quants.quantize(np.zeros((1, block), np.float32), kind)
    except NotImplementedError as absent:
        raise ConversionError(
            needed(
                "format",
                made.name,
                "a quantisation that the library gguf can write",
                f"Version {gguf_version()} reads K-quants but does not write them; llama.cpp's "
                "llama-quantize does. "
                f"Choose {NEAREST.get(made.ggml, 'gguf_q8_0')}, the nearest here.",
            )
        ) from absent
    return kind


def _choose_type(gguf, tensor: SourceTensor, kind):
    """A tensor's type in the result; a matrix whose rows do not fill whole blocks keeps its own."""
    types = gguf.GGMLQuantizationType
    if is_matrix(tensor.name) and tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
        return kind
    if len(tensor.shape) != 2 or tensor.name.startswith(SAMA_MODULES):
        return types.F32
    return types[tensor.dtype]


def _header(
    gguf, source: Source, made: Format, metadata: Mapping[str, str], stored: Mapping
) -> tuple[bytes, int]:
    """(all bytes before the first tensor, the alignment of tensors), as the library writes them."""
    writer = gguf.GGUFWriter(None, ARCHITECTURE)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    file_type = "ALL_F32" if made.ggml == "F32" else f"MOSTLY_{made.ggml}"
    writer.add_file_type(getattr(gguf.LlamaFileType, file_type, gguf.LlamaFileType.GUESSED))
    # Loaders that read a GGUF file's texts as metadata find `config` under ComfyUI's own name.
    for key, value in {**metadata, CHECKSUM_KEY: BLANK.decode()}.items():
        if not key.startswith(_RESERVED):
            writer.add_string(key, value)
    for tensor in source.tensors.values():
        _describe(gguf, writer, tensor, stored[tensor.name])
    with tempfile.TemporaryDirectory(prefix="sama-gguf-") as folder:
        path = Path(folder) / "header.gguf"
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        header = path.read_bytes()
    return header + bytes(-len(header) % writer.data_alignment), writer.data_alignment


def _describe(gguf, writer, tensor: SourceTensor, kind) -> None:
    """Name, shape and type of a tensor into the header."""
    shape = tensor.shape
    if len(shape) > _MOST_DIMENSIONS:
        writer.add_array(f"comfy.gguf.orig_shape.{tensor.name}", list(shape))
        shape = (shape[0], tensor.count // shape[0])
    bytes_shape = gguf.quants.quant_shape_to_byte_shape(shape, kind)
    writer.add_tensor_info(
        tensor.name, bytes_shape, np.dtype(np.uint8), _size(gguf, tensor, kind), kind
    )


def _size(gguf, tensor: SourceTensor, kind) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return tensor.count // block * size


def _piece(gguf, tensor: SourceTensor, kind, alignment: int) -> Piece:
    size = _size(gguf, tensor, kind)
    padding = bytes(-size % alignment)

    def make(chunk: Chunk) -> np.ndarray:
        values = chunk.read_finite()
        if kind.name == tensor.dtype:
            return buffer(values)
        return _quantise(gguf, values.float().numpy(), kind, tensor)

    def jobs(_) -> Iterator[Job]:
        for chunk in tensor.chunks():
            yield partial(make, chunk)
        if padding:
            yield lambda: padding

    return Piece(tensor.name, size + len(padding), jobs)


def _quantise(gguf, values, kind, tensor: SourceTensor):
    with np.errstate(over="ignore"):
        result = gguf.quants.quantize(values, kind)
    if kind.name == "F16" and not np.isfinite(result).all():
        raise ConversionError(
            needed(
                "gguf_f16",
                f"values beyond float16 in {tensor.name}",
                "values below 65504",
                "Choose gguf_bf16.",
            )
        )
    return np.ascontiguousarray(result).view(np.uint8)
