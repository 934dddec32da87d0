"""The training loop: composes data, objective, optimisers and average; owns no formula.

Everything random is a function of (seed, step, sample), never of the process: two processes see
the samples and noise one process would, and a resumed run continues as if nothing had happened.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from tqdm.auto import tqdm

from ..errors import SamaError, needed
from .config import TrainConfig
from .objective import BatchSource, TrainBatch
from .objectives import Breakdown
from .objectives.noising import stream
from .optim.optimisation import Optimisation, build_optimizers, rate_at, whole
from .outputs import StateError, TrainLog, load_state, save_state
from .recipe import refuse_changes

Objective = Callable[[nn.Module, TrainBatch, list[torch.Generator]], Breakdown]
"""Per-sample losses of a batch; the generators are the samples' own."""

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_WRAPPINGS = ("module", "_checkpoint_wrapped_module", "_orig_mod")


class DivergedError(SamaError):
    """A loss or gradient that is no number."""


class Trainer:
    """Trains one stage. `run` starts where the output folder's checkpoint left off.

    With several nodes the output folder is one they share: every process reads the checkpoint.
    """

    def __init__(
        self, config: TrainConfig, trainee: nn.Module, batches: BatchSource, objective: Objective
    ):
        """Raises StateError for a damaged checkpoint, ConfigError for one of other settings."""
        self.config, self.batches, self.objective = config, batches, objective
        self.folder, self.step = Path(config.output), 0
        self.accelerator = Accelerator(
            mixed_precision=config.precision, cpu=not torch.accelerator.is_available()
        )
        self._check_sizes()
        # DDP waits for a gradient of every trained weight: what a whole run leaves out is frozen,
        # and what a step leaves out gets a gradient of 0 (Trainee).
        self.trainee, *prepared = self.accelerator.prepare(
            trainee, *build_optimizers(trainee.named_parameters(), config)
        )
        # accelerate's wrappers skip steps and scale losses for float16; the optimisers themselves
        # are stepped.
        optimizers = [wrapper.optimizer for wrapper in prepared]
        self.optimisation = Optimisation(self._parameters(), optimizers, config, config.align)
        self._resume()

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Parameters under their own names, whatever wraps the model."""
        return [(own_name(name), weight) for name, weight in self.trainee.named_parameters()]

    def run(self) -> None:
        """All remaining steps. Raises DivergedError at the first loss that is no number."""
        main = self.accelerator.is_main_process
        log = TrainLog(self.folder, self.step) if main else None
        with tqdm(
            total=self.config.steps,
            initial=self.step,
            disable=not main,
            desc=f"stage {self.config.stage}",
        ) as bar:
            while self.step < self.config.steps:
                losses = self.train_step()
                if log and (
                    self.step % self.config.log_every == 0 or self.step == self.config.steps - 1
                ):
                    log.write(step=self.step, **losses, rate=rate_at(self.step, self.config))
                    bar.set_postfix(loss=f"{losses['total']:.4f}")
                self.step += 1
                bar.update()
                if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                    self.save()
                    if log:
                        log.plot()

    def train_step(self) -> dict[str, float]:
        """One optimiser step on the batch of `self.step`; mean losses by name, of all processes."""
        self.trainee.train()
        sums: dict[str, torch.Tensor] = {}
        size = self.config.size_at(self.step)
        parts = self._parts(size)
        for part in parts:
            # Gradients travel between processes once a step, with the last backward pass.
            with nullcontext() if part is parts[-1] else self.accelerator.no_sync(self.trainee):
                for name, values in self._backward(part, size).parts().items():
                    sums[name] = sums.get(name, 0) + values.detach().sum()
        self._clip()
        self.optimisation.step(self.step)
        return {
            name: (self.accelerator.reduce(value, "sum") / size).item()
            for name, value in sums.items()
        }

    def _backward(self, part: slice, size: int) -> Breakdown:
        """Losses of a part of the batch; adds the gradients of their share of the batch's mean."""
        batch = self.batches.batch(self.step, part).to(self.accelerator.device)
        with self.accelerator.autocast():
            breakdown = self.objective(self.trainee, batch, self._generators(part))
        self._refuse_nan(breakdown, batch)
        # Processes average their gradients; the shares of one process add up.
        self.accelerator.backward(breakdown.total.sum() * self.accelerator.num_processes / size)
        return breakdown

    def _check_sizes(self) -> None:
        pieces = self.accelerator.num_processes * self.config.accumulation
        for name in ("batch_size", "image_batch_size"):
            size = getattr(self.config, name)
            if size % pieces:
                raise SamaError(
                    needed(
                        name,
                        size,
                        f"a multiple of {self.accelerator.num_processes} processes × "
                        f"{self.config.accumulation} accumulations",
                        "Change it in the recipe.",
                    )
                )

    def _parts(self, batch_size: int) -> list[slice]:
        """This process's share of the global batch, cut for accumulation."""
        count, rank = self.config.accumulation, self.accelerator.process_index
        size = batch_size // (self.accelerator.num_processes * count)
        return [
            slice(index * size, (index + 1) * size)
            for index in range(rank * count, (rank + 1) * count)
        ]

    def _generators(self, part: slice) -> list[torch.Generator]:
        """One generator per sample, the same whichever process works on it."""
        return [
            stream(self.config.seed, "noise", self.step, index)
            for index in range(part.start, part.stop)
        ]

    def _refuse_nan(self, breakdown: Breakdown, batch: TrainBatch) -> None:
        """Raise DivergedError in all processes: others would wait for one that stops alone."""
        bad = [batch.names[row] for row in breakdown.broken()]
        if self.accelerator.num_processes > 1:
            bad = gather_object(bad)
        if bad:
            raise DivergedError(
                needed(
                    f"loss at step {self.step}",
                    f"not a number for {', '.join(bad[:4])}",
                    "a finite loss",
                    "The last checkpoint is kept. Look at these samples, or lower the rate.",
                )
            )

    def _clip(self) -> None:
        """Clip the gradients.

        Raises DivergedError where they are no numbers, before any weight is touched.
        """
        limit = self.config.clip_norm or float("inf")
        norm = self.accelerator.clip_grad_norm_(self.trainee.parameters(), limit)
        if not torch.isfinite(torch.as_tensor(float(norm))):
            raise DivergedError(
                needed(
                    f"gradients at step {self.step}",
                    "not a number",
                    "finite ones",
                    'The last checkpoint is kept. Lower the learning rate, or use precision "no".',
                )
            )

    # --- checkpoints ---------------------------------------------------------------------------

    def save(self) -> None:
        """Write the resumable state: weights, optimisers, average, step and settings."""
        state = {
            "step": self.step,
            "config": asdict(self.config),
            "model": get_model_state_dict(self.trainee, options=_WHOLE),
            "optimizers": [
                get_optimizer_state_dict(self.trainee, optimizer, options=_WHOLE)
                for optimizer in self.optimisation.optimizers
            ],
            "ema": {
                name: whole(value) for name, value in self.optimisation.average.state_dict().items()
            },
        }
        if self.accelerator.is_main_process:
            save_state(self.folder, state)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = load_state(self.folder)
        if state is None:
            return
        refuse_changes(state["config"], self.config, self.config.FREE_TO_CHANGE)
        self._check_projector(state["model"])
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.trainee, state["model"], options=options)
        for optimizer, saved in zip(self.optimisation.optimizers, state["optimizers"], strict=True):
            for group in saved["param_groups"]:
                group.pop("base_lr", None)  # of version 0.1.0; the rates come from the settings
            set_optimizer_state_dict(self.trainee, optimizer, saved, options=options)
        self.optimisation.average.load_state_dict(state["ema"])
        self.step = state["step"]

    def _check_projector(self, saved: dict[str, torch.Tensor]) -> None:
        """StateError unless a checkpoint holds the alignment's projector, of the same form."""
        kept = {own_name(name): tuple(value.shape) for name, value in saved.items()}
        for name, weight in self._parameters():
            if name.startswith("aligner.") and kept.get(name) != tuple(weight.shape):
                shape = kept.get(name)
                got = f"{name} of shape {shape}" if shape else f"no {name}"
                raise StateError(
                    needed(
                        "checkpoint",
                        got,
                        f"the projector of [align], shape {tuple(weight.shape)}",
                        "Use the teacher that it was made with, or choose a new output folder.",
                    )
                )

    def average(self) -> dict[str, torch.Tensor]:
        """The averaged weights under their own names, whole, on the CPU; frozen ones too."""
        state = {own_name(name): value for name, value in self.trainee.state_dict().items()}
        averages = self.optimisation.average.state_dict()
        return {name: whole(averages.get(name, value)) for name, value in state.items()}


def own_name(name: str) -> str:
    """A parameter's name without what DDP, checkpointing and compilation put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPINGS)
