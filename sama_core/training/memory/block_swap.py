"""Blocks whose frozen matrices live in RAM, and are on the card while their block computes.

    RAM ──▶ place A on the card: the block that computes
        └─▶ place B on the card: the next one, copied meanwhile on a stream of its own

A block is lent to the card before it runs: in the forward pass from the first to the last, and when
checkpointing computes it again in the backward pass, from the last to the first. Its backward is
done when the next block is lent, so only then is its place given to another.

With accelerate's `cpu_offload` adapters get no gradient; diffusers' group offloading sends a module
away after its forward pass, and fetches ahead in that direction only; FSDP2's makes every weight of
a block a sharded one, of one dtype, and puts the optimiser into RAM too.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .frozen_linear import FrozenLinear
from .ram import make_room

ALIGNED = 256
"""Bytes at a multiple of which every matrix begins."""


class BlockSwap:
    """Lends `count` of the blocks to the device they compute on, two at a time."""

    def __init__(self, blocks: Sequence[nn.Module], count: int):
        """Moves the frozen matrices of `count` blocks, evenly chosen, into RAM, in place."""
        self.chosen = choose_evenly(len(blocks), count)
        self.parcels = {index: Parcel(blocks[index]) for index in self.chosen}
        self.places: list[Place] = []
        self.lent: int | None = None
        self.copies = 0
        for index in self.chosen:
            blocks[index].register_forward_pre_hook(self._lend_before(index))

    def _lend_before(self, index: int) -> Any:
        def hook(block: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self.lend(index, arguments[0].device)

        return hook

    @torch.no_grad()
    def lend(self, index: int, device: torch.device) -> None:
        """Put block `index` on `device`; the block that was lent before goes back to RAM."""
        if index == self.lent:
            return
        if not self.places:
            size = max(parcel.size for parcel in self.parcels.values())
            self.places = [Place(size, device) for _ in range(2)]
        before = self.lent
        place = self._fetch(index)
        place.wait()
        if before is not None:
            self.parcels[before].go_back()
        self.parcels[index].go_to(place.bytes)
        self.lent = index
        following = self._guess_next(index, before)
        if following is not None:
            self._fetch(following)

    def _fetch(self, index: int) -> "Place":
        """The place that holds block `index`, now or when its copy is done."""
        for place in self.places:
            if place.holds == index:
                return place
        place = next(one for one in self.places if one.holds is None or one.holds != self.lent)
        place.copy(index, self.parcels[index].ram)
        self.copies += 1
        return place

    def _guess_next(self, index: int, before: int | None) -> int | None:
        """The neighbour in the direction of travel, which turns at the first and the last block."""
        at = self.chosen.index(index)
        step = 1 if before is None or index > before else -1
        if not 0 <= at + step < len(self.chosen):
            step = -step
        return self.chosen[at + step] if len(self.chosen) > 1 else None


class Parcel:
    """The frozen matrices of one block as one piece of RAM."""

    def __init__(self, block: nn.Module):
        """Copies them there and keeps the layers from moving with the model."""
        layers = [layer for layer in block.modules() if isinstance(layer, FrozenLinear)]
        self.weights = [layer.weight for layer in layers]
        self.spans: list[tuple[int, int]] = []
        end = 0
        for weight in self.weights:
            self.spans.append((end, end + weight.nbytes))
            end += -(-weight.nbytes // ALIGNED) * ALIGNED
        self.size, self.ram = end, make_room(end)
        for layer, part in zip(layers, self._split(self.ram), strict=True):
            part.copy_(layer.weight.data)
            layer.in_ram = True
        self.go_back()

    def _split(self, whole: Tensor) -> list[Tensor]:
        return [
            whole[start:end].view(weight.shape)
            for (start, end), weight in zip(self.spans, self.weights, strict=True)
        ]

    def go_to(self, place: Tensor) -> None:
        """Let the layers use the bytes of `place`, which holds a copy."""
        for weight, part in zip(self.weights, self._split(place), strict=True):
            weight.data = part

    def go_back(self) -> None:
        """Let the layers hold the bytes in RAM again."""
        self.go_to(self.ram)


class Place:
    """Bytes on the device for one block, filled by a stream of its own where there is one."""

    def __init__(self, size: int, device: torch.device):
        self.bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self.holds: int | None = None
        self.stream = None if device.type == "cpu" else torch.Stream(device=device)

    def copy(self, index: int, ram: Tensor) -> None:
        """Begin to copy block `index` here, after all work that was given to the device so far:
        that may still use what is here.
        """
        if self.stream is not None:
            self.stream.wait_stream(torch.accelerator.current_stream(self.bytes.device))
        beside: AbstractContextManager = nullcontext() if self.stream is None else self.stream
        with beside:
            self.bytes[: len(ram)].copy_(ram, non_blocking=True)
        self.holds = index

    def wait(self) -> None:
        """Let the device's next work wait for the copy."""
        if self.stream is not None:
            torch.accelerator.current_stream(self.bytes.device).wait_stream(self.stream)


def choose_evenly(count: int, chosen: int) -> list[int]:
    """`chosen` of `count` blocks, as far apart as can be: others compute while one is fetched."""
    chosen = min(chosen, count)
    return [(2 * index + 1) * count // (2 * chosen) for index in range(chosen)]
