"""Weight files of all kinds: described before they are read, read once, without unpickling code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.utils
import torch
from torch import Tensor

from ..errors import CheckpointError, needed
from ..model.config import DitConfig
from ..weights.checkpoint import model_shapes, refuse_non_finite
from ..weights.header import read_header
from ..weights.quant_formats import MARK, METADATA
from ..weights.quantised import Stored, as_core_reads, is_small_scale, read_mark, refuse_unreadable
from ..weights.report import compare
from .out_of_memory import is_out_of_memory

A_MODEL = "this SAMA model"
"""What errors call a model of whose file only the tensors are known."""
_SAFETENSORS = (".safetensors", ".sft")
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Described:
    """What a file of a VAE or a text encoder holds, under its own names."""

    name: str
    """The file's name."""
    stored: dict[str, Stored]
    """Types and shapes, and one mark for each quantised layer."""
    layers: dict[str, object] | None
    """Layer → mark, as the metadata lists them; None without a list."""
    scales: dict[str, tuple[str, bytes]]
    """Type and bytes of small quantisation scales."""


def describe(path: str) -> Described:
    """The contents of the file's header; a `.pth` has none, so its tensors are read.

    Raises CheckpointError, with the file's name, for other files and for unreadable marks.
    """
    if Path(path).suffix.lower() in _SAFETENSORS:
        file = read_header(path, own_names=False)
        return Described(
            file.path.name, file.list_stored(), file.quantised_layers(), file.small_scales()
        )
    sd, name = read_weights(path)[0], Path(path).name
    stored = stored_tensors(sd, name)
    scales = {
        key: (stored[key].dtype, _bytes(value))
        for key, value in sd.items()
        if key in stored and is_small_scale(key, stored[key].dtype, value.nbytes)
    }
    return Described(name, stored, None, scales)


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def stored_tensors(sd: Mapping[str, Tensor], name: str) -> dict[str, Stored]:
    """Types, shapes and marks of tensors in memory, as in `WeightFile.list_stored`."""
    return as_core_reads(
        {
            key: Stored(
                _DTYPES.get(value.dtype, str(value.dtype)),
                tuple(value.shape),
                read_mark(_bytes(value)) if key.endswith(f".{MARK}") else None,
            )
            for key, value in sd.items()
        },
        None,
        name,
    )


def refuse_gaps_and_scales(sd: Mapping[str, Tensor], prefix: str, config: DitConfig) -> None:
    """CheckpointError for what ComfyUI would leave unset or drop from a model built from `sd`.

    It checks what comes through Load Diffusion Model and Load Checkpoint, whose files this pack
    does not see. ComfyUI has read the metadata by then, and may have left marks under names with a
    prefix; marks of no layer of the model are ignored, and so are tensors that the model does not
    have.
    """
    need, name = model_shapes(config), A_MODEL
    own = {key.removeprefix(prefix): value for key, value in sd.items() if key.startswith(prefix)}
    own = {
        key: value
        for key, value in own.items()
        if not key.endswith(f".{MARK}") or f"{key.removesuffix(f'.{MARK}')}.weight" in need
    }
    stored = stored_tensors(own, name)
    refuse_unreadable(name, stored, need, known_formats())
    report = compare({key: tensor.shape for key, tensor in stored.items()}, need)
    replace(report, unexpected=[]).raise_if_bad(name)
    refuse_non_finite(
        {
            key: value
            for key, value in own.items()
            if is_small_scale(key, stored[key].dtype, value.nbytes)
        },
        name,
    )


def with_marks(sd: dict[str, Tensor], layers: Mapping[str, object] | None) -> dict[str, Tensor]:
    """The tensors with ComfyUI's own mark, a `comfy_quant` entry, for each quantised layer.

    The file may mark its layers in any of the known forms.
    """
    metadata = {} if layers is None else {METADATA: json.dumps({"layers": layers})}
    return comfy.utils.convert_old_quants(sd, model_prefix="", metadata=metadata)[0]


def known_formats() -> list[str] | None:
    """The quantisation formats that this ComfyUI reads, None if unknown."""
    try:
        from comfy.quant_ops import QUANT_ALGOS
    except ImportError:
        return None
    return sorted(QUANT_ALGOS)


def read_weights(path: str) -> tuple[dict, dict]:
    """Tensors and metadata of a safetensors or `.pth` file, without unpickling code.

    Raises CheckpointError, with the file's name, for anything else, and for one that the disk or
    the system does not give; errors of too little memory pass.
    """
    name = Path(path).name
    if Path(path).suffix.lower() in _SAFETENSORS:
        read_header(path, own_names=False)
    try:
        sd, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    except Exception as broken:
        if is_out_of_memory(broken):
            raise  # too little memory for a good file
        if refused := _find_refusal(broken):
            fix = "Check the disk, the file's rights and how much memory is free."
            got = f"a file that cannot be read ({refused})"
            raise CheckpointError(needed(name, got, "a weight file", fix)) from broken
        raise CheckpointError(
            needed(
                name,
                f"no readable weights ({type(broken).__name__})",
                "a weight file",
                "Download it again.",
            )
        ) from broken
    if not isinstance(sd, dict) or not all(
        isinstance(key, str) and _is_whole(value) for key, value in sd.items()
    ):
        raise CheckpointError(
            needed(name, "something else than named tensors", "a weight file", "Download it again.")
        )
    return sd, metadata or {}


def _find_refusal(broken: BaseException) -> str:
    """What the system says where it does not give a file; empty for other errors.

    ComfyUI looks for known words in an error's text, which such an error may not begin with.
    """
    refused = broken.__context__ if isinstance(broken, TypeError) else broken
    return (refused.strerror or str(refused)) if isinstance(refused, OSError) else ""


def _is_whole(value: object) -> bool:
    """Whether it is a tensor with all its numbers in memory: not sparse, meta or expanded."""
    return (
        torch.is_tensor(value)
        and value.layout is torch.strided
        and not value.is_meta
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
