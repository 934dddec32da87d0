"""Advice in out-of-memory errors of a sampling run.

The very exception goes on its way, with the plan of the run above its own words: core then cleans up as it does after
every such error, shows the text in the node, and runs the next item of the queue.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import torch
from torch import Tensor

from ..geometry import LatentShape
from ..plan.machine import Machine
from ..plan.summary import out_of_memory_text
from .packing import JointShape
from .plan import held_in_ram, plan_of_loaded, this_machine

log = logging.getLogger(__name__)

# How torch words it where it has no exception of its own for it: RAM, Apple's GPUs.
_WORDS = ("can't allocate memory", "not enough memory", "mps backend out of memory")


@contextmanager
def advising(guider, shape: JointShape, batch: int, sigmas: Tensor) -> Iterator[None]:
    """Adds the plan of this run to an out-of-memory error raised inside; every other error passes as it is."""
    before = _machine(guider)
    try:
        yield
    except Exception as error:
        if ran_out(error) and before is not None:
            _advise(error, guider, shape, batch, sigmas, before)
        raise


def ran_out(error: Exception) -> bool:
    """Whether memory ran out: of a card, in core's judgement, or of the computer."""
    management = comfy.model_management
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Where torch has no such exception core takes every one for it.
    if (
        management.OOM_EXCEPTION is not Exception
        and hasattr(management, "is_oom")
        and management.is_oom(error)
    ):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def _machine(guider) -> Machine | None:
    """The machine before the run; afterwards the activations of the failed call still take its memory."""
    try:
        patcher = guider.model_patcher
        return this_machine(held_in_ram(patcher.model.dit_config, patcher))
    except Exception:
        log.warning(
            "SAMA: this machine's memory could not be read, so an out-of-memory error would come without "
            "advice.",
            exc_info=True,
        )
        return None


def _advise(
    error: Exception, guider, shape: JointShape, batch: int, sigmas: Tensor, machine: Machine
) -> None:
    """Puts the text in front of the error's own. Nothing that goes wrong here may hide the error itself."""
    try:
        latent = LatentShape(_frames_at_once(guider, shape.video[1]), *shape.video[2:])
        cfg = float(getattr(guider, "cfg", 1.0))
        plan = plan_of_loaded(guider.model_patcher, latent, len(sigmas) - 1, cfg, machine)
        text = out_of_memory_text(plan)
        if batch > 1:
            text += f"\nThese figures are for one clip; a batch of {batch} needs {batch} times the activations."
        error.args = (f"{text}\n\n{error}",)
    except Exception:
        log.warning("SAMA: no advice could be made for this out-of-memory error.", exc_info=True)


def _frames_at_once(guider, frames: int) -> int:
    """Latent frames of one call: those of a window, where context windows are on."""
    handler = guider.model_options.get("context_handler")
    return (
        min(frames, getattr(handler, "context_length", frames))
        if getattr(handler, "dim", 2) == 2
        else frames
    )
