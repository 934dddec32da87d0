"""The training VAE against the official one's golden tensors and ComfyUI's class."""

import pytest
import torch

from sama_core.encoders.vae import WanVae, load_wan_vae
from sama_core.encoders.vae_layout import LATENT_CHANNELS, WAN_MEAN, WAN_STD, vae_shapes
from sama_core.geometry import ClipShape, LatentShape

from ..harness.golden import assert_close, load_golden
from ..harness.untrained import vae

CASES = ("video1_9x32x48", "video2_17x64x64", "image_1x24x40")


@pytest.fixture(scope="module")
def golden_file():
    return load_golden("vae_small")


@pytest.fixture(scope="module")
def golden_vae(golden_file) -> WanVae:
    return load_wan_vae(golden_file.state_dict("model.")).eval()


@pytest.fixture(scope="module")
def limits(golden_file) -> dict:
    """The manifest's tolerance for `latents` and `decoded`."""
    entries = golden_file.manifest["suggested_tolerance"]
    return {
        kind: {key: entries[f"*.{kind}"][key] for key in ("rel_l2", "max_abs")}
        for kind in ("latents", "decoded")
    }


def video(golden_file, case: str) -> torch.Tensor:
    """(1, 3, T, H, W) in [-1, 1]."""
    return (golden_file[f"{case}.video_uint8"].float() * (2 / 255) - 1).movedim(-1, 0)[None]


@pytest.mark.parametrize("width", [4, 16])
def test_names_and_shapes_are_the_official_ones(width):
    found = {name: tuple(value.shape) for name, value in WanVae(width).state_dict().items()}
    assert found == vae_shapes(width)


@torch.inference_mode()
def test_sizes_are_geometrys():
    """The factors of space and time are stated in `geometry`, and here by the layers."""
    ours, clip = WanVae(4), ClipShape(9, 32, 48)
    latents = ours.encode(torch.zeros(1, 3, clip.frames, clip.height, clip.width))
    assert LatentShape(*latents.shape[2:]) == clip.latent()
    assert latents.shape[1] == LATENT_CHANNELS == len(WAN_MEAN) == len(WAN_STD)
    assert ClipShape(*ours.decode(latents).shape[2:]) == clip


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_encode_equals_golden(golden_file, golden_vae, limits, case):
    latents = golden_vae.encode(video(golden_file, case))
    shape = (1, -1, 1, 1, 1)
    normalised = (latents - golden_file["mean"].view(shape)) * golden_file["inverse_std"].view(
        shape
    )
    assert_close(normalised, golden_file[f"{case}.latents"], **limits["latents"])


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_decode_equals_golden(golden_file, golden_vae, limits, case):
    shape = (1, -1, 1, 1, 1)
    latents = golden_file[f"{case}.latents"] / golden_file["inverse_std"].view(shape) + golden_file[
        "mean"
    ].view(shape)
    assert_close(
        golden_vae.decode(latents).clamp(-1, 1), golden_file[f"{case}.decoded"], **limits["decoded"]
    )


@torch.inference_mode()
def test_equals_comfyui_on_a_clip(comfyui):
    """Random weights of width 8, 17 frames, both ways, beyond the clamp."""
    from comfy.ldm.wan.vae import WanVAE

    weights = vae(torch.Generator().manual_seed(3), width=8)
    theirs = WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True])
    theirs.load_state_dict(weights)
    ours = load_wan_vae(weights)
    clips = torch.rand(1, 3, 17, 32, 32, generator=torch.Generator().manual_seed(4)) * 2 - 1
    latents = theirs.encode(clips)
    assert_close(ours.encode(clips), latents, rel_l2=1e-5)
    assert_close(ours.decode(latents), theirs.decode(latents), rel_l2=1e-5)


@torch.inference_mode()
def test_reach_is_exact_where_it_says_so():
    """Skipping equals zero last weights; planar equals zero older taps."""
    ours = WanVae(4)
    clips = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(5)) * 2 - 1
    for name, value in ours.named_parameters():
        if ".residual." in name and value.ndim == 5:
            value[:, :, :-1] = 0
    full = ours.encode(clips)
    ours.set_reach("planar")
    assert_close(ours.encode(clips), full, rel_l2=1e-5)

    ours.set_reach("full")
    for name, value in ours.named_parameters():
        if ".residual.6." in name or ".proj." in name:
            value.zero_()
    full = ours.encode(clips)
    ours.set_reach("skip")
    assert_close(ours.encode(clips), full, rel_l2=1e-5)


def test_later_frames_do_not_change_earlier_ones():
    """Causality, the reason why a clip may be decoded in pieces."""
    ours = load_wan_vae(vae(torch.Generator().manual_seed(6), width=4))
    clips = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        assert_close(ours.encode(clips)[:, :, :2], ours.encode(clips[:, :, :5]), rel_l2=1e-5)
        latents = torch.randn(1, 16, 3, 2, 2, generator=torch.Generator().manual_seed(8))
        assert_close(ours.decode(latents)[:, :, :5], ours.decode(latents[:, :, :2]), rel_l2=1e-5)
