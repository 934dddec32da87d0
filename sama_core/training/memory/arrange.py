"""The settings of `[memory]`, put into a DiT that a LoRA is trained on."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)

from ...errors import needed
from ...model.blocks import DitBlock
from ...model.dit import SamaDiT
from ..recipe import ConfigError
from ..sharding import is_wished
from .block_swap import BlockSwap
from .frozen_linear import FrozenLinear
from .half_layers import HALF
from .ram import InputsInRam, Room

if TYPE_CHECKING:
    from ..config import TrainConfig


def arrange(dit: SamaDiT, config: "TrainConfig") -> BlockSwap | None:
    """Pack the base and stream blocks from RAM as the settings say, in place; what streams them, or
    None without any.

    Raises ConfigError for more blocks than there are, and for sharded weights.
    """
    if config.memory.base == "fp8":
        for block in _blocks(dit):
            _replace_layers(block, FrozenLinear.packing)
    _refuse_sharding(dit, config)
    count = config.memory.block_swap
    if count > len(dit.blocks):
        fix = f"The model has {len(dit.blocks)} blocks."
        raise ConfigError(needed("memory.block_swap", count, f"{len(dit.blocks)} or less", fix))
    if not count:
        return None
    return swap_blocks(dit, count)


def swap_blocks(dit: SamaDiT, count: int) -> BlockSwap:
    """Stream `count` blocks of a DiT under a LoRA from RAM, in place."""
    blocks = _blocks(dit)
    for block in blocks:
        _replace_layers(block, FrozenLinear.of)
    return BlockSwap(blocks, count)


def _blocks(dit: SamaDiT) -> list[nn.Module]:
    """The blocks themselves, whatever is wrapped round them."""
    return [block for block in dit.modules() if isinstance(block, DitBlock)]


def choose_layers(config: "TrainConfig") -> Any:
    """The layers that a model for these settings is made of: a `SamaDiT`'s `operations`."""
    return HALF if config.memory.states == "bf16" else nn


def keep_half(dit: SamaDiT) -> None:
    """Let peft's adapters take 16-bit inputs as they are: autocast would cast copies back."""
    for layer in dit.modules():
        if hasattr(layer, "cast_input_dtype_enabled"):
            layer.cast_input_dtype_enabled = False  # type: ignore[assignment]


def checkpoint_blocks(dit: SamaDiT, in_ram: bool) -> None:
    """Compute each block again in the backward pass instead of keeping its activations; keep its
    input in RAM if asked.
    """
    room = Room()

    def wrap(block: nn.Module) -> nn.Module:
        checkpointed = checkpoint_wrapper(block)
        return InputsInRam(checkpointed, room) if in_ram else checkpointed

    apply_activation_checkpointing(
        dit, checkpoint_wrapper_fn=wrap, check_fn=lambda module: isinstance(module, DitBlock)
    )


def exclude_from_broadcast(trainee: nn.Module) -> None:
    """Let DDP leave frozen matrices alone: every process has read them from the same file, and
    those in RAM are on no card.
    """
    names = [name for name, one in trainee.named_parameters() if one.dtype == torch.uint8]
    names += [
        f"{name}.scale" for name, one in trainee.named_modules() if isinstance(one, FrozenLinear)
    ]
    if names:
        nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            trainee, names
        )


def count_weights(module: nn.Module) -> Iterator[tuple[nn.Parameter, int]]:
    """Every parameter, with the number of weights in it: fewer than bytes in a frozen matrix."""
    for one in module.modules():
        for name, weight in one.named_parameters(recurse=False):
            size = 1
            if isinstance(one, FrozenLinear) and name == "weight":
                size = one.stored.itemsize
            yield weight, weight.numel() // size


def _replace_layers(block: nn.Module, make: Callable[[nn.Linear], FrozenLinear]) -> None:
    """Put what `make` makes of it in place of every Linear that is not trained."""
    for name, layer in list(block.named_modules()):
        if type(layer) is nn.Linear and not layer.weight.requires_grad:
            block.set_submodule(name, make(layer))


def _refuse_sharding(dit: SamaDiT, config: "TrainConfig") -> None:
    """ConfigError where FSDP would shard what must stay whole."""
    packed = any(isinstance(layer, FrozenLinear) for layer in dit.modules())
    if is_wished(config.shard) and (packed or config.memory.block_swap):
        got = "quantised weights" if packed else f"block_swap {config.memory.block_swap}"
        fix = (
            "Start it with torchrun or accelerate launch --multi_gpu and without shard: each card "
            "then holds the base. Or choose a model file in 16 bit, and no block_swap."
        )
        raise ConfigError(needed("sharded training", got, "weights that can be sharded", fix))
