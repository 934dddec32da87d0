"""The example clip in the pack; `python -m sama_core.shapes.demo_clip --in-pack` writes it again.

`workflows/moving_shapes.mp4` shows a blue circle and a turning yellow triangle over mint checks.
They are drawn as training draws its scenes, and enlarged: resized to the model's 64x64, the clip
looks like those that SAMA-Shapes was trained on.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from ..clip import resize_frame
from ..embedded import CLIP
from .world import Scenes, render
from .world.draw import draw_scenes
from .world.scene import COLOURS, SHAPES

FRAMES, RATE = 17, Fraction(12)
SIDE, SHOWN = 64, 256
"""Pixels of each side as drawn, and as written."""
SEED = 734
"""Chosen by eye: both objects move well, and stand out."""
QUALITY = {"crf": "14", "preset": "veryfast"}
"""H.264 options: visually lossless, and small."""


def demo_scene() -> Scenes:
    """The scene, from training's own distribution; a red circle would stand out in it too."""
    generator = torch.Generator().manual_seed(SEED)
    return draw_scenes(
        generator,
        pairs=torch.tensor([[_pair("blue", "circle"), _pair("yellow", "triangle")]]),
        present=torch.tensor([[True, True]]),
        frames=FRAMES,
        beside=torch.tensor([_pair("red", "circle")]),
    )


def demo_frames() -> list[np.ndarray]:
    """uint8 frames (SHOWN, SHOWN, 3)."""
    frames = (render(demo_scene(), FRAMES, SIDE, SIDE)[0] * 255).round().byte().numpy()
    return [resize_frame(frame, (0, 0, SIDE, SIDE), SHOWN, SHOWN) for frame in frames]


def write_demo(path: Path) -> None:
    """Write `demo_frames` as an H.264 mp4 without sound."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("h264", rate=RATE, options=QUALITY)
        video.width, video.height, video.pix_fmt = SHOWN, SHOWN, "yuv420p"
        for number, frame in enumerate(demo_frames()):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))


def _pair(colour: str, shape: str) -> int:
    return list(COLOURS).index(colour) * len(SHAPES) + SHAPES.index(shape)


def main(arguments: list[str] | None = None) -> None:
    """The command: write the clip to `--out FILE`, or over the pack's own with `--in-pack`."""
    parser = argparse.ArgumentParser(
        prog="python -m sama_core.shapes.demo_clip",
        description="Draws the example clip of SAMA-Shapes and writes it as an H.264 mp4.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="write the clip to FILE")
    target.add_argument(
        "--in-pack", action="store_true", help=f"replace the pack's own workflows/{CLIP.name}"
    )
    asked = parser.parse_args(arguments)
    write_demo(CLIP if asked.in_pack else asked.out)


if __name__ == "__main__":
    main()
