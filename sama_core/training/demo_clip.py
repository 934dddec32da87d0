"""The clip in the pack: `python -m sama_core.training.demo_clip` writes `workflows/moving_shapes.mp4`.

A blue circle and a turning yellow triangle over mint checks, drawn as training draws them and enlarged: brought back to
the model's 64x64 it looks like the clips that SAMA-Shapes knows.
"""

from fractions import Fraction

import numpy as np
import torch

from .. import embedded
from ..clip import resize_frame, write_clip
from .data import Scenes, render
from .data.scene import COLOURS, SHAPES
from .data.worlds import draw_scenes

FRAMES, RATE = 17, Fraction(12)
SIDE, SHOWN = 64, 256
# Chosen by eye: both move well, and stand out.
SEED = 734


def demo_scene() -> Scenes:
    """The scene, from training's own distribution; a red circle would stand out in it too."""
    generator = torch.Generator().manual_seed(SEED)
    pairs = torch.tensor([[_pair("blue", "circle"), _pair("yellow", "triangle")]])
    return draw_scenes(generator, pairs, torch.tensor([[True, True]]), FRAMES,
                       beside=torch.tensor([_pair("red", "circle")]))


def demo_frames() -> list[np.ndarray]:
    """uint8 frames (SHOWN, SHOWN, 3)."""
    frames = (render(demo_scene(), FRAMES, SIDE, SIDE)[0] * 255).round().byte().numpy()
    return [resize_frame(frame, (0, 0, SIDE, SIDE), SHOWN, SHOWN) for frame in frames]


def _pair(colour: str, shape: str) -> int:
    return list(COLOURS).index(colour) * len(SHAPES) + SHAPES.index(shape)


if __name__ == "__main__":
    write_clip(embedded.CLIP, demo_frames(), RATE)
