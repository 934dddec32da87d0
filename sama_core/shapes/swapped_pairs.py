"""Pairs of an edit that SAMA-Shapes has not learned: red and blue are swapped.

    python -m sama_core.shapes.swapped_pairs --out FOLDER [--count 12] [--seed 5]
    python -m sama_core.shapes.swapped_pairs --in-pack

The first writes a folder of pairs as training reads it; the second the two clips of the workflow
that trains a LoRA, with twelve pairs behind each other. Every scene has a red and a blue object;
swapped are the red and the blue of every pixel, so that grounds change too.
"""

import argparse
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from ..clip import resize_frame
from ..embedded import SWAP_SOURCE, SWAP_TARGET
from .world import render
from .world.draw import draw_scenes
from .world.scene import COLOURS, SHAPES

INSTRUCTION = "swap red and blue"
FRAMES, SIDE, RATE = 17, 64, Fraction(12)
SHOWN = 128
"""Pixels of each side as written: colours have half as many in an mp4 that every player shows."""
COUNT, SEED = 12, 5
QUALITY = {"crf": "16", "preset": "slow"}
"""H.264 options: visually lossless, and small."""


def draw_pairs(count: int = COUNT, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Clips (count, 17, 64, 64, 3) in 0…1 before and after; other seeds give other scenes."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(len(SHAPES), (count, 2), generator=generator)
    colours = torch.tensor([list(COLOURS).index(name) for name in ("red", "blue")])
    present = torch.ones(count, 2, dtype=torch.bool)
    source = render(draw_scenes(generator, colours * len(SHAPES) + kinds, present, FRAMES), FRAMES)
    return source, source.flip(-1)


def write_clip(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Write uint8 frames (64, 64, 3) as an H.264 mp4, enlarged."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("h264", rate=RATE, options=QUALITY)
        video.width, video.height, video.pix_fmt = SHOWN, SHOWN, "yuv420p"
        for number, frame in enumerate(frames):
            large = resize_frame(frame, (0, 0, SIDE, SIDE), SHOWN, SHOWN)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(large), format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))


def write_joined(source: Path, target: Path, count: int = COUNT, seed: int = SEED) -> None:
    """Write all pairs behind each other, as one clip before and one after."""
    for path, clips in zip((source, target), draw_pairs(count, seed), strict=True):
        write_clip(path, _to_bytes(clips.flatten(0, 1)))


def write_folder(folder: Path, count: int = COUNT, seed: int = SEED) -> None:
    """Write `NN_source.mp4`, `NN_target.mp4` and `NN.txt` of every pair."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(zip(*draw_pairs(count, seed), strict=True), 1):
        for name, clip in zip(("source", "target"), pair, strict=True):
            write_clip(folder / f"{number:02}_{name}.mp4", _to_bytes(clip))
        (folder / f"{number:02}.txt").write_text(INSTRUCTION, encoding="utf-8")


def _to_bytes(clip: Tensor) -> np.ndarray:
    return (clip * 255).round().byte().numpy()


def main(arguments: list[str] | None = None) -> None:
    """The command, see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m sama_core.shapes.swapped_pairs",
        description="Draws pairs of clips with red and blue swapped, and writes them as mp4.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FOLDER", help="write a folder of pairs")
    target.add_argument("--in-pack", action="store_true", help="replace the workflow's two clips")
    parser.add_argument("--count", type=int, default=COUNT, help="pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="which (default: %(default)s)")
    asked = parser.parse_args(arguments)
    if asked.in_pack:
        write_joined(SWAP_SOURCE, SWAP_TARGET)
    else:
        write_folder(asked.out, asked.count, asked.seed)


if __name__ == "__main__":
    main()
