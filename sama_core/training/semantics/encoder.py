"""What every semantic encoder has in common: the anchor frame it sees and the tokens it gives.

    token   0 … 63   local: the frame's 8 x 8 cells, row by row
    token  64        global: the whole frame

Unverified: the global token's place. The released model cannot tell places apart, since semantic tokens have no
position in it (SAMA's zero rotary factors): any fixed order trains the same model.
Unverified: no feature is scaled or normalised beyond what the encoder does.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ...errors import SamaError, needed
from ...model.config import DEFAULT_SEMANTIC_TOKENS

GRID = 8
"""Cells per side: M = 64 local tokens. Unverified: that they are a square grid; §4.1 gives the number only."""
TOKENS = DEFAULT_SEMANTIC_TOKENS


class SemanticEncoder(nn.Module, ABC):
    """A frozen encoder of anchor frames."""

    width: int
    """Width E of its tokens."""

    @abstractmethod
    def tokens(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, H, W, 3) float32 in 0..1 → local tokens (B, 64, E) and global ones (B, E)."""

    @torch.no_grad()
    def encode(self, frame: Tensor) -> Tensor:
        """Frames (B, H, W, 3), floating point in 0..1 → (B, 65, E) float32.

        A frame with a NaN gives NaN tokens, for that frame alone. Raises SamaError for another shape or dtype.
        """
        if frame.ndim != 4 or frame.shape[-1] != 3 or not frame.is_floating_point():
            raise SamaError(
                needed(
                    "anchor frame",
                    f"{tuple(frame.shape)} {str(frame.dtype).removeprefix('torch.')}",
                    "(B, H, W, 3) floating point in 0..1",
                    "Divide 8-bit frames by 255.",
                )
            )
        local, whole = self.tokens(frame.float())
        return torch.cat([local, whole[:, None]], dim=1).float()

    def check_width(self, width: int) -> None:
        """SamaError unless the model's semantic tokens are as wide as this encoder's."""
        if width != self.width:
            raise SamaError(
                needed(
                    "semantic encoder",
                    f"{type(self).__name__} with tokens {self.width} wide",
                    f"the model's {width}",
                    "Choose the encoder the model was made for (SigLIP so400m is 1152 wide), or train a new model.",
                )
            )


def anchor_frame(clip: Tensor) -> Tensor:
    """Frame 0 of target clips (B, F, H, W, 3) → (B, H, W, 3); of an image edit (F = 1) the target image.

    One anchor, N = 1 (SAMA §4.1). Unverified: which frame; N frames are "sampled uniformly", and the released code's
    help speaks of "first-frame" semantics.
    """
    if clip.ndim != 5:
        raise SamaError(
            needed(
                "target clips",
                f"shape {tuple(clip.shape)}",
                "(B, F, H, W, 3)",
                "Add the batch axis.",
            )
        )
    return clip[:, 0]
