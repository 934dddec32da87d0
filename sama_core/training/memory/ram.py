"""Room in RAM for what leaves the card, and checkpointed block inputs in it.

    forward    block input ──copy──▶ room in RAM        the card forgets it
    backward   room in RAM ──copy──▶ block input        when the block is computed again

With a card the room is locked in memory, so that copies run beside the computation. torch's own
`save_on_cpu` rounds locked room up to a power of two, and copies nothing where there is no card:
there it could be neither tested nor counted.
"""

import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import ActivationWrapper


def make_room(size: int) -> Tensor:
    """(size,) bytes in RAM, locked there if there is a card. They are meant to be kept."""
    room = torch.empty(size, dtype=torch.uint8, device="cpu")
    if size and torch.cuda.is_available():
        # Unverified: on a card. Where it fails, copies are slower and nothing else changes.
        torch.cuda.cudart().cudaHostRegister(room.data_ptr(), size, 0)
    return room


class Room:
    """Pieces of RAM that are lent by size and come back when their holder is dropped."""

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = defaultdict(list)

    def lend(self, size: int) -> "Held":
        """A piece of `size` bytes, a used one if there is one."""
        free = self._free[size]
        held = Held(free.pop() if free else make_room(size))
        weakref.finalize(held, free.append, held.piece)
        return held


class Held:
    """One piece of RAM, as long as this object lives."""

    def __init__(self, piece: Tensor):
        self.piece = piece


class _Kept(NamedTuple):
    """A tensor that left for RAM."""

    held: Held
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class KeepInRam(saved_tensors_hooks):
    """Inside the `with` autograd keeps what it saves in `room`. All copies are in the order of the
    device's own work.
    """

    def __init__(self, room: Room):
        super().__init__(_leave_for(room), _come_back)


def _leave_for(room: Room) -> Callable[[Tensor], _Kept]:
    def leave(tensor: Tensor) -> _Kept:
        held = room.lend(tensor.nbytes)
        place = held.piece.view(tensor.dtype).view(tensor.shape)
        place.copy_(tensor.detach(), non_blocking=True)
        return _Kept(held, tensor.shape, tensor.dtype, tensor.device)

    return leave


def _come_back(kept: _Kept) -> Tensor:
    tensor = torch.empty(kept.shape, dtype=kept.dtype, device=kept.device)
    piece = kept.held.piece.view(kept.dtype).view(kept.shape)
    return tensor.copy_(piece, non_blocking=True)


class InputsInRam(ActivationWrapper):
    """Round a block that is checkpointed: what the checkpoint keeps, its input, is kept in RAM."""

    def __init__(self, block: torch.nn.Module, room: Room):
        super().__init__(block)
        self.room = room

    def forward(self, *arguments: Any, **settings: Any) -> Any:
        """As the block's own."""
        with KeepInRam(self.room):
            return self._checkpoint_wrapped_module(*arguments, **settings)
