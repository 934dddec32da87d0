"""FSDP2: weights, gradients, moments and averages in parts, one for each process.

Each block of the DiT is gathered for its own pass and given up again. Weights are gathered in the
precision that they are kept in, so that a sharded run computes what a whole one does.
"""

import os
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import nn

if TYPE_CHECKING:
    from .trainee import Trainee

ASKED = "ACCELERATE_USE_FSDP"
"""What `accelerate launch --use_fsdp` sets."""


def is_wished(shard: bool) -> bool:
    """Whether to shard, by the setting or because accelerate's launcher was asked to."""
    return shard or os.environ.get(ASKED, "").lower() in ("true", "1")


def take_wish(shard: bool) -> bool:
    """As `is_wished`; a launcher's wish is withdrawn.

    accelerate's own preparation keeps whole gradients while they accumulate, and on processors it
    would not shard at all.
    """
    wish = is_wished(shard)
    os.environ.pop(ASKED, None)
    return wish


def shard_accelerator(precision: str, track: list[str], folder: str, sharded: bool) -> Accelerator:
    """An Accelerator. Sharded runs do not keep rounded copies of all weights through a pass."""
    return Accelerator(
        mixed_precision=precision,
        cpu=not torch.accelerator.is_available(),
        log_with=track or None,  # type: ignore[arg-type]  # a list of names is right
        project_dir=folder,
        kwargs_handlers=[AutocastKwargs(cache_enabled=False)] if sharded else None,
    )


def shard(trainee: "Trainee", accelerator: Accelerator, widen: bool = False) -> "Trainee":
    """`trainee` on the process's device, sharded in place over all processes.

    It comes from RAM block by block: the card never holds more than its parts and one whole block.
    So does `widen`, which makes all weights float32: what lay in a file's pages is never whole in a
    process's own RAM.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for block in trainee.dit.blocks:
        if widen:
            _widen(block, accelerator.device)
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    if widen:
        _widen(trainee, accelerator.device)
    return fully_shard(trainee, mesh=mesh)  # type: ignore[return-value]  # the same module


def _widen(module: nn.Module, device: torch.device) -> None:
    for weight in module.parameters():
        if weight.dtype != torch.float32:
            weight.data = weight.data.to(device).float()


def give_up_gathered(trainee: nn.Module) -> None:
    """Drop the whole weights that passes without a backward pass left behind.

    FSDP2 keeps the root's weights for a backward pass, and gathers none that are there: the next
    step would compute with them, whatever the parts have become.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in trainee.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
