"""The loss on held-out rows at fixed noise levels and fixed noise: the same question every time.

A step's own loss says little: it is of other clips, at other noise, every time. Here rows, levels
and noise stay, so that what changes is the model. Several processes share the rows.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from ...errors import needed
from ...weights.write import whole_file
from ..objective import TrainBatch
from ..objectives import FlowMatching, JointObjective, SemanticAnchoring
from ..objectives.mixture import JointInputs
from ..objectives.noising import model_timestep, stream
from ..outputs import VALIDATION_FILE, TrainLog
from ..recipe import ConfigError
from .clips import write_clip
from .config import ValidationConfig

if TYPE_CHECKING:
    from ..trainer import Trainer

FOLDER = "samples"
"""Where clips of held-out rows are, in the output folder."""


@dataclass(frozen=True)
class HeldOutRow:
    """A row that is never trained on, encoded."""

    number: int
    """Its line, or its place among the drawn ones."""
    batch: TrainBatch
    """The row as a batch of one, on the CPU."""
    negative: Tensor
    """(1, L) or (1, L, text_dim): the bare tag, for guidance."""
    source: Tensor
    """(F, H, W, 3) uint8, to be shown."""
    target: Tensor
    """(F, H, W, 3) uint8."""
    fps: float
    """Frames per second that its clip is shown with."""


class HeldOut(Protocol):
    """The held-out rows of a kind of data."""

    @property
    def rows(self) -> list[HeldOutRow]:
        """All of them."""

    def frames(self, latents: Tensor) -> Tensor:
        """Normalised latents (1, 16, T, H, W) → frames (F, H, W, 3) in 0..1, on the CPU."""

    @property
    def guidance(self) -> float:
        """The model's own cfg."""


