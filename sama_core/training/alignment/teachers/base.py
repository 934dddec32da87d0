"""What all teachers have in common."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from ....errors import RuntimeSetupError, SamaError, needed
from ...model_folder import (
    SETTINGS_FILE,
    describe_absent,
    find_folder,
    is_model_file,
    load_weights,
    mend_torchvision,
    say_why,
)

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue that most of these models were trained with."""


class Teacher(Protocol):
    """A frozen model whose features a student is aligned with."""

    key: str
    """Names the teacher and its weights: features of different keys are kept apart in the cache."""
    width: int
    """Channels of a feature."""

    def features(self, frames: Tensor, prompt: Tensor | None = None) -> dict[str, Tensor]:
        """Frames (F, H, W, 3) in 0..1 → named features (T, h, w, width) on the frames' device.

        `prompt` (F, H, W) in 0..1 is the subject's mask, for teachers that track one.
        """
        ...


class FrozenTeacher:
    """A frozen model of `transformers` and what names it."""

    class_name = ""
    """Its class in `transformers`."""
    kind = ""
    """The teacher's name in `load_teacher`."""
    model_types: tuple[str, ...] = ()
    """What `model_type` of such a model's config.json may be."""
    published = ""
    """Name of such a model on the hub."""
    tracks = False
    """Whether it follows a subject, whose mask it needs."""

    def __init__(self, model: Any, source: str = "given"):
        """Freezes `model`; `source` says where its weights are from, for the cache."""
        self.model: Any = model.eval().requires_grad_(False)
        self.width = self.read_width(self.model.config)
        self.key = f"{self.kind}:{source}"

    @classmethod
    def from_pretrained(cls, path: str, dtype: torch.dtype = torch.float32) -> Self:
        """The model in a folder. Raises RuntimeSetupError where it does not load."""
        return cls(load_transformer(cls.class_name, path, dtype), identify_weights(path))

    @staticmethod
    def read_width(settings: Any) -> int:
        """Channels of a feature, of a model's settings."""
        return int(settings.hidden_size)

    @staticmethod
    def count_slices(settings: Any, frames: int) -> int:
        """Features in time that a model of these settings gives a clip of `frames` frames."""
        return frames


def load_transformer(class_name: str, path: str, dtype: torch.dtype) -> Any:
    """A model of `transformers`. Raises RuntimeSetupError where it cannot be loaded, and where the
    folder holds the weights of another.
    """
    folder = _require_folder(path)
    with _explain(class_name, path):
        return load_weights(class_name, folder, dtype)


def load_settings(class_name: str, path: str) -> Any:
    """The settings of a model of `transformers`, without its weights. Raises RuntimeSetupError."""
    folder = _require_folder(path)
    with _explain(class_name, path) as transformers:
        return getattr(transformers, class_name).config_class.from_pretrained(folder)


def read_model_type(path: str) -> str:
    """What a folder's config.json says that its model is; "" where it says nothing."""
    try:
        settings = json.loads((_require_folder(path) / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = settings.get("model_type") if isinstance(settings, dict) else None
    return found if isinstance(found, str) else ""


def _require_folder(path: str) -> Path:
    """A model's folder. Raises RuntimeSetupError where it is not here."""
    folder = find_folder(path)
    if folder is None:
        fix = "Correct the folder, or download the model into it."
        need = "the folder of a model"
        raise RuntimeSetupError(needed("teacher", describe_absent(path), need, fix))
    return folder


@contextmanager
def _explain(class_name: str, path: str) -> Iterator[Any]:
    """`transformers`; what goes wrong with it becomes a RuntimeSetupError."""
    mend_torchvision()
    try:
        import transformers

        yield transformers
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of safetensors, of pickles, of settings without a key
        raise RuntimeSetupError(
            needed(
                "teacher",
                f"{path}, which does not load as {class_name} ({say_why(error)})",
                "transformers and the folder of such a model",
                "Install or update transformers, and check the folder.",
            )
        ) from error


def identify_weights(path: str) -> str:
    """A name of the weights in a folder, of what its files hold: another folder's copy is the same.

    Of a hub's name, that name and the revision that it stands for here, "none" without one.
    """
    folder = Path(path)
    if not folder.is_dir():
        kept = find_folder(path)
        return f"{path}@{kept.name if kept else 'none'}"
    found = hashlib.blake2b(digest_size=20)
    for file in sorted(folder.iterdir()):
        if is_model_file(file):
            found.update(repr((file.name, _DIGESTS(file))).encode())
    return found.hexdigest()


def digest_file(path: Path) -> str:
    """40 hexadecimal digits of what a file holds."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


class FileDigests:
    """What names files' contents; each is read once, as long as its size and time stay."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], str] = {}

    def __call__(self, path: Path) -> str:
        """See `digest_file`."""
        found = path.stat()
        key = (path, found.st_size, found.st_mtime_ns)
        if key not in self._known:
            self._known[key] = digest_file(path)
        return self._known[key]


_DIGESTS = FileDigests()
"""Of teachers' weights, which the canvas asks for with every clip."""


def check_frames(frames: Tensor, least: int = 1) -> Tensor:
    """(F, H, W, 3) in 0..1 → (F, 3, H, W) float32. Raises SamaError for another form or values that
    are no numbers."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < least:
        raise SamaError(
            needed(
                "frames",
                f"shape {tuple(frames.shape)}",
                f"(F, H, W, 3) with {least} frames or more",
                "Give the decoded clip.",
            )
        )
    if not torch.isfinite(frames).all():
        raise SamaError(
            needed("frames", "values that are no numbers", "0 to 1", "Decode the clip again.")
        )
    return frames.movedim(-1, 1).float()


def resize_frames(frames: Tensor, height: int, width: int) -> Tensor:
    """(F, 3, H, W) → (F, 3, height, width), bicubic, without the overshoot of values."""
    if frames.shape[-2:] == (height, width):
        return frames
    return functional.interpolate(
        frames, (height, width), mode="bicubic", align_corners=False, antialias=True
    ).clamp(0, 1)


def normalise(frames: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(F, 3, H, W) in 0..1 → the values that a model was trained on."""
    shape = (1, 3, 1, 1)
    return (frames - frames.new_tensor(mean).view(shape)) / frames.new_tensor(deviation).view(shape)


def check_features(features: Tensor, key: str) -> Tensor:
    """The features. Raises SamaError for values that are no numbers."""
    if not torch.isfinite(features).all():
        raise SamaError(
            needed(
                f"features of {key}",
                "values that are no numbers",
                "finite ones",
                "Load the teacher in float32, or check its weights.",
            )
        )
    return features
