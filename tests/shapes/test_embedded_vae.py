"""The trained VAE of the embedded model, through the pack's ordinary loader and ComfyUI's own class."""

from pathlib import Path

import torch

import sama_core

FILE = Path(sama_core.__file__).parent / "embedded" / "vae" / "sama_shapes_vae.safetensors"


def test_it_keeps_held_out_clips_at_30_db(comfyui):
    """Mean PSNR over 24 clips of 17 frames of the test split, and latents near zero mean and unit deviation."""
    import comfy.latent_formats

    from sama_core.comfyui.loaders import load_vae
    from sama_core.shapes.world import generator_for, render, sample_scenes

    vae = load_vae(str(FILE))
    clips = render(sample_scenes(generator_for(99, "test", 0), 24, 17, split="test"), 17, 64, 64)
    decibels, latents = [], []
    with torch.inference_mode():
        for clip in clips:
            latent = vae.encode(clip)
            latents.append(comfy.latent_formats.Wan21().process_in(latent))
            decibels.append(-10 * (vae.decode(latent)[0] - clip).square().mean().log10())
    latents = torch.cat(latents)
    assert torch.stack(decibels).mean() >= 30
    assert abs(latents.mean()) < 0.1
    assert 0.9 < latents.std() < 1.2
