"""Weight files of any kind, read once and without pickle's powers."""

from pathlib import Path

import comfy.utils
import torch

from ..checkpoint import read_header
from ..errors import CheckpointError, needed


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
