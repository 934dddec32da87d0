"""Samples kept on disk in shards, so that a pass through them costs no rendering and no encoding.

A shard is a function of its number: any process may make it, in any order, and a second process may
fill the pool ahead of the trainer.
"""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...weights.write import refuse_folder, write_safetensors

Samples = dict[str, Tensor]
"""Named tensors that all start with the number of samples."""


class LatentPool:
    """`shards` files of `size` samples in `folder`; `make(number=…)` makes missing ones."""

    def __init__(
        self,
        folder: Path,
        name: str,
        shards: int,
        size: int,
        make: Callable[..., Samples],
        device: torch.device | str = "cpu",
    ):
        """`name` says all that the samples depend on: pools of different names share nothing.
        `device` keeps the loaded shards.
        """
        self.folder, self.name, self.device = Path(folder), name, torch.device(device)
        self.shards, self.size, self.make = shards, size, make
        self._loaded: dict[int, Samples] = {}

    def path(self, number: int) -> Path:
        """The file of one shard."""
        return self.folder / f"{self.name}_{number:04}.safetensors"

    def samples(self, rows: Tensor) -> Samples:
        """The samples of these numbers (B,), 0 to shards · size - 1, in order."""
        shards = rows // self.size
        order = torch.argsort(shards, stable=True)
        groups: list[Samples] = []
        for shard in shards.unique().tolist():
            within = (rows[shards == shard] % self.size).to(self.device)
            groups.append({name: value[within] for name, value in self._shard(shard).items()})
        back = torch.argsort(order).to(self.device)
        return {name: torch.cat([group[name] for group in groups])[back] for name in groups[0]}

    def fill(self, number: int) -> bool:
        """Make one shard; False if it is there. Raises OSError where it cannot be written."""
        refuse_folder(self.path(number))
        if self.path(number).exists():
            return False
        write_safetensors(self.path(number), self.make(number=number))
        return True

    def _shard(self, number: int) -> Samples:
        if number not in self._loaded:
            self.fill(number)
            try:
                self._loaded[number] = load_file(self.path(number), device=str(self.device))
            except (SafetensorError, OSError):  # damaged: it can be made again
                os.unlink(self.path(number))
                self.fill(number)
                self._loaded[number] = load_file(self.path(number), device=str(self.device))
        return self._loaded[number]
