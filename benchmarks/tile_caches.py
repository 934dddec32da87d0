"""Memory of decoding a whole video in steps, by tiling: counted tensor by tensor, not measured.

    python -m benchmarks.tile_caches --json tile_caches.json

ComfyUI's decoder for Wan 2.1 in bf16, without data, over three steps of a clip; attention as a
fused kernel. `held` is what lies on the card between two steps, `peak` the most within one, `rest`
what lies in RAM, `moved` what crosses to the card, and again back, for each frame. All in GiB.
"""

import argparse
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.comfyui import find, start_here
from benchmarks.live_bytes import LiveBytes
from benchmarks.report import describe_run, finish
from sama_core.encoders.latent_space import Tiles, tile_boxes
from sama_core.geometry import ClipShape

SIZES = ((832, 480), (1280, 720))
STEPS = (1, 2, 2)
"""Latent frames of each; the third is like all that follow."""
FRAMES = 8
"""Of such a step."""


class Card:
    """A card without data: caches that rest in RAM are not counted on it."""

    def __init__(self, live: LiveBytes):
        self.live, self.resting, self.crossed = live, {}, 0

    def move(self, cache: list, device: torch.device) -> list:
        """In the place of `stepwise_decode.move`."""
        return [self._move(part, device) if torch.is_tensor(part) else part for part in cache]

    def _move(self, part: Tensor, device: torch.device) -> Tensor:
        moved = torch.empty_like(part)
        if device.type == "cpu":
            self.live.forget(moved)
            self.resting[id(moved)] = part.nbytes
        elif id(part) in self.resting:
            self.crossed += self.resting.pop(id(part))
        else:
            return part
        return moved


def count(width: int, height: int, tiled: bool, room: float) -> dict[str, float]:
    """What steps of a clip of (width, height) hold, with `room` bytes free beside a tile."""
    import comfy.ldm.modules.diffusionmodules.model as attention
    import comfy.ldm.wan.vae

    from sama_core.comfyui import stepwise_decode

    clip = ClipShape(1 + 4 * (sum(STEPS) - 1), height, width).latent()
    boxes = tile_boxes(clip.height, clip.width, Tiles()) if tiled else [(0, 999, 0, 999)]
    with torch.device("meta"):
        vae = comfy.ldm.wan.vae.WanVAE(96, 16, temperal_downsample=[False, True, True])
        vae = vae.to(torch.bfloat16)
    with (
        torch.no_grad(),
        patch.object(attention, "slice_attention", lambda q, k, v: torch.empty_like(v)),
        LiveBytes() as live,
        patch.object(stepwise_decode, "move", (card := Card(live)).move),
    ):
        core = stepwise_decode.SteppedCore(vae, clip.frames, lambda tile: room)
        for latents in STEPS:
            live.peak, card.crossed = live.now, 0
            core.begin_step(len(boxes))
            for number, (top, bottom, left, right) in enumerate(boxes):
                tile = torch.empty(
                    *(1, 16, latents, min(bottom, clip.height) - top),
                    min(right, clip.width) - left,
                    device="meta",
                    dtype=torch.bfloat16,
                )
                core.begin_tile(number)
                core.decode(tile)
                del tile
        return {
            "held": live.now / 2**30,
            "peak": live.peak / 2**30,
            "rest": sum(card.resting.values()) / 2**30,
            "moved": card.crossed / 2**30 / FRAMES,
        }


def main(arguments: list[str] | None = None) -> None:
    """Count all sizes and tilings, and finish the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the result there too")
    parser.add_argument("--comfyui", help="ComfyUI's folder; by default the one that is found")
    options = parser.parse_args(arguments)
    start_here(find(options.comfyui).folder)
    ways = {
        "whole": (False, 0),
        "tiles, with room": (True, float("inf")),
        "tiles, without room": (True, 0),
    }
    found = {
        f"{width}x{height}": {name: count(width, height, *way) for name, way in ways.items()}
        for width, height in SIZES
    }
    finish({"ran": describe_run(), "gib": found}, options.json)


if __name__ == "__main__":
    sys.exit(main())
