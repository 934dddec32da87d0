"""Whole tensors of sharded ones (FSDP) and back; plain tensors pass through."""

import torch
from torch import Tensor


def whole(value: Tensor) -> Tensor:
    """A CPU copy of all of `value`. Every process of a sharded run must call it."""
    full = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach().cpu().clone()


@torch.no_grad()
def copy_whole(full: Tensor, into: Tensor) -> None:
    """Copy `full` into `into`, of which this process may hold only a shard."""
    if hasattr(into, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor
        full = distribute_tensor(full.to(into.device), into.device_mesh, into.placements)
    into.copy_(full)
