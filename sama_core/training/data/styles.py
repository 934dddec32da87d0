"""Global looks of a clip: pure functions on frames (B, 3, F, H, W) in 0..1, in the order of scene.STYLES."""

import torch
import torch.nn.functional as functional

# ITU-R BT.601 luma weights.
LUMA = (0.299, 0.587, 0.114)
PAPER, PENCIL = 0.96, 0.85


def normal(frames: torch.Tensor) -> torch.Tensor:
    return frames


def greyscale(frames: torch.Tensor) -> torch.Tensor:
    return luma(frames).expand_as(frames)


def sepia(frames: torch.Tensor) -> torch.Tensor:
    """An old photograph: luma from dark brown to cream."""
    dark, light = (torch.tensor(colour, device=frames.device, dtype=frames.dtype).view(3, 1, 1, 1)
                   for colour in ((0.20, 0.09, 0.02), (1.00, 0.88, 0.64)))
    return dark + (light - dark) * luma(frames)


def negative(frames: torch.Tensor) -> torch.Tensor:
    return 1 - frames


def sketch(frames: torch.Tensor) -> torch.Tensor:
    """Soft pencil lines on paper where the picture changes, in any channel."""
    batch, channels, count, height, width = frames.shape
    planes = functional.pad(frames.transpose(1, 2).reshape(-1, channels, height, width), (2, 2, 2, 2), "replicate")
    soft = functional.avg_pool2d(planes, 3, 1)
    across = soft[..., 1:-1, 2:] - soft[..., 1:-1, :-2]
    down = soft[..., 2:, 1:-1] - soft[..., :-2, 1:-1]
    edge = (across.square() + down.square()).sum(1, keepdim=True).sqrt()
    drawn = PAPER - PENCIL * (1.6 * edge).clamp(max=1)
    return drawn.view(batch, count, 1, height, width).transpose(1, 2).expand_as(frames)


def luma(frames: torch.Tensor) -> torch.Tensor:
    """(B, 1, F, H, W) brightness."""
    weights = torch.tensor(LUMA, device=frames.device, dtype=frames.dtype).view(3, 1, 1, 1)
    return (frames * weights).sum(1, keepdim=True)


LOOKS = {"normal": normal, "greyscale": greyscale, "sepia": sepia, "negative": negative, "sketch": sketch}
