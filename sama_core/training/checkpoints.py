"""The checkpoints of a run: what they hold, and where they lie.

    state.pt                        the newest, whole: read without pickle's powers
    checkpoints/step-00000250/      the last `keep_checkpoints`: state.pt and the weights
                                    of a sharded run: a file of each process, and facts.json

A checkpoint holds what is trained, its optimisers and averages, and the step. What is frozen is
read from the model's file again; `facts` say whether that is still the same.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import needed
from ..weights.write import whole_file
from .outputs import STATE_FILE, StateError, load_state, save_state

FOLDER, FACTS = "checkpoints", "facts.json"
_NUMBERED = re.compile(r"step-(\d{8})")


class Checkpoints:
    """The checkpoints in one output folder."""

    def __init__(self, folder: Path, keep: int = 0):
        """`keep`: numbered ones that stay, beside the newest."""
        self.folder, self.keep = folder, keep

    def folder_of(self, step: int) -> Path:
        """Where what belongs to the checkpoint of `step` lies."""
        return self.folder / FOLDER / f"step-{step:08}"

    def write_whole(self, state: dict[str, Any]) -> None:
        """Replace the newest checkpoint. Raises StateError, and leaves the last one, on failure."""
        save_state(self.folder, state)
        if self.keep:
            numbered = self.folder_of(state["step"])
            numbered.mkdir(parents=True, exist_ok=True)
            _link(self.folder / STATE_FILE, numbered / STATE_FILE)

    def write_parts(self, facts: dict[str, Any], tensors: Mapping[str, Tensor], main: bool) -> None:
        """Write the tensors of a sharded run; all processes call it, none gathers them.

        The checkpoint counts once its facts are there. Raises StateError with the cause.
        """
        import torch.distributed.checkpoint as dcp

        path = self.folder_of(facts["step"])
        try:
            dcp.save(dict(tensors), checkpoint_id=path)
            if main:
                with whole_file(path / FACTS) as partial:
                    partial.write_text(json.dumps(facts), encoding="utf-8")
        except (OSError, RuntimeError, dcp.CheckpointException) as failed:
            raise StateError(
                needed(
                    path.name,
                    f"a checkpoint that could not be written ({_cause_of(failed)})",
                    "room for it",
                    "Free disk space and start again: the previous checkpoint is intact.",
                )
            ) from failed

    def prune(self, sharded: bool, step: int) -> None:
        """Remove numbered checkpoints but the last ones up to `step`, and the newest of the other
        kind.

        Those of an earlier setting stay where none are kept now. Later ones, which a killed run
        left half written or a run left that went back, are none of those that are kept.
        """
        kept = max(self.keep, 1) if sharded else self.keep
        whole = [number for number, path in self._all() if number <= step and _is_whole(path)]
        first = whole[-kept:][0] if kept and whole else 0
        for number, path in self._all():
            if number < first:
                shutil.rmtree(path, ignore_errors=True)
        if sharded:
            (self.folder / STATE_FILE).unlink(missing_ok=True)

    def newest(self) -> dict[str, Any] | None:
        """The state or, of a sharded run, the facts of the newest checkpoint; "path" is then where
        its tensors are. Raises StateError for a damaged one.
        """
        state = load_state(self.folder)
        parts = self._newest_parts()
        if parts and (state is None or parts["step"] > state["step"]):
            return parts
        return state

    def count_numbered(self) -> int:
        """How many numbered ones lie there whole."""
        return sum(_is_whole(path) for _, path in self._all())

    def _newest_parts(self) -> dict[str, Any] | None:
        for _, path in reversed(self._all()):
            with suppress(FileNotFoundError):
                text = (path / FACTS).read_bytes()
                try:
                    return {**json.loads(text), "path": str(path)}
                except (ValueError, TypeError) as broken:
                    raise _unreadable(path, broken) from broken
        return None

    def _all(self) -> list[tuple[int, Path]]:
        """All numbered ones by step, unfinished ones too."""
        folder = self.folder / FOLDER
        found = [(_NUMBERED.fullmatch(path.name), path) for path in _inside(folder)]
        return sorted((int(name[1]), path) for name, path in found if name)


def has_checkpoint(folder: Path) -> bool:
    """Whether an output folder holds one, damaged or not. Opens no file."""
    return (folder / STATE_FILE).exists() or any((folder / FOLDER).glob(f"*/{FACTS}"))


def load_parts(path: str, into: dict[str, Tensor]) -> None:
    """Fill tensors by name, sharded or whole, from a sharded run's checkpoint.

    Raises StateError where it is damaged or lacks one.
    """
    import torch.distributed.checkpoint as dcp

    try:
        dcp.load(into, checkpoint_id=path)
    except (Exception, dcp.CheckpointException) as broken:
        raise _unreadable(Path(path), _cause_of(broken)) from broken


def _unreadable(path: Path, cause: Exception) -> StateError:
    got = f"an unreadable checkpoint ({type(cause).__name__})"
    fix = f"Remove {path.name} to go on from the one before."
    return StateError(needed(path.name, got, "a whole one", fix))


def _cause_of(failed: BaseException) -> Exception:
    """What failed in the first of the processes: torch's error for all of them is no Exception, and
    its text is a traceback. What ends a program, such as Ctrl-C, is raised again.
    """
    failures = getattr(failed, "failures", None)
    cause = next(iter(failures.values()))[0] if failures else failed
    if isinstance(cause, Exception):
        return cause
    raise cause


def _is_whole(path: Path) -> bool:
    """Whether a numbered checkpoint was written to its end."""
    return any((path / name).exists() for name in (FACTS, STATE_FILE))


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _link(path: Path, other: Path) -> None:
    """`path` under another name too, without more disk where the file system can do it."""
    with whole_file(other) as partial:
        try:
            os.link(path, partial)
        except OSError:
            shutil.copyfile(path, partial)
