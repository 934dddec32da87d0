"""Operations of Wan 2.1's VAE for a clip, beside those of one call of SAMA-14B: counted, not timed.

    python -m benchmarks.vae_work --json vae_work.json

Convolutions and matrix products of the official width, counted by torch on tensors without data.
"""

import argparse
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import describe_run, finish
from sama_core.encoders.vae import WanVae
from sama_core.geometry import ClipShape
from sama_core.plan.request import forward_flops
from sama_core.plan.weight_bytes import RELEASED_CONFIG

WIDTH = 96
CLIPS = (ClipShape(81, 480, 832), ClipShape(81, 288, 480), ClipShape(17, 480, 832))


def count(clip: ClipShape) -> dict[str, float]:
    """PFLOP to encode and to decode a clip, and those of one call of the model."""
    with torch.device("meta"):
        vae = WanVae(WIDTH)
        latent = clip.latent()
        frames = torch.empty(1, 3, clip.frames, clip.height, clip.width)
        video = torch.empty(1, 16, latent.frames, latent.height, latent.width)
    counted = {}
    for name, run, given in (("encode", vae.encode, frames), ("decode", vae.decode, video)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run(given)
        counted[name] = counter.get_total_flops() / 1e15
    return {**counted, "call": forward_flops(RELEASED_CONFIG, latent).total / 1e15}


def main(arguments: list[str] | None = None) -> None:
    """Count all clips and finish the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args(arguments)
    clips = {f"{clip.frames} frames of {clip.width}x{clip.height}": count(clip) for clip in CLIPS}
    finish({"ran": describe_run(), "pflop": clips}, options.json)


if __name__ == "__main__":
    main()
