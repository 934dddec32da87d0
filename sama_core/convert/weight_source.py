"""The tensors of a SAMA model on disk, read in chunks; nothing is mapped and nothing whole is kept
in memory.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, needed
from ..weights.checkpoint import CheckpointPlan, plan_checkpoint
from ..weights.header import WeightFile
from ..weights.quant_formats import is_quant_key

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
CHUNK = 1 << 18
"""Values in a chunk."""
_SAMPLE = 1 << 16
_WHOLE = "Choose the full 16- or 32-bit file; quantising twice adds both errors."


@dataclass(frozen=True)
class SourceTensor:
    """Where one tensor's values lie."""

    name: str
    """The tensor's name without prefix."""
    file: Path
    """The file that holds it."""
    offset: int
    """Bytes from the file's beginning."""
    dtype: str
    """A key of DTYPES."""
    shape: tuple[int, ...]
    """As the file gives it."""

    @property
    def count(self) -> int:
        """Values."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * DTYPES[self.dtype].itemsize

    def chunks(self) -> list["Chunk"]:
        """All values in order, cut into pieces of whole rows."""
        row = self.shape[-1] if self.shape else 1
        step = max(1, CHUNK // max(1, row)) * row
        return [
            Chunk(self, first, min(step, self.count - first))
            for first in range(0, self.count, step)
        ]


@dataclass(frozen=True)
class Chunk:
    """Consecutive values of a tensor."""

    tensor: SourceTensor
    """The tensor."""
    first: int
    """Number of the first value."""
    count: int
    """How many there are."""

    def read(self) -> Tensor:
        """(rows, last dimension) in the file's own type. Raises CheckpointError for a file that
        has become shorter.
        """
        tensor = self.tensor
        dtype = DTYPES[tensor.dtype]
        values = torch.empty(self.count, dtype=dtype)
        with open(tensor.file, "rb", buffering=0) as file:
            file.seek(tensor.offset + self.first * dtype.itemsize)
            _fill(file, values.view(torch.uint8).numpy(), tensor.file)
        return values.view(-1, tensor.shape[-1] if tensor.shape else 1)

    def read_finite(self) -> Tensor:
        """As `read`. Raises CheckpointError for NaN and infinity, too."""
        values = self.read()
        self.find_largest(values)
        return values

    def find_largest(self, values: Tensor) -> Tensor:
        """The largest absolute value of what was read, a scalar of its type. Raises CheckpointError
        for NaN and infinity.
        """
        largest = torch.stack(values.aminmax()).abs().amax()
        if not math.isfinite(largest.item()):
            raise CheckpointError(
                needed(
                    self.tensor.file.name,
                    f"NaN or infinite values in {self.tensor.name}",
                    "finite weights",
                    "The file is damaged or its training broke: download it again.",
                )
            )
        return largest


@dataclass(frozen=True)
class Source:
    """One SAMA model, of one file or several."""

    plan: CheckpointPlan
    """Its files, sizes and load report."""
    tensors: dict[str, SourceTensor]
    """By name without prefix, in the files' order."""

    @property
    def files(self) -> list[Path]:
        """Paths of its files; base shards come first."""
        return [file.path for file in self.plan.files]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    def state(self) -> list[tuple[str, int, int]]:
        """Changes when a file does."""
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]

    def fingerprint(self) -> str:
        """SHA-256 of the headers' tensors and the first 64 KiB of every one.

        The whole source is not hashed before: that would read 28 GB once more.
        """
        digest = hashlib.sha256()
        for tensor in self.tensors.values():
            digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape}\n".encode())
            with open(tensor.file, "rb", buffering=0) as file:
                file.seek(tensor.offset)
                digest.update(file.read(min(tensor.size, _SAMPLE)))
        return digest.hexdigest()


def open_source(path: str | Path, base: str | Path | None = None) -> Source:
    """The model in `path`, over the Wan shards of `base` where it is a delta. Reads headers only.

    Raises CheckpointError, naming what is wrong and what to choose, for every file that cannot be
    converted.
    """
    path = Path(path)
    _refuse_gguf(path)
    plan = plan_checkpoint(path, base)
    tensors: dict[str, SourceTensor] = {}
    for file in plan.files:
        tensors |= _tensors(file)
    return Source(plan, tensors)


def _refuse_gguf(path: Path) -> None:
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(4) == b"GGUF":
                raise CheckpointError(
                    needed(
                        path.name,
                        "a GGUF file, already quantised",
                        "a full SAMA file in safetensors",
                        _WHOLE,
                    )
                )


def _tensors(file: WeightFile) -> dict[str, SourceTensor]:
    """All tensors of a file whose header `read_header` has found sound."""
    found = {}
    for name, place in file.places.items():
        if is_quant_key(name) or place.dtype.startswith(("F8", "I", "U", "F4", "F6")):
            raise CheckpointError(
                needed(
                    file.path.name,
                    f"an already quantised file ({name})",
                    "weights in 16 or 32 bit",
                    _WHOLE,
                )
            )
        tensor = SourceTensor(name, file.path, place.start, place.dtype, file.shapes[name])
        if tensor.dtype not in DTYPES or place.size != tensor.size:
            raise CheckpointError(
                needed(
                    file.path.name,
                    f"{name} of type {tensor.dtype} in {place.size} bytes",
                    "BF16, F16 or F32 values for its shape",
                    "The file is damaged or of another kind: download it again.",
                )
            )
        found[name] = tensor
    return found


def _fill(file: BinaryIO, data: np.ndarray, path: Path) -> None:
    """Read exactly as many bytes as `data` has. Raises CheckpointError if the file has become
    shorter.
    """
    view, got = memoryview(data.data), 0
    while got < len(view):
        more = file.readinto(view[got:])  # type: ignore[attr-defined]
        if not more:
            raise CheckpointError(
                needed(
                    path.name,
                    "a file that became shorter while it was read",
                    "a whole file",
                    "Download it again.",
                )
            )
        got += more
