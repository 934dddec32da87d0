"""Scenes of one red shape, batches of edits, and a model with random weights for the gate."""

import pytest
import torch
from torch import Tensor

from sama_core.shapes.gate.clip_scores import to_bytes
from sama_core.shapes.gate.core_editor import Edited, ModelFiles
from sama_core.shapes.world import KINDS, EditSampler, Scenes
from sama_core.shapes.world.scene import EMPTY, SHAPES

from ..harness.untrained import write_untrained_shapes

PAIRS_PER_KIND = 24


def one_scene(shape: str = "circle", **changes) -> Scenes:
    """A red shape of radius 12.8 of 64 pixels, standing upright in the middle of plain white."""
    blank, still = torch.zeros(1, 2), torch.zeros(1)
    scene = Scenes(
        shape=torch.tensor([[SHAPES.index(shape), EMPTY]]),
        colour=torch.zeros(1, 2, dtype=torch.long),
        tint=torch.zeros(1, 2, 3),
        radius=blank + 0.2,
        place=torch.full((1, 2, 2), 0.5),
        velocity=torch.zeros(1, 2, 2),
        angle=blank,
        spin=blank,
        pulse=blank,
        pulse_rate=blank,
        ground=still.long(),
        ground_colour=still.long(),
        ground_tint=torch.zeros(1, 3),
        ground_angle=still,
        ground_period=still + 0.25,
        ground_phase=torch.zeros(1, 2),
        style=still.long(),
    )
    return scene.replace(**changes)


def only(names: dict | tuple, name: str) -> Tensor:
    return torch.tensor([list(names).index(name)])


def same(first: Scenes, second: Scenes) -> bool:
    return all(
        torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items()
    )


def colour_at(clip: Tensor, frame: int, x: int, y: int) -> list[float]:
    return clip[0, frame, y, x].tolist()


@pytest.fixture(scope="session", params=["train", "test"])
def batches(request) -> dict[str, object]:
    """A rendered batch of every kind, in both splits."""
    return {
        kind: EditSampler(11, request.param, [kind], frames=5).batch(3, PAIRS_PER_KIND)
        for kind in KINDS
    }


@pytest.fixture(scope="session")
def random_files(tmp_path_factory) -> ModelFiles:
    """The untrained DiT and text encoder, and the trained VAE."""
    return write_untrained_shapes(tmp_path_factory.mktemp("models"))


class FakeEditor:
    """An `Editor` with prepared results: `answer(frames)` for an edit, and a lossless codec."""

    def __init__(self, answer):
        self.answer = answer

    def edit(self, frames, instructions, seeds) -> Edited:
        return Edited(to_bytes(self.answer(frames)), 2.0 * len(frames))

    def round_trip(self, frames: torch.Tensor) -> torch.Tensor:
        return frames
