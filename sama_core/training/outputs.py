"""What a training leaves in its output folder. Each file is written whole or not at all.

log.jsonl, loss.png   a line of JSON per logged step, and a picture of the losses
state.pt              the state from which a run resumes; read without pickle's powers
weights               what the loaders accept: a full file, a delta file or a LoRA
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SamaError, needed
from ..model.config import DitConfig
from ..weights.names import CARRIES_ANCHORS, SAMA_KEYS
from ..weights.write import whole_file, write_safetensors
from .config import TrainConfig

PLOTTED = ("smooth", "total", "flow", "semantic", "align", "mask", "contrast")
"""Losses that are drawn, of a model's training and of a saliency's."""
VALIDATION_FILE = "validation.jsonl"
"""Where the losses of held-out rows are, beside the log."""


class TrainLog:
    """`log.jsonl` and `loss.png` in the output folder.

    After a resume, lines beyond the checkpoint are dropped.
    """

    def __init__(self, folder: Path, from_step: int = 0):
        """Lines of `from_step` and later steps are dropped: they are written again."""
        self.path, self.picture = folder / "log.jsonl", folder / "loss.png"
        kept = [line for line in self.lines() if line["step"] < from_step]
        with whole_file(self.path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines; one cut off by a kill is left out."""
        return self.read(self.path) if self.path.exists() else []

    @staticmethod
    def read(path: Path) -> list[dict[str, Any]]:
        """All whole lines of a log."""
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def write(self, **values: Any) -> None:
        """Add one line."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def plot(self) -> None:
        """Draw every loss of the log against the step."""
        from matplotlib.figure import Figure

        lines = self.lines()
        names = [name for name in PLOTTED if any(line.get(name, 0) > 0 for line in lines)]
        if not names:
            return
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for name in names:
            points = [(line["step"], line[name]) for line in lines if line.get(name, 0) > 0]
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
        if measured := self._validation():
            axes.plot(*zip(*measured, strict=True), label="validation", linewidth=2, marker=".")
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.legend()
        figure.savefig(self.picture, dpi=120, format="png")

    def _validation(self) -> list[tuple[int, float]]:
        """Steps and losses of the held-out rows, if there are any."""
        path = self.path.with_name(VALIDATION_FILE)
        lines = self.read(path) if path.exists() else []
        return [(line["step"], line["validation"]) for line in lines]


STATE_FILE = "state.pt"


class StateError(SamaError):
    """A checkpoint that cannot be written or read."""


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint by `state`. A failure leaves the previous one as it was.

    Raises StateError with the cause, a full disk for one.
    """
    try:
        with whole_file(folder / STATE_FILE) as partial, open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as failed:
        raise StateError(
            needed(
                STATE_FILE,
                f"a checkpoint that could not be written ({failed})",
                "room for it",
                "Free disk space and start again: the previous checkpoint is intact.",
            )
        ) from failed


def load_state(folder: Path) -> dict[str, Any] | None:
    """The folder's checkpoint, on the CPU; None where there is none.

    Raises StateError if it is damaged.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as broken:
        raise StateError(
            needed(
                path.name,
                f"an unreadable checkpoint ({type(broken).__name__})",
                "a whole one",
                f"Move {path.name} away to start this stage anew.",
            )
        ) from broken


def metadata(
    config: DitConfig, title: str, area: int | None = None, **facts: str
) -> dict[str, str]:
    """Metadata that tells ComfyUI head count, token count and working area; `facts` as they are."""
    settings = {"num_heads": config.num_heads, "semantic_tokens": config.semantic_tokens}
    if area:
        settings["area"] = area
    return {
        "format": "pt",
        "config": json.dumps({"transformer": settings}),
        "modelspec.title": title,
        **facts,
    }


def provenance(config: TrainConfig, steps: int) -> dict[str, str]:
    """What a file's metadata says of the training that made it."""
    said = {"sama.training": f"stage {config.stage}, {steps} steps, seed {config.seed}"}
    return {**said, CARRIES_ANCHORS: "true"} if config.gives_anchors else said


def write_weights(
    path: str | Path,
    weights: Mapping[str, Tensor],
    info: dict[str, str],
    dtype: torch.dtype | None = None,
) -> None:
    """A safetensors file, cast to `dtype` if given."""
    write_safetensors(
        path, {name: value.to(dtype or value.dtype) for name, value in weights.items()}, info
    )


def delta_of(weights: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAMA's own tensors, and every other one that differs from `base`."""
    return {
        name: value
        for name, value in weights.items()
        if name in SAMA_KEYS
        or name not in base
        or not torch.equal(value.to(base[name].dtype), base[name])
    }
