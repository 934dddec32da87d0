"""Frozen teachers: what the hidden states of a DiT block are aligned with.

    "vjepa2:FOLDER" "videomae:FOLDER" "dinov3:FOLDER" "siglip2:FOLDER"   features (T, h, w, D)
    "sam2:FOLDER"    features of two directions, of the subject whose masks it was given

Every teacher takes a clip as the pack holds it, frames (F, H, W, 3) in 0..1, and answers with named
tensors. Sizes and frame counts that a model would take in silence, and get wrong, are brought to
what it was made for. Weights come from a local folder, or from Hugging Face's cache when the
user gives a hub's name that was downloaded before; nothing is downloaded here.
"""

from .base import Teacher
from .teacher_source import TeacherSource, load_teacher

__all__ = ["Teacher", "TeacherSource", "load_teacher"]
