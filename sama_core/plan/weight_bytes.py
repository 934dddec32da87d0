"""How many bytes the weights take: in their file, and in memory as ComfyUI holds them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..convert.formats import is_matrix
from ..model.config import DitConfig
from ..released_files import DIFFUSION_MODEL, SAMA_14B, default_file
from ..weights.names import FP8_STORAGES, SAMA_MODULES
from ..weights.quant_formats import is_quant_key

FLOAT32_MODULES = ("patch_embedding", *SAMA_MODULES)
"""Modules that the loader keeps in float32, however the others are stored."""
_NAMES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "fp8",
    "F8_E5M2": "fp8",
}


class StoredTensor(NamedTuple):
    """One tensor of a file's header."""

    name: str
    """Its name in the model."""
    dtype: str
    """As the file writes it: BF16, F8_E4M3, Q8_0 …"""
    parameters: int
    """Numbers in it."""
    stored: int
    """Bytes in the file."""


@dataclass(frozen=True)
class Weights:
    """A model's weights, counted."""

    name: str
    """The file's name, for the report."""
    format: str
    """What most weights are stored in: bfloat16, fp8, Q8_0 …"""
    parameters: int
    """Number of all weights."""
    stored: int
    """Bytes of the files."""
    float32: int
    """Number of weights that are kept in float32."""
    largest: int
    """Number of weights in the largest layer of the blocks. ComfyUI keeps larger layers outside the
    blocks on the card before all others."""
    quantised: bool
    """Whether the weights stay in memory as packed in the file: scaled fp8, ComfyUI's quantised
    files, GGUF."""
    matrices: int
    """Number of weights in the blocks' matrices, the only ones that smaller files shrink."""
    rest: int
    """Bytes of everything else, as stored in the file."""
    gguf_rest: int
    """Bytes of everything else in a GGUF file, which keeps small tensors and SAMA's own modules in
    float32."""

    @property
    def gguf(self) -> bool:
        """Whether they are stored in a GGUF file."""
        return self.format.startswith(("Q", "IQ", "GGUF"))

    def memory_bytes(self, storage: str, compute_size: int) -> int:
        """Bytes in memory with the loader's `weight_dtype` set to `storage`.

        `compute_size` is the number of bytes of the dtype that the device computes in.
        """
        if self.quantised:
            return self.stored
        size = 1 if storage in FP8_STORAGES or self.format == "fp8" else compute_size
        return size * (self.parameters - self.float32) + 4 * self.float32

    def layer(self, storage: str, compute_size: int) -> int:
        """Bytes of the largest layer in memory, with the same arguments as `memory_bytes`."""
        return round(self.largest * self.memory_bytes(storage, compute_size) / self.parameters)

    def as_format(self, name: str, bits: float) -> "Weights":
        """The same model in a file whose block matrices take `bits` per weight; the rest stays."""
        kept = self.gguf_rest if name.startswith("GGUF") else self.rest
        return replace(
            self,
            name=f"{'an' if name.startswith('fp8') else 'a'} {name} file",
            format=name,
            quantised=True,
            stored=round(self.matrices * bits / 8) + kept,
        )


SMALLER_FORMATS = (
    ("fp8", 8.0),
    ("GGUF Q8_0", 8.5),
    ("GGUF Q5_1", 6.0),
    ("GGUF Q5_0", 5.5),
    ("GGUF Q4_1", 5.0),
    ("GGUF Q4_0", 4.5),
)
"""Formats that SAMA Convert Weights writes, and bits per weight of a matrix, scales included."""

# SAMA-14B as released; counts from its shapes.
RELEASED_CONFIG = DitConfig(**SAMA_14B.sizes, patch=SAMA_14B.lattice.patch)
RELEASED = Weights(
    default_file(DIFFUSION_MODEL).filename,
    "bfloat16",
    parameters=14_300_847_552,
    stored=default_file(DIFFUSION_MODEL).size,
    float32=12_688_768,
    largest=RELEASED_CONFIG.dim * RELEASED_CONFIG.ffn_dim,
    quantised=False,
    matrices=14_050_918_400,
    rest=499_858_304,
    gguf_rest=535_066_368,
)


def exact_in_gguf(name: str) -> bool:
    """Whether a GGUF file keeps a tensor in float32: SAMA's own, and all that are no matrix."""
    return name.startswith(FLOAT32_MODULES) or not name.endswith(".weight") or ".norm" in name


def count(name: str, tensors: Iterable[StoredTensor], gguf: bool = False) -> Weights:
    """Counts the tensors of one header, or of several: of equal names the last one counts.

    `gguf` says that they are a GGUF file's, whose 16-bit types do not tell it from others.
    """
    tensors = list({tensor.name: tensor for tensor in tensors}.values())
    weighing = [tensor for tensor in tensors if not is_quant_key(tensor.name)]
    by_format: Counter[str] = Counter()
    for tensor in weighing:
        by_format[_NAMES.get(tensor.dtype, tensor.dtype)] += tensor.parameters
    major = by_format.most_common(1)[0][0]
    if gguf and major in _NAMES.values():
        major = f"GGUF {major}"
    others = [tensor for tensor in weighing if not is_matrix(tensor.name)]
    packed = len(weighing) < len(tensors) or major not in set(_NAMES.values())
    return Weights(
        name,
        major,
        sum(tensor.parameters for tensor in weighing),
        sum(tensor.stored for tensor in tensors),
        float32=sum(
            tensor.parameters for tensor in weighing if tensor.name.startswith(FLOAT32_MODULES)
        ),
        largest=max(
            (tensor.parameters for tensor in weighing if tensor.name.startswith("blocks.")),
            default=0,
        ),
        quantised=packed,
        matrices=sum(tensor.parameters for tensor in weighing if is_matrix(tensor.name)),
        rest=sum(tensor.stored for tensor in others),
        gguf_rest=sum(
            4 * tensor.parameters if exact_in_gguf(tensor.name) else tensor.stored
            for tensor in others
        ),
    )
