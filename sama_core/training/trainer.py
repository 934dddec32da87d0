"""The training loop: composes data, objective, optimisers and average; owns no formula.

Everything random is a function of (seed, step, sample), never of the process: two processes see
the samples and noise one process would, and a resumed run continues as if nothing had happened.
Only a LoRA's dropout is of the samples that a process computes at once, not of each by itself.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import nn
from tqdm.auto import tqdm

from ..errors import SamaError, needed
from .alignment import Aligner
from .banner import print_banner, say_stopped
from .config import TrainConfig
from .meter import Meter
from .objective import BatchSource, TrainBatch
from .objectives import Breakdown
from .objectives.noising import stream
from .optim.optimisation import Optimisation, build_optimizers, rate_at, whole
from .outputs import TrainLog
from .sharding import give_up_gathered, shard, shard_accelerator, take_wish
from .stopping import StoppedError, StopSignals
from .tracking import begin_tracking, check_installed, names_of
from .trainee import Trainee
from .trainer_state import TrainerState, own_name
from .validation.held_out_loss import Validation

__all__ = ["DivergedError", "Objective", "Trainer", "own_name"]

Objective = Callable[[nn.Module, TrainBatch, list[torch.Generator]], Breakdown]
"""Per-sample losses of a batch; the generators are the samples' own."""

Writer = Callable[[dict[str, torch.Tensor], int, Path], list[Path]]
"""Writes the averaged weights after a step into a folder."""


class DivergedError(SamaError):
    """A loss or gradient that is no number."""


