"""The example clips; `python -m sama_core.shapes.demo_clip --in-pack` writes them again.

`workflows/moving_shapes.mp4` shows a blue circle and a turning yellow triangle over mint checks,
`workflows/moving_shapes_49.mp4` three times as many frames of another such pair, over grey stripes.
They are drawn as training draws its scenes, and enlarged: resized to the model's 64x64, the clips
look like those that SAMA-Shapes was trained on.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from ..clip import resize_frame
from ..embedded import CLIP, LONG_CLIP
from .world import Scenes, render
from .world.draw import draw_scenes
from .world.scene import COLOURS, SHAPES

FRAMES, LONG_FRAMES, RATE = 17, 49, Fraction(12)
SIDE, SHOWN = 64, 256
"""Pixels of each side as drawn, and as written."""
SEEDS = {FRAMES: 734, LONG_FRAMES: 755}
"""By the number of frames. Chosen by eye: both objects move well, and stand out."""
QUALITY = {"crf": "14", "preset": "veryfast"}
"""H.264 options: visually lossless, and small."""


def demo_scene(frames: int = FRAMES) -> Scenes:
    """The scene of the clip of FRAMES or LONG_FRAMES, from training's own distribution.

    A red circle would stand out in it too.
    """
    generator = torch.Generator().manual_seed(SEEDS[frames])
    return draw_scenes(
        generator,
        pairs=torch.tensor([[_pair("blue", "circle"), _pair("yellow", "triangle")]]),
        present=torch.tensor([[True, True]]),
        frames=frames,
        beside=torch.tensor([_pair("red", "circle")]),
    )


def demo_frames(frames: int = FRAMES) -> list[np.ndarray]:
    """uint8 frames (SHOWN, SHOWN, 3) of that scene."""
    drawn = (render(demo_scene(frames), frames, SIDE, SIDE)[0] * 255).round().byte().numpy()
    return [resize_frame(frame, (0, 0, SIDE, SIDE), SHOWN, SHOWN) for frame in drawn]


def write_demo(path: Path, frames: int = FRAMES) -> None:
    """Write `demo_frames` as an H.264 mp4 without sound."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("h264", rate=RATE, options=QUALITY)
        video.width, video.height, video.pix_fmt = SHOWN, SHOWN, "yuv420p"
        for number, frame in enumerate(demo_frames(frames)):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))


def _pair(colour: str, shape: str) -> int:
    return list(COLOURS).index(colour) * len(SHAPES) + SHAPES.index(shape)


def main(arguments: list[str] | None = None) -> None:
    """The command: write the short clip to `--out FILE`, or both over the pack's own with
    `--in-pack`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sama_core.shapes.demo_clip",
        description="Draws the example clips of SAMA-Shapes and writes them as H.264 mp4.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="write the short clip to FILE")
    target.add_argument(
        "--in-pack",
        action="store_true",
        help=f"replace the pack's own workflows/{CLIP.name} and workflows/{LONG_CLIP.name}",
    )
    asked = parser.parse_args(arguments)
    if asked.in_pack:
        write_demo(LONG_CLIP, LONG_FRAMES)
    write_demo(CLIP if asked.in_pack else asked.out)


if __name__ == "__main__":
    main()
