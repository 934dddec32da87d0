"""A teacher by its name, "KIND:FOLDER", and what is known of it without its weights."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ....errors import RuntimeSetupError, needed
from .base import Teacher, identify_weights, load_settings
from .sam2 import Sam2Teacher
from .vision import DinoTeacher, SiglipTeacher, VideoMaeTeacher, VJepaTeacher

KINDS: dict[str, Any] = {
    kind.kind: kind
    for kind in (VJepaTeacher, VideoMaeTeacher, DinoTeacher, SiglipTeacher, Sam2Teacher)
}
"""Classes of teachers by the word that names them."""


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from."""

    kind: str
    """One of KINDS."""
    path: str
    """Folder of its weights, or a hub's name."""

    @classmethod
    def of(cls, name: str) -> "TeacherSource":
        """ "KIND:FOLDER". Raises RuntimeSetupError for another name."""
        kind, _, path = name.partition(":")
        if kind not in KINDS or not path:
            raise RuntimeSetupError(
                needed(
                    "teacher",
                    repr(name),
                    "one of " + ", ".join(f"{known}:FOLDER" for known in KINDS),
                    "Name the kind of model and the folder of its weights.",
                )
            )
        return cls(kind, path)

    @cached_property
    def key(self) -> str:
        """Names kind and weights, see `identify_weights`: that of the loaded teacher."""
        return f"{self.kind}:{identify_weights(self.path)}"

    @cached_property
    def width(self) -> int:
        """Channels of a feature. Raises RuntimeSetupError for a folder without such a model."""
        return KINDS[self.kind].read_width(self._settings)

    def count_slices(self, frames: int) -> int:
        """How many features in time a clip of `frames` frames has."""
        return KINDS[self.kind].count_slices(self._settings, frames)

    def load(self, dtype: torch.dtype = torch.float32, device: Any = "cpu") -> Teacher:
        """The teacher, frozen. Raises RuntimeSetupError where it does not load."""
        teacher = KINDS[self.kind].from_pretrained(self.path, dtype)
        teacher.model.to(device)
        return teacher

    @cached_property
    def _settings(self) -> Any:
        return load_settings(KINDS[self.kind].class_name, self.path)


def load_teacher(name: str, dtype: torch.dtype = torch.float32) -> Teacher:
    """The teacher "KIND:FOLDER". Raises RuntimeSetupError for a kind or a folder that is none."""
    return TeacherSource.of(name).load(dtype)


def tracks_subject(key: str) -> bool:
    """Whether the teacher of this name or key follows a subject, whose mask it needs."""
    return bool(getattr(KINDS.get(key.partition(":")[0]), "tracks", False))
