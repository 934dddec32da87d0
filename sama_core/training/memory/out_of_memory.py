"""What a training says when memory runs out: the setting that helps next."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ...errors import SamaError, needed
from ...plan.train_summary import advise_memory
from .plan_recipe import request_of

if TYPE_CHECKING:
    from ..config import TrainConfig

TEXTS = ("can't allocate memory", "not enough memory", "mps backend out of memory")
"""Of torch's errors where it has no exception type for them: RAM, Apple's GPUs."""


class OutOfMemoryError(SamaError):
    """A training that needs more memory than there is."""


@contextmanager
def advise_on_memory(config: "TrainConfig") -> Iterator[None]:
    """Tell the next setting that helps where the work in this context runs out of memory.

    Raises OutOfMemoryError for that; other errors pass.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        advice = advise(config)
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutOfMemoryError(
            needed("memory", f"less than it takes ({first_line})", "more, or less to keep", advice)
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether a card or the computer ran out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in TEXTS)


def advise(config: "TrainConfig") -> str:
    """The setting that helps next, and whether the run goes on with it."""
    request, _ = request_of(config)
    if config.data == "shapes":
        request = replace(request, cached=True)
    setting = advise_memory(request)
    free = config.FREE_TO_CHANGE
    goes_on = any(name.rpartition(".")[2] in setting for name in free if "." in name)
    after = (
        "Start it again: it goes on from its last checkpoint."
        if goes_on or "gradient_checkpointing" in setting
        else "It changes the numbers: choose a new output folder."
    )
    align = config.align
    teacher = bool(align and align.needs_teacher and align.teacher)
    ahead = "Make the teacher's features first, with the task features. Then s" if teacher else "S"
    return (
        f"{ahead}et {setting} in the recipe. {after} `run.py plan --train` computes what a recipe "
        "takes."
    )
