"""What a teacher makes of a clip, kept on disk: computed once, before the training or in it.

One file a clip, half precision, under a name that says everything it depends on: teacher, size,
frames, start, prompt and what was made of the features. A file that is damaged, or of another form
than asked for, counts as missing and is made again.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import SamaError, needed
from ...weights.write import whole_file, write_safetensors
from .teacher_targets import Made

FACTS = "facts.json"
"""Beside the features of one kind: of which teacher they are, and what they were made from."""

DIGEST = "digest"
"""Key of a file's metadata: what its tensors hold, since a computer that lost its power may leave
zeros in them.
"""


class FeatureCache:
    """Files of one kind of features in one folder."""

    def __init__(self, folder: Path, *parts: object):
        """`parts` are all that features of every clip depend on: the teacher's key, the size, the
        number of frames, and the settings of what is kept. Caches of other parts share nothing.
        """
        self.folder = Path(folder)
        self.key = _digest(parts)

    def path(self, *clip: object) -> Path:
        """The file of one clip; `clip` says which: its own path, start, prompt."""
        return self._folder / f"{_digest(clip)[:24]}.safetensors"

    def count(self) -> int:
        """How many clips have a file here."""
        return sum(1 for _ in self._folder.glob("*.safetensors"))

    def get(self, *clip: object) -> Made | None:
        """What is kept of a clip, in float32; None where there is nothing, or nothing readable, or
        values that are no numbers.
        """
        path = self.path(*clip)
        try:
            with safe_open(path, "pt") as file:
                digest = (file.metadata() or {}).get(DIGEST)
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None
        if digest not in (None, _digest_tensors(kept)):  # files of before have none
            return None
        if any(_lacks_numbers(value) for value in kept.values()):
            return None
        return {name: value.float() for name, value in kept.items()}

    def put(self, made: Made, *clip: object) -> None:
        """Keep what was made of a clip, whole or not at all.

        Raises SamaError for values that are no numbers, FolderInTheWay for a folder of that name.
        −inf may stand in a flow, out of frame.
        """
        for name, value in made.items():
            if _lacks_numbers(value):
                raise SamaError(
                    needed(
                        f"teacher's {name}",
                        "values that are no numbers",
                        "finite ones",
                        "Load the teacher in float32, or leave this clip out.",
                    )
                )
        path = self.path(*clip)
        largest = torch.finfo(torch.float16).max
        halves = {
            name: torch.where(value.isneginf(), value, value.clamp(-largest, largest)).half()
            for name, value in made.items()
        }
        write_safetensors(path, halves, {"format": "pt", DIGEST: _digest_tensors(halves)})

    @property
    def facts(self) -> dict[str, Any]:
        """What was said of these features ("teacher", "width", "slices", "parts"); empty where
        nothing was, or nothing readable.
        """
        return _read_facts(self._folder / FACTS)

    def put_facts(self, facts: dict[str, Any]) -> None:
        """Say of what these features are, for a run without the teacher; see `list_facts`."""
        if self.facts != facts:
            with whole_file(self._folder / FACTS) as partial:
                partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    @property
    def _folder(self) -> Path:
        return self.folder / self.key[:16]


def list_facts(folder: Path) -> list[dict[str, Any]]:
    """What is said of each kind of features in a cache's folder."""
    found = [_read_facts(path) for path in sorted(Path(folder).glob(f"*/{FACTS}"))]
    return [facts for facts in found if facts]


def tell_difference(facts: dict[str, Any], wanted: list[str]) -> str:
    """How features, of which `facts` are said, differ from those of other parts: size, frames,
    settings, saliency.
    """
    names = ("(height, width)", "frames", "settings of [align]", "saliency")
    pairs = list(zip(names, facts["parts"], wanted, strict=False))
    shown = [f"{name} {there} and not {own}" for name, there, own in pairs[:2] if there != own]
    shown += [f"other {name}" for name, there, own in pairs[2:] if there != own]
    return f"those of {facts['teacher'].partition(':')[0]} have {', '.join(shown)}"


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) and _are_facts(facts) else {}


def _are_facts(facts: dict[str, Any]) -> bool:
    """Whether it is all there: damaged facts are none."""
    kinds = {"teacher": str, "width": int, "slices": int, "parts": list}
    return all(isinstance(facts.get(name), kind) for name, kind in kinds.items())


def _lacks_numbers(value: Tensor) -> bool:
    return bool(torch.isnan(value).any() or torch.isposinf(value).any())


def _digest(parts: tuple[object, ...]) -> str:
    """40 hexadecimal digits of the parts' texts, in order, each told apart from the next."""
    texts = [str(part) for part in parts]
    return hashlib.blake2b(repr(texts).encode(), digest_size=20).hexdigest()


def _digest_tensors(tensors: Made) -> str:
    """40 hexadecimal digits of tensors by name."""
    found = hashlib.blake2b(digest_size=20)
    for name, value in sorted(tensors.items()):
        found.update(repr((name, tuple(value.shape))).encode())
        found.update(value.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
