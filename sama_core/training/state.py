"""Resumable state on disk: written whole or not at all, read without pickle's powers."""

import os
from pathlib import Path
from typing import Any

import torch

from ..errors import SamaError, needed

STATE_FILE = "state.pt"


class StateError(SamaError):
    """A checkpoint that cannot be written or read."""


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint by `state`. A failure leaves the previous one as it was.

    Raises StateError with the cause, a full disk for one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial, final = folder / f".{STATE_FILE}.{os.getpid()}.part", folder / STATE_FILE
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, final)
    except (OSError, RuntimeError) as failed:
        raise StateError(needed(str(final.name), f"a checkpoint that could not be written ({failed})", "room for it",
                                "Free disk space and start again: the previous checkpoint is intact.")) from failed
    finally:
        partial.unlink(missing_ok=True)


def load_state(folder: Path) -> dict[str, Any] | None:
    """The folder's checkpoint, on the CPU; None where there is none. Raises StateError if it is damaged."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as broken:
        raise StateError(needed(path.name, f"an unreadable checkpoint ({type(broken).__name__})", "a whole one",
                                f"Move {path.name} away to start this stage anew.")) from broken
