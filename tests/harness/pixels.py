"""The release's conversion between 8-bit frames and the VAE's range −1…1, in whatever dtype it
runs.

Source: release `preprocess_image` and `vae_output_to_image`. Deviation: inside ComfyUI its own VAE
class converts, in float32 and to 0…1; what SAMA Finish Video gives is rounded when it is saved, not
truncated.
"""

import torch
from torch import Tensor


def to_signed(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 frames of any shape → −1…1 in `dtype`.

    Cast first, then · 2/255, then − 1, each in that dtype.
    """
    return frames.to(dtype) * (2 / 255) - 1


def to_uint8(signed: Tensor) -> Tensor:
    """−1…1 → uint8: (x + 1) · 127.5 in x's dtype, clipped to 0…255, truncated."""
    return ((signed + 1) * 127.5).clip(0, 255).to(torch.uint8)
