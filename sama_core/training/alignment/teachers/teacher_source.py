"""A teacher by its name, "KIND:FOLDER", and what is known of it without its weights."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ....errors import RuntimeSetupError, needed
from ...model_folder import SETTINGS_FILE, describe_absent, find_folder, tell_download
from .base import Teacher, identify_weights, load_settings, read_model_type
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
    """Folder of its weights, or a hub's name that was downloaded before."""

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

    def check(self) -> None:
        """Raises RuntimeSetupError where the folder is not here, or holds another kind of model:
        `transformers` would load it all the same, with weights drawn at random.

        Opens no weights, and asks no network.
        """
        kind = KINDS[self.kind]
        if find_folder(self.path) is None:
            got, need = describe_absent(self.path), f"the folder of a {self.kind} model"
            name = self._guess_name()
            fix = "Correct the folder, or download the model into it, for example with: "
            fix += f"{tell_download(name, self.path)} (https://huggingface.co/{name})."
            raise RuntimeSetupError(needed("align.teacher", got, need, fix))
        found = read_model_type(self.path)
        if found not in kind.model_types:
            named = f"a {found} model" if found else "no model"
            got = f"{self.kind}:{self.path}, which does not load as {kind.class_name} (its "
            got += f"{SETTINGS_FILE} names {named})"
            other = find_kind(self.path)
            fix = f'Set it to "{other}:{self.path}", or choose' if other else "Choose"
            need = f"the folder of a {self.kind} model"
            raise RuntimeSetupError(needed("align.teacher", got, need, f"{fix} another folder."))

    def _guess_name(self) -> str:
        """What such a model is called on the hub: by the folder's own name if that begins as those
        do.
        """
        published = KINDS[self.kind].published
        own = self.path.replace("\\", "/").rstrip("/").rpartition("/")[2]
        alike = own.startswith((f"{self.kind}-", f"{self.kind}."))
        return f"{published.partition('/')[0]}/{own}" if alike else published

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
        """The teacher, frozen. Raises RuntimeSetupError where it does not load, see `check`."""
        self.check()
        teacher = KINDS[self.kind].from_pretrained(self.path, dtype)
        teacher.model.to(device)
        return teacher

    @cached_property
    def _settings(self) -> Any:
        self.check()
        return load_settings(KINDS[self.kind].class_name, self.path)


def find_kind(path: str) -> str:
    """Which of KINDS the model in a folder is, as its config.json says; "" for another one."""
    found = read_model_type(path)
    return next((name for name, one in KINDS.items() if found in one.model_types), "")


def load_teacher(name: str, dtype: torch.dtype = torch.float32) -> Teacher:
    """The teacher "KIND:FOLDER". Raises RuntimeSetupError for a kind or a folder that is none."""
    return TeacherSource.of(name).load(dtype)


def tracks_subject(key: str) -> bool:
    """Whether the teacher of this name or key follows a subject, whose mask it needs."""
    return bool(getattr(KINDS.get(key.partition(":")[0]), "tracks", False))
