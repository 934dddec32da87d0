"""Fit the colours of live previews to SAMA-Shapes' VAE.

    python -m sama_core.shapes.codec.colour_fit

ComfyUI's live preview paints a pixel for each latent cell: a linear map of the cell's channels to
RGB in -1..1. Here that map is fitted by least squares to what the VAE decodes. A latent frame is
compared with the mean of its frames, shrunk to one pixel for each cell. It prints the constants for
`embedded.preview_colours`, and how near they and those of the pack come on other clips.
"""

import argparse

import torch
from safetensors.torch import load_file
from torch import Tensor

from ... import embedded
from ...embedded.preview_colours import BIAS, FACTORS
from ...encoders.latent_space import LatentSpace
from ...encoders.vae import load_wan_vae
from ...geometry import Lattice
from ..world import generator_for, render, sample_scenes

FRAMES, SIDE = 17, 64
CLIPS, SEED = 256, 4
TOGETHER = 8
"""Clips encoded at once."""


@torch.inference_mode()
def seen_and_shown(space: LatentSpace, split: str, clips: int, seed: int) -> tuple[Tensor, Tensor]:
    """Latent cells (n, C) of clips of the shapes' world, and the colours (n, 3) in -1..1 that the
    VAE decodes them to. Cells of a clip lie together, latent frame by latent frame.
    """
    cells, colours = [], []
    for step in range(clips // TOGETHER):
        scenes = sample_scenes(generator_for(seed, split, step), TOGETHER, FRAMES, split=split)
        latents = space.encode(render(scenes, FRAMES, SIDE, SIDE))
        cells.append(latents.movedim(1, -1).flatten(0, -2))
        colours.append(shrunk(space.decode(latents).clamp(0, 1), space.lattice).flatten(0, -2))
    return torch.cat(cells), torch.cat(colours) * 2 - 1


def shrunk(frames: Tensor, lattice: Lattice) -> Tensor:
    """Frames (B, F, H, W, 3) as a picture (B, T, H/8, W/8, 3) for each latent frame: the mean."""
    batch, count, height, width, _ = frames.shape
    side = lattice.spatial
    small = frames.reshape(batch, count, height // side, side, width // side, side, 3)
    small = small.mean((3, 5))
    later = small[:, 1:].unflatten(1, (-1, lattice.temporal)).mean(2)
    return torch.cat([small[:, :1], later], dim=1)


def fit(cells: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (C, 3) and bias (3,) with the least squared error."""
    ones = torch.ones(len(cells), 1)
    solved = torch.linalg.lstsq(torch.cat([cells, ones], dim=1), colours).solution
    return solved[:-1], solved[-1]


def decibels(cells: Tensor, colours: Tensor, factors: Tensor, bias: Tensor) -> float:
    """PSNR of the preview with these constants, of colours in 0..1 as it shows them."""
    error = (cells @ factors + bias).clamp(-1, 1) - colours
    return float(-10 * (error / 2).square().mean().log10())


def main() -> None:
    """Fit, and print constants and decibels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=CLIPS, help="clips to fit (default 256)")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the scenes (default 4)")
    options = parser.parse_args()
    vae = load_wan_vae(load_file(embedded.VAE)).eval()
    vae.skip_idle()
    space = LatentSpace(vae)
    factors, bias = fit(*seen_and_shown(space, "train", options.clips, options.seed))
    print("FACTORS =", [[round(value, 4) for value in row] for row in factors.tolist()])
    print("BIAS =", [round(value, 4) for value in bias.tolist()])
    held_out = seen_and_shown(space, "test", options.clips // 4, options.seed)
    for name, colours in (("this fit", (factors, bias)), ("the pack's", (FACTORS, BIAS))):
        psnr = decibels(*held_out, *(torch.as_tensor(part) for part in colours))
        print(f"{name}: {psnr:.2f} dB on {options.clips // 4} test clips")


if __name__ == "__main__":
    main()
