"""A training run small enough for a test, as a program: `python tiny_run.py OUTPUT [setting=value
...]`.

Its batches are noise that depends on the step alone. `stall_in_save=N` makes it hang halfway
through the N-th checkpoint, for a test that kills it there; `stop_at=N` ends it after the
checkpoint of step N; `wait=S` makes every step after the third S seconds longer, and those of the
second half wait for a signal.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from sama_core.encoders.umt5 import Umt5Encoder
from sama_core.encoders.umt5_layout import Umt5Sizes
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.shapes.model.new_model import init_weights
from sama_core.training.config import TrainConfig
from sama_core.training.objective import SamaObjective, TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.recipe import settings_of
from sama_core.training.stopping import StoppedError, StopSignals, leave_process
from sama_core.training.trainee import Trainee
from sama_core.training.validation.held_out_loss import HeldOutRow, Validation

DIT = DitConfig(
    dim=128,
    num_heads=1,
    ffn_dim=256,
    num_layers=2,
    text_dim=32,
    freq_dim=64,
    in_dim=16,
    out_dim=16,
    semantic_dim=24,
    semantic_hidden=32,
)
TEACHER_WIDTH = 6
TEXT = Umt5Sizes(vocab_size=64, d_model=32, d_ff=64, d_kv=16, num_heads=2, num_layers=2)


class NoiseHeldOut:
    """One held-out row of `NoiseData`. A `HeldOut` that shows nothing."""

    guidance = 1.0

    def __init__(self):
        batch = NoiseData(1).batch(10_000, slice(0, 1))
        nothing = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
        self.rows = [HeldOutRow(1, batch, batch.text, nothing, nothing, 8.0)]


class NoiseData:
    """Pairs that can be learnt: the target is the source's negative where the text says so.

    One latent frame. Where there is a teacher, its features are noise of TEACHER_WIDTH channels on
    2x2 cells, and the saliency too.
    """

    def __init__(self, size: int, poison: int | None = None, taught: bool = False):
        self.size, self.poison, self.taught = size, poison, taught

    def batch(self, step: int, part: slice) -> TrainBatch:
        generator = stream("noise data", step)
        source = (
            torch.randn(self.size, 16, 1, 1, 1, generator=generator)
            .expand(-1, -1, 1, 4, 4)
            .contiguous()
        )
        negative = torch.rand(self.size, generator=generator) < 0.5
        text = torch.zeros(self.size, 6, dtype=torch.long)
        text[:, 0], text[:, 1] = torch.where(negative, 5, 9), 1
        target = torch.where(negative[:, None, None, None, None], -source, source)
        semantic = torch.randn(self.size, 65, DIT.semantic_dim, generator=generator)
        if step == self.poison:
            target[1, 0, 0, 0, 0] = float("nan")
        names = [f"step {step} sample {index}" for index in range(self.size)]
        teacher = None
        if self.taught:
            teacher = {
                "features": torch.randn(self.size, 1, 2, 2, TEACHER_WIDTH, generator=generator),
                "saliency": torch.rand(self.size, 1, 2, 2, generator=generator),
            }
            teacher = {name: value[part] for name, value in teacher.items()}
        return TrainBatch(
            target[part], source[part], text[part], semantic[part], names[part], teacher
        )


def tiny_config(output: Path | str, **settings) -> TrainConfig:
    defaults = {
        "stage": 1,
        "data": "noise",
        "model": "new",
        "steps": 8,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup": 2,
        "checkpoint_every": 4,
        "log_every": 1,
        "frames": 1,
        "ema": 0.9,
    }
    if isinstance(settings.get("align"), dict):
        defaults |= {"height": 32, "width": 32}
    values = {**defaults, "output": str(output), **settings}
    return settings_of(TrainConfig, values, "tiny run")


def tiny_trainee(config: TrainConfig) -> Trainee:
    dit, encoder = SamaDiT(DIT), Umt5Encoder(TEXT)
    init_weights(nn.ModuleList([dit, encoder]), stream(config.seed, "weights"))
    if config.lora_rank:  # a new head is 0 and hides every other gradient; a LoRA does not train it
        nn.init.normal_(dit.head.head.weight, std=0.1, generator=stream(config.seed, "head"))
    return Trainee(dit, encoder, config, TEACHER_WIDTH)


def tiny_trainer(config: TrainConfig, poison: int | None = None):
    from sama_core.training.trainer import Trainer

    trainee = tiny_trainee(config)
    data = NoiseData(config.batch_size, poison, taught=config.align is not None)
    objective, validation = SamaObjective(config, trainee.aligner), None
    if config.validation:
        folder = Path(config.output)
        validation = Validation(config.validation, NoiseHeldOut(), config.seed, folder)
    return Trainer(config, trainee, data, objective, validation=validation)


def stall_in_save(number: int) -> None:
    """Hang in the `number`-th checkpoint, when half of it is on disk."""
    from sama_core.training import outputs as state

    save, count = torch.save, 0

    def half(content, file):
        nonlocal count
        count += 1
        if count == number:
            file.write(b"half a checkpoint")
            file.flush()
            time.sleep(600)
        return save(content, file)

    state.torch.save = half


def stop_after_save(trainer, step: int) -> None:
    """Leave the program when the checkpoint of `step` is written."""
    save = trainer.save

    def save_and_stop():
        save()
        if trainer.step == step:
            trainer.accelerator.end_training()
            # At once: tearing threads down in mid-step aborts a loaded machine's process at times.
            os._exit(0)

    trainer.save = save_and_stop


def wait_in_steps(trainer, seconds: float) -> None:
    """Make later steps take longer, so that a test too can stop the run in the middle; from half of
    them on each waits for the signal, which comes late from a busy test.
    """
    step, remember, signals = trainer.train_step, StopSignals._remember, []

    def note(stop: StopSignals, number: int, frame) -> None:
        signals.append(number)
        remember(stop, number, frame)

    def slowly():
        time.sleep(seconds * (trainer.step > 2))
        while trainer.step >= trainer.config.steps // 2 and not signals:
            time.sleep(0.01)
        return step()

    StopSignals._remember, trainer.train_step = note, slowly


def main():
    """Train as the command line says; returns the trainer."""
    torch.set_num_threads(1)
    pairs = (pair.split("=", 1) for pair in sys.argv[2:])
    settings = {key: json.loads(value) for key, value in pairs}
    stall, save_weights = settings.pop("stall_in_save", None), settings.pop("weights", False)
    stop_at, wait = settings.pop("stop_at", None), settings.pop("wait", 0)
    if stall:
        stall_in_save(stall)
    trainer = tiny_trainer(tiny_config(sys.argv[1], **settings))
    if stop_at:
        stop_after_save(trainer, stop_at)
    if wait:
        wait_in_steps(trainer, wait)
    try:
        trainer.run()
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        trainer.accelerator.end_training()
        leave_process(stopped.code)
    if save_weights:
        averaged = trainer.average()  # by all processes
        if trainer.accelerator.is_main_process:
            torch.save(averaged, Path(sys.argv[1]) / "averaged.pt")
    trainer.accelerator.end_training()
    return trainer


if __name__ == "__main__":
    main()
    leave_process(0)
