"""A model with random weights for the bench: everything runs, nothing is edited well."""

import pytest
import torch

from sama_core import embedded
from sama_core.shapes.gate.clip_scores import to_bytes
from sama_core.shapes.gate.core_editor import Edited, ModelFiles

from ..harness.untrained import write_untrained


@pytest.fixture(scope="session")
def random_files(tmp_path_factory) -> ModelFiles:
    """The untrained DiT and text encoder, and the trained VAE."""
    folder = tmp_path_factory.mktemp("models")
    names = write_untrained(folder)
    return ModelFiles(
        folder / "diffusion_models" / names["diffusion_models"],
        folder / "text_encoders" / names["text_encoders"],
        embedded.VAE,
    )


class FakeEditor:
    """An `Editor` with prepared results: `answer(frames)` for an edit, and a lossless codec."""

    def __init__(self, answer):
        self.answer = answer

    def edit(self, frames, instructions, seeds) -> Edited:
        return Edited(to_bytes(self.answer(frames)), 2.0 * len(frames))

    def round_trip(self, frames: torch.Tensor) -> torch.Tensor:
        return frames
