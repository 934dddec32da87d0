"""What one training step needs, and where it comes from."""

from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainBatch:
    """Clean latents and text of B samples. Latents are normalised as the DiT sees them."""

    target_latents: Tensor
    """(B, 16, T, H, W), what the model learns to make."""
    source_latents: Tensor
    """(B, 16, T, H, W), what it starts from."""
    text: Tensor
    """(B, L) token ids for a text encoder trained along, else (B, L, text_dim) embeddings."""
    semantic: Tensor | None
    """(B, S, E) semantic targets of the anchor frame, None without semantic anchoring."""
    names: list[str]
    """B names, so that a failure can be blamed on a sample."""
    labels: Tensor | None = None
    """(B, cells, EDIT_LABELS) what is where, for a `SceneReader`; None where it is not known."""

    def to(self, device: torch.device) -> "TrainBatch":
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in moved.items() if torch.is_tensor(value)})


class BatchSource(Protocol):
    """A stream of samples that is a function of the step alone, so that a resumed run sees what it would have."""

    def batch(self, step: int, part: slice) -> TrainBatch:
        """Samples `part` of the global batch of `step`. Whoever asks for another part gets the others."""
        ...
