"""Advice in out-of-memory errors of a sampling run.

The same exception is raised on, with the plan of the run above its own text: ComfyUI then cleans up
as it does after every such error, shows the text in the node, and runs the next item of the queue.
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
from .model import lattice_of_model
from .plan import plan_of_loaded, ram_of_weights, this_machine
from .streams import JointShape

log = logging.getLogger(__name__)

_TEXTS = ("can't allocate memory", "not enough memory", "mps backend out of memory")
"""Of torch's errors where it has no exception type for them: RAM, Apple's GPUs."""


@contextmanager
def add_advice(guider, shape: JointShape, batch: int, sigmas: Tensor) -> Iterator[None]:
    """Add the plan of this run to an out-of-memory error raised in this context.

    All other errors pass unchanged.
    """
    before = _machine(guider)
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) and before is not None:
            _advise(error, guider, shape, batch, sigmas, before)
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Whether a card, in ComfyUI's judgement, or the computer ran out of memory."""
    management = comfy.model_management
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Where torch has no such exception, ComfyUI's is_oom is true for every one.
    if (
        management.OOM_EXCEPTION is not Exception
        and hasattr(management, "is_oom")
        and management.is_oom(error)
    ):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _TEXTS)


def _machine(guider) -> Machine | None:
    """The machine before the run; after it, activations of the failed call still take memory."""
    try:
        patcher = guider.model_patcher
        return this_machine(ram_of_weights(patcher.model.dit_config, patcher))
    except Exception:
        log.warning(
            "SAMA: this machine's memory could not be read, so an out-of-memory error would come "
            "without advice.",
            exc_info=True,
        )
        return None


def _advise(
    error: Exception, guider, shape: JointShape, batch: int, sigmas: Tensor, machine: Machine
) -> None:
    """Put the advice in front of the error's text; a failure here must not hide the error."""
    try:
        patcher, (_, frames, height, width) = guider.model_patcher, shape.video
        frames = _frames_at_once(guider, frames)
        latent = LatentShape(frames, height, width, lattice_of_model(patcher))
        cfg = float(getattr(guider, "cfg", 1.0))
        plan = plan_of_loaded(patcher, latent, len(sigmas) - 1, cfg, machine)
        text = out_of_memory_text(plan)
        if batch > 1:
            text += (
                f"\nThese figures are for one clip; a batch of {batch} needs {batch} times the "
                "activations."
            )
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
