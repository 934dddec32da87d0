"""Memory of a training step at SAMA-14B's width and reduced depth: counted, and by the plan's law.

    python -m benchmarks.train_memory --json train_memory.json

The pack's own trainee and objective take one step, forward and backward, on tensors without
contents (torch's fake tensors, under the CPU's autocast): every tensor that lives on the "card" is
counted, operation by operation, and what lives in RAM is not. So no card is needed, any clip can be
counted, and what a card's kernels and allocator need beside is not in it.

    counted   frozen weights on the card, trained ones, their gradients, activations, at the most
    law       the same from `sama_core/plan/train_request.py`, without headroom
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.live_bytes import LiveBytes
from benchmarks.random_models import sama_14b
from benchmarks.report import describe_run, write_json
from sama_core.geometry import ClipShape
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.plan.train_law import step_bytes
from sama_core.plan.train_request import TrainRequest
from sama_core.plan.weight_bytes import RELEASED
from sama_core.training.alignment import AlignConfig
from sama_core.training.alignment.teacher_targets import list_forms
from sama_core.training.config import TrainConfig
from sama_core.training.memory import block_swap, ram
from sama_core.training.memory.arrange import choose_layers, swap_blocks
from sama_core.training.memory.config import MemoryConfig
from sama_core.training.memory.frozen_linear import FrozenLinear
from sama_core.training.memory.packed import Packed
from sama_core.training.objective import SamaObjective, TrainBatch
from sama_core.training.objectives import noising
from sama_core.training.objectives.noising import stream
from sama_core.training.trainee import Trainee

CLIPS = (ClipShape(33, 272, 480), ClipShape(33, 480, 832), ClipShape(49, 480, 832))
TABLES: tuple[dict[str, Any], ...] = (
    {},
    {"states": "bf16"},
    {"states": "bf16", "activations_in_ram": True},
    {"states": "bf16", "activations_in_ram": True, "block_swap": 4},
)
DEPTHS = (2, 4)
RANK = 32
TEXT_ROWS = 512
TRAINED_BYTES = 8
"""Of each trained weight while a step runs: itself and its gradient, float32."""


def count_step(
    clip: ClipShape,
    blocks: int,
    table: dict[str, Any],
    fp8: bool = True,
    checkpointing: bool = True,
    rank: int = RANK,
    align: AlignConfig | None = None,
    features: tuple[int, int] = (0, 0),
) -> dict:
    """Counted and computed bytes of one step of a LoRA on that many blocks of SAMA-14B's width.

    The law is without `align`, for which the teacher gives `features` (frames, channels).
    """
    config, settings = sama_14b(blocks), make_settings(clip, table, checkpointing, rank, align)
    swap = settings.memory.block_swap
    trainee = _make_trainee(config, settings, fp8, features[1])
    batch_shape = clip.latent()
    live = LiveBytes()
    with _count_ram_apart(live), FakeTensorMode(allow_non_fake_inputs=True):
        _give_fake_weights(trainee)
        if swap:
            swap_blocks(trainee.dit, swap)
        resident = _weights_on_card(trainee)
        batch = _draw_batch(config, batch_shape)
        if trainee.aligner is not None and align is not None:
            batch = replace(batch, teacher=_draw_targets(align, trainee.aligner.cells, features))
            resident += sum(one.nbytes for one in batch.teacher.values())
        with live:
            with torch.autocast("cpu", torch.bfloat16):
                losses = SamaObjective(settings, trainee.aligner)(trainee, batch, [stream("noise")])
            losses.total.sum().backward()
    counted = resident + live.peak
    computed = _by_law(clip, config, settings, fp8)
    return {
        "frames": clip.frames,
        "width": clip.width,
        "height": clip.height,
        "blocks": blocks,
        "base": "fp8" if fp8 else "bf16",
        **table,
        "checkpointing": checkpointing,
        "weights_on_card_bytes": resident,
        "live_bytes": live.peak,
        "counted_bytes": counted,
        "law_bytes": computed,
        "error": round(computed / counted - 1, 4),
    }


def make_settings(
    clip: ClipShape,
    table: dict[str, Any],
    checkpointing: bool = True,
    rank: int = RANK,
    align: AlignConfig | None = None,
) -> TrainConfig:
    """The settings of one step on a clip, with a table `[memory]`."""
    return TrainConfig(
        stage=1,
        data="noise",
        model="noise",
        output="",
        steps=1,
        batch_size=1,
        frames=clip.frames,
        height=clip.height,
        width=clip.width,
        lora_rank=rank,
        precision="bf16",
        gradient_checkpointing=checkpointing,
        memory=MemoryConfig(**table),
        align=align,
    )


def _make_trainee(
    config: DitConfig, settings: TrainConfig, fp8: bool, teacher_width: int = 0
) -> Trainee:
    """A LoRA on a model without memory: frozen matrices in fp8 or bf16, adapters in float32."""
    dit = SamaDiT(config, choose_layers(settings), device="meta")
    for name, layer in list(dit.named_modules()):
        if isinstance(layer, nn.Linear | nn.Conv3d):
            layer.weight = nn.Parameter(layer.weight.data.bfloat16())
        if fp8 and isinstance(layer, nn.Linear) and name.startswith("blocks."):
            numbers = layer.weight.data.to(torch.float8_e4m3fn)
            dit.set_submodule(name, FrozenLinear.like(layer, Packed(numbers, torch.ones(()))))
    stay = replace(settings, memory=replace(settings.memory, block_swap=0))
    return Trainee(dit, None, stay, teacher_width)


def _give_fake_weights(trainee: Trainee) -> None:
    """Parameters that look as if they were on a device; trained ones in float32."""
    for module in trainee.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                dtype = torch.float32 if weight.requires_grad else weight.dtype
                made = torch.empty(weight.shape, dtype=dtype)
                module._parameters[name] = nn.Parameter(made, weight.requires_grad)


def _weights_on_card(trainee: Trainee) -> int:
    in_ram = {
        id(layer.weight)
        for layer in trainee.modules()
        if isinstance(layer, FrozenLinear) and layer.in_ram
    }
    return sum(one.nbytes for one in trainee.parameters() if id(one) not in in_ram)


def _draw_batch(config: DitConfig, latent) -> TrainBatch:
    def draw(*shape: int) -> Tensor:
        return torch.empty(1, *shape)

    video = draw(config.in_dim, latent.frames, latent.height, latent.width)
    return TrainBatch(
        video,
        torch.empty_like(video),
        draw(TEXT_ROWS, config.text_dim),
        draw(config.semantic_tokens, config.semantic_dim),
        ["noise"],
    )


def _draw_targets(
    align: AlignConfig, cells: tuple[int, int], features: tuple[int, int]
) -> dict[str, Tensor]:
    forms = list_forms(align, cells, *features)
    return {name: torch.empty(1, *form) for name, form in forms.items()}


def _count_ram_apart(live: LiveBytes) -> ExitStack:
    """Room in RAM is made, and not counted. Noise levels that are kept for later steps are made
    anew before and after, since those without contents are of use here alone.
    """

    def make_room(size: int) -> Tensor:
        room = torch.empty(size, dtype=torch.uint8)
        live.forget(room)
        return room

    patches = ExitStack()
    noising._levels.cache_clear()
    patches.callback(noising._levels.cache_clear)
    for module in (ram, block_swap):
        patches.enter_context(patch.object(module, "make_room", make_room))
    return patches


def _by_law(clip: ClipShape, config: DitConfig, settings: TrainConfig, fp8: bool) -> int:
    """The plan's bytes at this depth, without headroom and without moments and average."""
    request = request_at(clip, config, settings, fp8)
    memory = settings.memory
    activations = step_bytes(
        config,
        clip.latent(),
        1,
        memory.states == "bf16",
        settings.gradient_checkpointing,
        memory.activations_in_ram,
    )
    return request.base_on_card + TRAINED_BYTES * request.weights_to_train + activations


