"""Frozen teachers: what the hidden states of a DiT block are aligned with.

    "vjepa2:FOLDER" "videomae:FOLDER" "dinov3:FOLDER" "siglip2:FOLDER"   features (T, h, w, D)
    "sam2:FOLDER"    features of two directions, of the subject whose masks it was given

Every teacher takes a clip as the pack holds it, frames (F, H, W, 3) in 0..1, and answers with named
tensors. Sizes and frame counts that a model would take in silence, and get wrong, are brought to
what it was made for. Weights come from a local folder, or from a hub when the user gives a hub's
name.
"""

from typing import Any

import torch

from ....errors import RuntimeSetupError, needed
from .base import Teacher
from .sam2 import Sam2Teacher
from .vision import DinoTeacher, SiglipTeacher, VideoMaeTeacher, VJepaTeacher

__all__ = ["Teacher", "load_teacher"]


def load_teacher(name: str, dtype: torch.dtype = torch.float32) -> Teacher:
    """The teacher "KIND:FOLDER". Raises RuntimeSetupError for a kind or a folder that is none."""
    kinds: dict[str, Any] = {
        "vjepa2": VJepaTeacher,
        "videomae": VideoMaeTeacher,
        "dinov3": DinoTeacher,
        "siglip2": SiglipTeacher,
        "sam2": Sam2Teacher,
    }
    kind, _, path = name.partition(":")
    if kind not in kinds or not path:
        raise RuntimeSetupError(
            needed(
                "teacher",
                repr(name),
                "one of " + ", ".join(f"{known}:FOLDER" for known in kinds),
                "Name the kind of model and the folder of its weights.",
            )
        )
    return kinds[kind].from_pretrained(path, dtype)
