"""The trained VAE of the embedded model: its quality, and ComfyUI's class through our loader."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sama_core import embedded
from sama_core.encoders.latent_space import LatentSpace
from sama_core.encoders.vae import load_wan_vae
from sama_core.shapes.world import generator_for, render, sample_scenes

from ..harness.golden import assert_close


@pytest.fixture(scope="module")
def clips() -> Tensor:
    """24 clips of 17 frames of the test split."""
    scenes = sample_scenes(generator_for(99, "test", 0), 24, 17, split="test")
    return render(scenes, 17, 64, 64)


@pytest.fixture(scope="module")
def space() -> LatentSpace:
    vae = load_wan_vae(load_file(embedded.VAE)).eval()
    vae.skip_idle()
    return LatentSpace(vae)


@torch.inference_mode()
def test_it_keeps_held_out_clips_at_30_db(clips, space):
    """Mean PSNR, and latents near zero mean and unit deviation."""
    latents = torch.cat([space.encode(part) for part in clips.split(4)])
    shown = torch.cat([space.decode(part) for part in latents.split(4)]).clamp(0, 1)
    assert (-10 * (shown - clips).square().flatten(1).mean(1).log10()).mean() >= 30
    assert abs(latents.mean()) < 0.1
    assert 0.9 < latents.std() < 1.2


@torch.inference_mode()
def test_comfyui_gives_the_same_latents_and_clips(comfyui, clips, space):
    """Through the pack's ordinary loader: the quality measured above is that of ComfyUI."""
    import comfy.latent_formats

    from sama_core.comfyui.loaders import load_vae

    vae = load_vae(str(embedded.VAE))
    raw = vae.encode(clips[0])
    latents = space.encode(clips[:1])
    assert_close(comfy.latent_formats.Wan21().process_in(raw), latents, rel_l2=1e-4)
    assert_close(vae.decode(raw)[0], space.decode(latents)[0].clamp(0, 1), rel_l2=1e-4)