class Trainer:
    """Trains one stage. `run` starts where the output folder's checkpoint left off.

    With several nodes the output folder is one they share: every process reads the checkpoint.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainee: Trainee,
        batches: BatchSource,
        objective: Objective,
        digests: Mapping[str, str] | None = None,
        validation: Validation | None = None,
    ):
        """`digests`: digests of what the run reads beside its settings; a checkpoint keeps them.

        Raises StateError for a damaged checkpoint, ConfigError for one of other settings or data.
        """
        self.config, self.batches, self.objective = config, batches, objective
        self.folder, self.step = Path(config.output), 0
        self.sharded, trackers = take_wish(config.shard), names_of(config.track)
        check_installed(config.track)
        self.accelerator = shard_accelerator(
            config.precision, trackers, config.output, self.sharded
        )
        self.sharded = self.sharded and self.accelerator.num_processes > 1
        self._check_sizes()
        self.trainee, optimizers = self._prepare(trainee)
        self.optimisation = Optimisation(self._parameters(), optimizers, config, config.align)
        self.state = TrainerState(self, dict(digests or {}))
        self.validation = validation
        self.writer: Writer | None = None
        self.meter = Meter()
        self.state.resume()

    def _prepare(self, trainee: Trainee) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
        """The trainee on its device, sharded or with DDP around it, and the optimisers of it.

        DDP waits for a gradient of every trained weight: what a whole run leaves out is frozen, and
        what a step leaves out gets a gradient of 0 (Trainee).
        """
        if self.sharded:
            trainee = shard(trainee, self.accelerator, widen=not self.config.lora_rank)
            return trainee, build_optimizers(trainee.named_parameters(), self.config)
        prepared, *wrapped = self.accelerator.prepare(
            trainee, *build_optimizers(trainee.named_parameters(), self.config)
        )
        # accelerate's wrappers skip steps and scale losses for float16; the optimisers themselves
        # are stepped.
        return prepared, [wrapper.optimizer for wrapper in wrapped]

    @property
    def aligner(self) -> Aligner | None:
        """The trainee's own, whatever wraps it."""
        return next((one for one in self.trainee.modules() if isinstance(one, Aligner)), None)

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Parameters under their own names, whatever wraps the model."""
        return [(own_name(name), weight) for name, weight in self.trainee.named_parameters()]

    # --- the loop ------------------------------------------------------------------------------

    def run(self) -> None:
        """All remaining steps.

        Raises DivergedError at the first loss that is no number, StoppedError after a signal.
        """
        main, config = self.accelerator.is_main_process, self.config
        log = TrainLog(self.folder, self.step) if main else None
        if main:
            print_banner(self)
        begin_tracking(self.accelerator, config)
        with (
            tqdm(
                total=config.steps,
                initial=self.step,
                disable=not main,
                desc=f"stage {config.stage}",
            ) as bar,
            StopSignals(self.accelerator.num_processes == 1) as stop,
        ):
            self._validate()
            while self.step < config.steps:
                with self.meter.step():
                    losses = self.train_step()
                self._report(losses, log, bar)
                self.step += 1
                bar.update()
                asked = self._is_stopping(stop)
                if asked or self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    self.save()
                if asked and self.step < config.steps:
                    raise StoppedError(say_stopped(self), stop.number or 15)
                self._validate()
                if log and (self.step % config.checkpoint_every == 0 or self.step == config.steps):
                    log.plot()

    def _report(self, losses: dict[str, float], log: TrainLog | None, bar: tqdm) -> None:
        """A line of the log every `log_every` steps, and of the trackers."""
        step, config = self.step, self.config
        smooth = self.meter.smooth(losses["total"])
        if log is None or (step % config.log_every and step != config.steps - 1):
            return
        measured = self.meter.read(config.steps - step - 1)
        values = {**losses, "smooth": smooth, "rate": rate_at(step, config), **measured}
        log.write(step=step, **values)
        self.accelerator.log(values, step=step)
        bar.set_postfix(loss=f"{smooth:.4f}", memory=f"{values['memory_gib']:.1f} GiB")

    def _is_stopping(self, stop: StopSignals) -> bool:
        """Whether any process was asked to stop: all of them end after the same step."""
        if self.accelerator.num_processes == 1:
            return bool(stop.number)
        flag = torch.tensor(float(bool(stop.number)), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())

    def _validate(self) -> None:
        """Measure and show the held-out rows, where it is their turn."""
        if self.validation is None or not self.validation.is_due(self):
            return
        with self.optimisation.averaged_weights():
            found = self.validation.run(self)
            if self.sharded:
                give_up_gathered(self.trainee)
        if found:
            self.accelerator.log(found, step=self.step)

    # --- one step ------------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """One optimiser step on the batch of `self.step`; mean losses by name, of all processes,
        and the norm of the gradients.
        """
        self.trainee.train()
        sums: dict[str, torch.Tensor] = {}
        size = self.config.size_at(self.step)
        parts = self._parts(size)
        for part in parts:
            with self._without_exchange(part is not parts[-1]):
                for name, values in self._backward(part, size).parts().items():
                    sums[name] = sums.get(name, 0) + values.detach().sum()
        norm = self._clip()
        self.optimisation.step(self.step)
        losses = {
            name: (self.accelerator.reduce(value, "sum") / size).item()
            for name, value in sums.items()
        }
        return {**losses, "grad_norm": norm}

    def _without_exchange(self, more: bool) -> AbstractContextManager:
        """Gradients travel between processes once a step, with the last backward pass.

        Sharded ones travel with each: a process that waited would keep all of them whole.
        """
        return (
            self.accelerator.no_sync(self.trainee) if more and not self.sharded else nullcontext()
        )

    def _backward(self, part: slice, size: int) -> Breakdown:
        """Losses of a part of the batch; adds the gradients of their share of the batch's mean."""
        batch = self.batches.batch(self.step, part).to(self.accelerator.device)
        if self.config.lora_dropout:
            torch.manual_seed(self._dropout_seed(part))
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

    def _dropout_seed(self, part: slice) -> int:
        """peft draws from torch's own generator; so that a resumed run leaves out the same."""
        return stream(self.config.seed, "dropout", self.step, part.start).initial_seed()

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

    def _clip(self) -> float:
        """Clip the gradients; the norm that they had.

        Raises DivergedError where they are no numbers, before any weight is touched.
        """
        limit = self.config.clip_norm or float("inf")
        found = nn.utils.clip_grad_norm_(self.trainee.parameters(), limit)
        norm = float(whole(found))
        if not torch.isfinite(torch.as_tensor(norm)):
            raise DivergedError(
                needed(
                    f"gradients at step {self.step}",
                    "not a number",
                    "finite ones",
                    'The last checkpoint is kept. Lower the learning rate, or use precision "no".',
                )
            )
        return norm

    # --- checkpoints ---------------------------------------------------------------------------

    def save(self) -> None:
        """Write the resumable state: what is trained, optimisers, average, step and settings."""
        self.state.save(self.writer)

    def average(self) -> dict[str, torch.Tensor]:
        """The averaged weights under their own names, whole, on the CPU; frozen ones too, but for
        those below a LoRA.

        The main process alone gets them. All must call it: sharded ones are gathered, one after the
        other.
        """
        main = self.accelerator.is_main_process
        if not (main or self.sharded):
            return {}
        averages = self.optimisation.average.state_dict()
        state = dict(averages)
        if not self.config.lora_rank:
            state = {own_name(name): value for name, value in self.trainee.state_dict().items()}
        found = {}
        for name, value in state.items():
            one = whole(averages.get(name, value))
            if main:
                found[name] = one
        return found