class Validation:
    """Measures and shows the held-out rows of a run."""

    def __init__(self, settings: ValidationConfig, held: HeldOut, seed: int, folder: Path):
        """`folder`: the output folder. ConfigError for a named row that is not held out."""
        self.settings, self.held, self.seed, self.folder = settings, held, seed, folder
        self.flow = FlowMatching()
        self.shown = self._choose_shown()

    def describe(self) -> str:
        """For the banner."""
        count, levels = len(self.held.rows), ", ".join(f"{one:g}" for one in self.settings.sigmas)
        shown = f"; {len(self.shown)} as clips in {FOLDER}" if self.shown else ""
        return f"{count} rows at noise {levels}, every {self.settings.every} steps{shown}"

    def is_due(self, trainer: "Trainer") -> bool:
        """Whether the rows are measured or shown before the step that comes next."""
        return self._measures(trainer) or self._shows(trainer)

    def run(self, trainer: "Trainer") -> dict[str, float]:
        """Measure and show what is due, by all processes; the losses by name, if measured."""
        found: dict[str, float] = {}
        with torch.no_grad():
            trainer.trainee.eval()
            if self._measures(trainer):
                found = self.measure(trainer)
                if trainer.accelerator.is_main_process:
                    self._write(trainer.step, found)
            if self._shows(trainer):
                self.show(trainer)
        return found

    def _measures(self, trainer: "Trainer") -> bool:
        return trainer.step % self.settings.every == 0 or trainer.step >= trainer.config.steps

    def _shows(self, trainer: "Trainer") -> bool:
        every = self.settings.sample_every or self.settings.every
        ends = trainer.step >= trainer.config.steps
        return bool(self.shown) and (trainer.step % every == 0 or ends)

    # --- the loss --------------------------------------------------------------------------------

    def measure(self, trainer: "Trainer") -> dict[str, float]:
        """Mean flow loss as "validation", of each level as "validation_0.7", and the semantic
        tokens' as "validation_semantic".
        """
        levels = self.settings.sigmas
        cells = [(row, place) for row in range(len(self.held.rows)) for place in range(len(levels))]
        sums = torch.zeros(len(levels), 3, device=trainer.accelerator.device)
        for row, place, counts in _share(cells, trainer):
            flow, semantic = self.losses(trainer, self.held.rows[row], levels[place])
            found = torch.stack([flow, semantic, torch.ones_like(flow)])
            sums[place] += found * counts
        sums = trainer.accelerator.reduce(sums, "sum").cpu()
        means = sums[:, :2] / sums[:, 2:]
        values = {"validation": means[:, 0].mean().item()}
        if len(levels) > 1:
            for level, mean in zip(levels, means[:, 0].tolist(), strict=True):
                values[f"validation_{level:g}"] = mean
        if trainer.config.semantic_weight:
            values["validation_semantic"] = means[:, 1].mean().item()
        return values

    def losses(self, trainer: "Trainer", row: HeldOutRow, level: float) -> tuple[Tensor, Tensor]:
        """Flow and semantic loss of a row at a noise level; its noise is always the same."""
        batch = row.batch.to(trainer.accelerator.device)
        anchoring = SemanticAnchoring() if batch.semantic is not None else None
        joint = JointObjective(self.flow, anchoring)
        generators = [stream(self.seed, "validation", row.number, f"{level:g}")]
        sigma = torch.full((1,), level, device=batch.target_latents.device)
        video = self.flow.prepare(batch.target_latents, sigma, generators)
        semantic = None
        if anchoring is not None and batch.semantic is not None:
            semantic = anchoring.prepare(batch.semantic, sigma, generators)
        inputs = JointInputs(sigma, model_timestep(sigma), video, semantic)
        with trainer.accelerator.autocast():
            made = joint.predict(_model(trainer), inputs, batch.text, batch.source_latents)
        losses = joint.losses(made, inputs)
        return losses.flow[0], losses.semantic[0]

    def _write(self, step: int, found: dict[str, float]) -> None:
        path = self.folder / VALIDATION_FILE
        before = TrainLog.read(path) if path.exists() else []
        lines = [line for line in before if line["step"] < step] + [{"step": step, **found}]
        with whole_file(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    # --- clips -----------------------------------------------------------------------------------

    def _choose_shown(self) -> list[HeldOutRow]:
        wanted, rows = self.settings.samples, self.held.rows
        if isinstance(wanted, int):
            return rows[:wanted]
        by_number = {row.number: row for row in rows}
        unknown = [str(one) for one in wanted if one not in by_number]
        if unknown:
            held = ", ".join(map(str, by_number))
            fix = f"Held out are: {held}."
            got = ", ".join(unknown)
            raise ConfigError(needed("validation.samples", got, "rows that are held out", fix))
        return [by_number[one] for one in wanted]

    def show(self, trainer: "Trainer") -> None:
        """Edit the shown rows, and write each beside its source and target."""
        accelerator, rows = trainer.accelerator, self.shown
        alone = not trainer.sharded
        if alone:  # sharded weights are gathered for every pass: all processes draw every clip
            rows = rows[accelerator.process_index :: accelerator.num_processes]
        for row in rows:
            path = self.folder / FOLDER / f"row-{row.number}-step-{trainer.step:06}.mp4"
            writes = alone or accelerator.is_main_process
            write_clip(path, trainer, _model(trainer), self, row, writes)


def _share(cells: list[tuple[int, int]], trainer: "Trainer") -> list[tuple[int, int, float]]:
    """This process's cells, each with 1, and as many as any process has: those beyond with 0."""
    accelerator = trainer.accelerator
    count = accelerator.num_processes
    own = [(*cell, 1.0) for cell in cells[accelerator.process_index :: count]]
    longest = -(-len(cells) // count)
    return own + [(*cells[0], 0.0)] * (longest - len(own))


def _model(trainer: "Trainer") -> nn.Module:
    """The trainee without DDP, whose processes would wait for each other's passes."""
    model = trainer.trainee
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
