"""What every semantic encoder has in common, and SigLIP, which SAMA was trained with.

    token   0 … 63   local: the frame's 8 x 8 cells, row by row
    token  64        global: the whole frame

Unverified: the global token's place. The released model cannot tell places apart, since semantic
tokens have no position in it (SAMA's zero rotary factors): any fixed order trains the same model.
Unverified: SigLIP's checkpoint (E = 1152 makes it the so400m family), its input size, the pooling
of patches to 8 x 8, the making of the global token, and any scaling. Here: average pooling,
SigLIP's own attention pooling, no scaling. Source: SAMA §3.2.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import RuntimeSetupError, SamaError, needed
from ...model.config import DEFAULT_SEMANTIC_TOKENS
from ..model_folder import describe_absent, find_folder, load_weights, say_why, tell_download

GRID = 8
"""Cells per side: M = 64 local tokens.

Unverified: that they are a square grid; §4.1 gives the number only.
"""
TOKENS = DEFAULT_SEMANTIC_TOKENS
"""Tokens of a frame: 64 local and one global."""

SIGLIP = "google/siglip-so400m-patch14-384"
"""The encoder that fits SAMA-14B: 1152 wide."""

GLOBAL_TOKENS = ("pooler", "mean")
"""Ways to make SigLIP's global token."""


def find_siglip(path: str) -> Path:
    """The folder of a SigLIP checkpoint, see `find_folder`. RuntimeSetupError where there is none,
    with the command that fetches one. Asks no network.
    """
    folder = find_folder(path)
    if folder is None:
        fix = f"Fetch it with: {tell_download(SIGLIP, 'FOLDER')} (3.5 GB, "
        fix += f"https://huggingface.co/{SIGLIP}), and set semantic_encoder to that folder; or use "
        got, need = describe_absent(path), f"the folder of {SIGLIP}"
        raise RuntimeSetupError(needed("semantic encoder", got, need, f'{fix}"pixels".'))
    return folder


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

        A frame with a NaN gives NaN tokens, for that frame alone. Raises SamaError for another
        shape or dtype.
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
                    "Choose the encoder the model was made for (SigLIP so400m is 1152 wide), "
                    "or train a new model.",
                )
            )


def anchor_frame(clip: Tensor) -> Tensor:
    """Frame 0 of target clips (B, F, H, W, 3) → (B, H, W, 3); of an image edit (F = 1) the target
    image.

    One anchor, N = 1 (SAMA §4.1). Unverified: which frame; N frames are "sampled uniformly", and
    the released code's help speaks of "first-frame" semantics.
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


class SiglipEncoder(SemanticEncoder):
    """Patch features averaged over 8 x 8 cells, and one global feature."""

    def __init__(self, vision: nn.Module, global_token: str = "pooler"):
        """`vision`: a transformers SiglipVisionModel, which is frozen. `global_token`: its "pooler"
        output, or the "mean" of its patches; a model without a pooling head has only the mean.
        SamaError for another choice.
        """
        super().__init__()
        settings: Any = vision.config
        has_pooler = getattr(settings, "vision_use_head", True)
        if global_token not in GLOBAL_TOKENS or (global_token == "pooler" and not has_pooler):
            raise SamaError(
                needed(
                    "global token",
                    repr(global_token),
                    " or ".join(GLOBAL_TOKENS)
                    if has_pooler
                    else '"mean", as the model has no pooler',
                    'Use "mean".',
                )
            )
        self.vision = vision.eval().requires_grad_(False)
        self.global_token = global_token
        self.width: int = settings.hidden_size
        self.side: int = settings.image_size

    @classmethod
    def from_pretrained(
        cls, path: str, global_token: str = "pooler", dtype: torch.dtype = torch.float32
    ) -> "SiglipEncoder":
        """The vision tower of a SigLIP checkpoint: of a folder, or of a hub's name that was
        downloaded before. Nothing is downloaded here.

        Raises RuntimeSetupError where there is none, with the command that fetches one, and where
        transformers or the model cannot be loaded.
        """
        folder = find_siglip(path)
        try:
            vision = load_weights("SiglipVisionModel", folder, dtype)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of safetensors, of pickles, of settings without a key
            raise RuntimeSetupError(
                needed(
                    "semantic encoder",
                    f"{path}, which does not load ({say_why(error)})",
                    "transformers and a SigLIP checkpoint",
                    'Install transformers and give a checkpoint\'s folder, or use "pixels".',
                )
            ) from error
        return cls(vision, global_token)

    def train(self, mode: bool = True) -> "SiglipEncoder":
        """Stays in eval mode, whatever model it is a part of."""
        return super().train(False)

    def tokens(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, H, W, 3) in 0..1, on the encoder's device → (B, 64, E), (B, E)."""
        seen = self.vision(
            pixel_values=siglip_pixels(frame, self.side).to(next(self.vision.parameters()).dtype)
        )
        patches = seen.last_hidden_state.float()
        rows = round(patches.shape[1] ** 0.5)
        cells = functional.adaptive_avg_pool2d(
            patches.transpose(1, 2).unflatten(2, (rows, rows)), GRID
        )
        whole = patches.mean(1) if self.global_token == "mean" else seen.pooler_output.float()
        return cells.flatten(2).transpose(1, 2), whole


def siglip_pixels(frame: Tensor, side: int) -> Tensor:
    """Frames (B, H, W, 3) in 0..1 → (B, 3, side, side) in -1..1, stretched to a square as SigLIP's
    processor does.

    Deviation: the processor resizes 8-bit pictures and rounds; this stays in float32.
    """
    square = functional.interpolate(
        frame.movedim(-1, 1), size=(side, side), mode="bicubic", antialias=True
    )
    return square.clamp(0, 1) * 2 - 1
