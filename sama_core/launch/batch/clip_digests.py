"""What a clip is known by: its content, not its name. A file is read once, until it changes."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..changed_file import State, read_state, require_unchanged
from ..model_choice import Trio
from .batch_rows import Clip, Row
from .jsonl_file import JsonlFile

CHUNK = 1 << 22
FORM = 1
"""Number of the form of keys; another one makes every edit anew."""


class ClipDigests:
    """Digests of files, kept in a file with their size and time of change."""

    def __init__(self, kept: Path, keep: bool = True):
        """`kept` is the file of digests; without `keep` it is read alone."""
        self._file, self._keep = JsonlFile(kept, durable=False), keep
        self._known: dict[str, tuple[State, str]] = {}
        for line in self._file.read():
            if {"path", "stat", "digest"} <= line.keys():
                self._known[line["path"]] = (tuple(line["stat"]), line["digest"])

    def of(self, clip: Clip) -> str:
        """The digest of a clip's content. Raises OSError for a file that cannot be read."""
        digests = [self._of_file(path) for path in clip.files()]
        if not clip.frames:
            return digests[0]
        return hashlib.sha256(json.dumps([digests, str(clip.fps)]).encode()).hexdigest()

    def require_unchanged(self, clip: Clip) -> None:
        """Raises LaunchError if a clip is not the one any more whose digest was asked for: the next
        run edits what is there then.
        """
        for path in clip.files():
            if str(path) in self._known:
                require_unchanged(path, self._known[str(path)][0])

    def _of_file(self, path: Path) -> str:
        stamp = read_state(path)
        before, digest = self._known.get(str(path), ((0, 0), ""))
        if before == stamp:
            return digest
        digest = _read(path)
        self._known[str(path)] = (stamp, digest)
        if self._keep:
            with suppress(OSError):  # a full disk: the file is read again at the next run
                self._file.append({"path": str(path), "stat": stamp, "digest": digest})
        return digest


def _read(path: Path) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            whole.update(chunk)
    return whole.hexdigest()


def key_of(row: Row, digest: str, model: Trio, form: str, mask: str | None = None) -> str:
    """What an edit is known by: the content of clip and mask, the settings, the model and the form,
    see `Task.form`.

    `digest` is the clip's, `mask` that of its mask.
    """
    facts: list[Any] = [
        FORM,
        digest,
        sorted({**row.settings.options().__dict__, "mask": mask}.items()),
        [model.diffusion_model, model.text_encoder, model.vae],
        form,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