def request_at(
    clip: ClipShape, config: DitConfig, settings: TrainConfig, fp8: bool
) -> TrainRequest:
    """The plan's request for SAMA-14B at this depth."""
    matrices = RELEASED.matrices // sama_14b().num_layers * config.num_layers
    rest = RELEASED.parameters - RELEASED.matrices
    weights = replace(RELEASED, matrices=matrices, parameters=matrices + rest)
    memory = settings.memory
    return TrainRequest(
        clip,
        config,
        weights,
        lora_rank=settings.lora_rank,
        fp8_base=fp8,
        checkpointing=settings.gradient_checkpointing,
        half_states=memory.states == "bf16",
        inputs_in_ram=memory.activations_in_ram,
        block_swap=memory.block_swap,
        cached=True,
    )


AIMS = (
    (ClipShape(33, 272, 480), {"block_swap": 24}),
    (ClipShape(49, 480, 832), {"block_swap": 30}),
)
"""Clips and streamed blocks of the recipes for cards of 16 and 24 GB."""


def count_aims() -> Iterator[dict]:
    """The two recipes' steps at all forty blocks."""
    for clip, table in AIMS:
        yield count_step(clip, 40, {"states": "bf16", "activations_in_ram": True, **table})


def count_all() -> Iterator[dict]:
    """All points: clips, depths, tables; without checkpointing and in bf16 once."""
    for clip, blocks, table in product(CLIPS, DEPTHS, TABLES):
        yield count_step(clip, blocks, table)
    yield count_step(CLIPS[0], 4, {"states": "bf16"}, fp8=False)
    yield count_step(CLIPS[0], 4, {"states": "bf16", "block_swap": 4}, fp8=False)
    yield count_step(CLIPS[0], 4, {"states": "bf16"}, checkpointing=False)
    yield from count_aims()


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path)
    options = made.parse_args(arguments)
    torch.set_num_threads(1)
    points = []
    for point in count_all():
        points.append(point)
        table = {name: point[name] for name in MemoryConfig.__dataclass_fields__ if name in point}
        print(
            f"{point['frames']} frames of {point['width']}x{point['height']}, {point['blocks']} "
            f"blocks {table}: counted {point['counted_bytes'] / 1e9:.2f} GB, law "
            f"{point['law_bytes'] / 1e9:.2f} GB ({point['error']:+.1%})"
        )
    worst = max(points, key=lambda point: abs(point["error"]))
    print(f"worst: {worst['error']:+.1%}")
    if options.json:
        write_json(options.json, {"ran": describe_run("peft", rank=RANK), "points": points})
    return 0


if __name__ == "__main__":
    sys.exit(main())
