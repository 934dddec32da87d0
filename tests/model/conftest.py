"""A small DiT with golden weights, and random inputs for it."""

import pytest
import torch
from torch import Tensor

from sama_core import SamaDiT
from sama_core.model.rotary import RotaryTable, grid_table, sequence_table

HEADS = 4
GRID = (2, 3, 4)
VIDEO_TOKENS = 2 * 3 * 4
SEMANTIC = slice(VIDEO_TOKENS, VIDEO_TOKENS + 65)
CLOSE = {"rel_l2": 2e-6}


@pytest.fixture(scope="module")
def weights(golden) -> dict[str, Tensor]:
    return golden("dit_small").state_dict()


@pytest.fixture(scope="module")
def model(weights) -> SamaDiT:
    return SamaDiT.from_state_dict(weights, num_heads=HEADS).requires_grad_(False)


def draw(batch: int = 1, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs of the small model by name, each sample with its own timestep."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "latents": (batch, 16, 2, 6, 8),
        "context": (batch, 9, 32),
        "source_latents": (batch, 16, 2, 6, 8),
        "semantic_latents": (batch, 65, 48),
    }
    inputs = {
        name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()
    }
    return inputs | {"timestep": torch.linspace(900, 100, batch)}


def drop(inputs: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name not in names}


def list_velocities(velocities: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    """The velocities without the semantic one where there is none."""
    return [velocity for velocity in velocities if velocity is not None]


@pytest.fixture(scope="module")
def freqs() -> RotaryTable:
    return sequence_table(
        grid_table(GRID, 24, torch.device("cpu")), source=True, semantic_tokens=65
    )
