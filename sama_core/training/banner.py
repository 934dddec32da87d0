"""What a training says before its first step, and when it has stopped."""

from typing import TYPE_CHECKING

import torch

from .memory.arrange import count_weights
from .trainer_state import own_name

if TYPE_CHECKING:
    from .trainer import Trainer


def print_banner(trainer: "Trainer") -> None:
    """Print what is trained, on what, from where and to where."""
    for name, text in describe(trainer).items():
        print(f"  {name:<10} {text}", flush=True)


def describe(trainer: "Trainer") -> dict[str, str]:
    """Lines of the banner by name."""
    config, folder = trainer.config, trainer.folder
    lines = {
        "device": _describe_device(trainer),
        "data": describe_rows(trainer),
        "trained": _describe_weights(trainer),
        "batch": f"{config.batch_size} samples a step"
        + (f", in {config.accumulation} parts" if config.accumulation > 1 else ""),
        "steps": _describe_steps(trainer),
        "saves": f"{folder / ''}, every {config.checkpoint_every} steps"
        + (f", the last {config.keep_checkpoints} kept" if config.keep_checkpoints else ""),
    }
    if config.align is not None:
        lines["aligned"] = _describe_alignment(trainer)
    if trainer.validation is not None:
        lines["held out"] = trainer.validation.describe()
    if config.track:
        lines["tracked"] = config.track
    return lines


def describe_rows(trainer: "Trainer") -> str:
    """How many rows there are, where the data can tell."""
    count = getattr(trainer.batches, "describe", None)
    return f"{trainer.config.data}{f': {count()}' if count else ''}"


def _describe_device(trainer: "Trainer") -> str:
    accelerator = trainer.accelerator
    count, kind = accelerator.num_processes, accelerator.device.type
    name = torch.cuda.get_device_name(accelerator.device) if kind == "cuda" else kind
    how = "" if count == 1 else f", {count} processes"
    if count > 1:
        how += " that hold parts of the weights (FSDP2)" if trainer.sharded else " (DDP)"
    threads = f", {torch.get_num_threads()} threads" if kind == "cpu" else ""
    precision = "bfloat16" if trainer.config.precision == "bf16" else "float32"
    return f"{name}{threads}{how}, {precision}"


def _describe_weights(trainer: "Trainer") -> str:
    config, aligner = trainer.config, trainer.aligner
    trained = frozen = 0
    for weight, count in count_weights(trainer.trainee):
        trained += count * weight.requires_grad
        frozen += count * (not weight.requires_grad)
    projector = sum(count for _, count in count_weights(aligner)) if aligner else 0
    what = f"LoRA of rank {config.lora_rank}, " if config.lora_rank else ""
    along = f", and {_millions(projector)} of the projector of [align]" if projector else ""
    rest = f"; {_millions(frozen)} are frozen" if frozen else ""
    return f"{what}{_millions(trained - projector)} weights{along}{rest}"


def _describe_alignment(trainer: "Trainer") -> str:
    """What is compared, where, and with what."""
    align, aligner = trainer.config.align, trainer.aligner
    assert align is not None and aligner is not None
    weighed = "" if align.saliency == "none" else f', saliency "{align.saliency}"'
    kept = f"the features in {align.features or trainer.folder / 'features'}"
    teacher = (align.teacher or kept) if align.needs_teacher else "the rows' masks"
    where = f"behind block {aligner.block + 1}"
    said = f"{align.relation} {where} with {teacher}{weighed}, at weight {align.weight:g}"
    weights = trainer.trainee.named_parameters()
    trained = [own_name(name) for name, weight in weights if weight.requires_grad]
    if any(_comes_before(name, aligner.block) for name in trained):
        return said
    return f"{said}; WITHOUT EFFECT: no weight up to that block is trained, see align.block"


def _comes_before(name: str, block: int) -> bool:
    """Whether hidden states behind a block, from 0, depend on a weight of the trainee."""
    part, *rest = name.removeprefix("dit.").split(".")
    if part == "blocks":
        return int(rest[0]) <= block
    return part not in ("head", "semantic_head", "aligner", "reader")


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M"


def _describe_steps(trainer: "Trainer") -> str:
    config, state = trainer.config, trainer.state
    text = f"{config.steps}"
    if trainer.step:
        text = f"{trainer.step} of {config.steps} are done; the run goes on"
    elif config.init and config.lora_rank:
        text += f", from {config.init}"
    return text + (f" with {'; '.join(state.changed)}" if state.changed else "")


def say_stopped(trainer: "Trainer") -> str:
    """How to go on after a stop: the message of the error that ends the run."""
    return (
        f"Stopped after {trainer.step} of {trainer.config.steps} steps; all is saved in "
        f"{trainer.folder}. The same command goes on from there; `export` in the place of `train` "
        "writes the weights as they are now."
    )
