"""What is kept of drafts while ComfyUI runs: their pictures, by everything that decides them, and
the encoded instructions.

Picking a draft, adding a seed or going on after an interruption then draws only what is new. Where
a run cannot be described exactly (see `run_identity`), there are no keys and nothing is kept.
"""

import weakref
from pathlib import Path
from typing import Any

import folder_paths
import torch
from PIL import Image
from torch import Tensor

from ..weights.write import whole_file
from .conditioning import encode_instruction

MOST_BYTES, MOST_TEXTS = 256 * 2**20, 128
"""Of pictures and of encoded instructions; the longest unused ones go first."""
FOLDER = "sama_drafts"
"""In ComfyUI's folder for temporary files, which it empties when it starts."""


class KeptDrafts:
    """Pictures (H, W, 3) uint8 by their keys."""

    def __init__(self, most: int = MOST_BYTES):
        self._most = most
        self._pictures: dict[str, Tensor] = {}  # the longest unused is the first

    def get(self, key: str | None) -> Tensor | None:
        """The picture of a key, None where there is none."""
        picture = self._pictures.pop(key, None) if key else None
        if key and picture is not None:
            self._pictures[key] = picture
        return picture

    def put(self, key: str | None, picture: Tensor) -> None:
        """Keep a picture, unless it has no key."""
        if key is None:
            return
        self._pictures[key] = picture
        while sum(held.numel() for held in self._pictures.values()) > self._most:
            self._pictures.pop(next(iter(self._pictures)))

    def items(self) -> list[tuple[str, Tensor]]:
        """All pictures with their keys, the longest unused first."""
        return list(self._pictures.items())

    def clear(self) -> None:
        """Forget all of them."""
        self._pictures.clear()


class KeptTexts:
    """Instructions as text encoders encoded them; those of an encoder that is gone go with it."""

    def __init__(self, most: int = MOST_TEXTS):
        self._most = most
        self._of: weakref.WeakKeyDictionary[Any, dict] = weakref.WeakKeyDictionary()

    def prompts(self, clip, instruction: str, tag: bool) -> tuple[list, list]:
        """As `encode_instruction`, which is called once for each text of this very `clip`."""
        texts = self._of.setdefault(clip, {})
        asked = instruction, tag
        held = texts.pop(asked, None) or encode_instruction(clip, instruction, tag)
        texts[asked] = held  # the last one: the longest unused is the first
        while len(texts) > self._most:
            texts.pop(next(iter(texts)))
        return held

    def clear(self) -> None:
        """Forget all of them."""
        self._of.clear()


KEPT, TEXTS = KeptDrafts(), KeptTexts()
"""Of this ComfyUI."""
SHOWN = KeptDrafts()
"""What the files of `picture_file` hold, by their names."""


def to_bytes(frames: Tensor) -> Tensor:
    """Frames in 0…1 as uint8, truncated as ComfyUI saves them, on the CPU."""
    return (frames[..., :3] * 255).clamp(0, 255).to("cpu", torch.uint8)


def picture_file(name: str, picture: Tensor) -> dict[str, str]:
    """Write (H, W, 3) uint8 as a temporary PNG, unless it is there, and say where `/view` finds it.

    `name` stands for the picture: another picture has another name.
    """
    if SHOWN.get(name) is None:
        SHOWN.put(name, picture)
    return {"filename": _write(name, picture).name, "subfolder": FOLDER, "type": "temp"}


def restore_files() -> None:
    """Write the files again that were removed, as another ComfyUI does that starts with the same
    folder: ComfyUI does not run a node again whose inputs are as before.
    """
    for name, picture in SHOWN.items():
        _write(name, picture)


def _write(name: str, picture: Tensor) -> Path:
    path = Path(folder_paths.get_temp_directory()) / FOLDER / f"{name}.png"
    if not path.exists():
        with whole_file(path, keep_suffix=True) as partial:
            Image.fromarray(picture.numpy()).save(partial, compress_level=1)
    return path
