"""A SAMA of Wan 2.2's 48 channels in ComfyUI: the lattice comes from its file and from core."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from benchmarks.random_models import random_weights
from sama_core.geometry import LATTICES, WAN_21, WAN_22, LatentShape, Lattice
from sama_core.weights.checkpoint import model_shapes

from ..harness.untrained import DIT

SLOW = Lattice(channels=8, spatial=16, temporal=8, patch=(1, 1, 1))


@pytest.fixture(scope="module")
def model(comfyui):
    """A prepared model of 48 channels, as core's own loader makes it."""
    import comfy.sd

    from sama_core.comfyui.joint_state import prepare

    shapes = model_shapes(replace(DIT, in_dim=48, out_dim=48))
    weights = random_weights(shapes, torch.Generator().manual_seed(0))
    return prepare(comfy.sd.load_diffusion_model_state_dict(weights))


def test_lattices_are_those_of_cores_latent_formats(comfyui):
    import comfy.latent_formats

    formats = (comfy.latent_formats.Wan21, comfy.latent_formats.Wan22)
    for lattice, core in zip(LATTICES, formats, strict=True):
        factors = (core.spacial_downscale_ratio, core.temporal_downscale_ratio)
        assert (core.latent_channels, *factors) == (
            lattice.channels, lattice.spatial, lattice.temporal,
        )  # fmt: skip


def test_the_lattice_of_a_vae_is_that_of_core(comfyui, small):
    import comfy.sd

    from sama_core.comfyui.conditioning import lattice_of_vae

    loaded = comfyui.node_class("VAELoader")().load_vae(small.vae)[0]
    assert lattice_of_vae(loaded) == WAN_21
    wide = SimpleNamespace(
        latent_channels=48,
        upscale_ratio=(lambda frames: max(0, frames * 4 - 3), 16, 16),
        downscale_ratio=(lambda frames: max(0, (frames + 3) // 4), 16, 16),
    )
    for name in ("spacial_compression_encode", "temporal_compression_decode"):
        setattr(wide, name, getattr(comfy.sd.VAE, name).__get__(wide))
    assert lattice_of_vae(wide) == WAN_22


def test_a_model_of_48_channels_samples(model):
    import comfy.sample
    import comfy.samplers

    from sama_core.comfyui.conditioning import attach_source
    from sama_core.comfyui.model import lattice_of_model
    from sama_core.comfyui.streams import carried_semantic
    from sama_core.model.schedule import flow_sigmas

    assert lattice_of_model(model) == WAN_22 and lattice_of_model(None) == WAN_21
    assert model.model.latent_format.latent_channels == 48
    draw = torch.Generator().manual_seed(0)
    source = torch.randn(1, 48, 2, 2, 4, generator=draw)
    text = attach_source([[torch.randn(1, 6, 64, generator=draw), {}]], source)
    with torch.inference_mode():
        video = comfy.sample.sample_custom(
            model,
            comfy.sample.prepare_noise(source, 1),
            1.0,
            comfy.samplers.sampler_object("euler"),
            flow_sigmas(2),
            text,
            text,
            torch.zeros_like(source),
            disable_pbar=True,
            seed=1,
        )
    assert video.shape == source.shape and video.isfinite().all()
    assert carried_semantic(video).shape == (1, 65, 48)


def test_latents_of_other_channels_are_refused(model):
    from sama_core.comfyui.model import require_wan_latent
    from sama_core.errors import ConditioningError

    require_wan_latent(torch.zeros(1, 48, 1, 2, 2), "latent", model.model.lattice)
    for lattice, channels, need in (
        (WAN_22, 16, "a Wan 2.2 video latent with 48 channels"),
        (WAN_21, 48, "a Wan 2.1 video latent with 16 channels"),
    ):
        with pytest.raises(ConditioningError, match=need):
            require_wan_latent(torch.zeros(1, channels, 1, 2, 2), "latent", lattice)


def test_memory_is_that_of_the_models_own_tokens(model):
    from sama_core.model.memory_law import estimated_bytes

    needed = model.model.memory_required([1, 48, 3, 4, 6])
    latent = LatentShape(3, 4, 6, WAN_22)
    size = model.model.get_dtype_inference().itemsize
    assert needed >= estimated_bytes(model.model.dit_config, latent, 1, size) > 0


def test_segments_of_a_long_edit_follow_the_lattice(comfyui):
    from sama_core.comfyui.long_edit import LongSettings

    for lattice, segments in (
        (WAN_21, [slice(0, 17), slice(12, 29), slice(16, 33)]),
        (WAN_22, [slice(0, 17), slice(12, 29), slice(16, 33)]),
        (SLOW, [slice(0, 33), slice(24, 57), slice(32, 65)]),
    ):
        cut = LongSettings(segment=4 * lattice.temporal, overlap=4)
        planned = cut.plan(LatentShape(9, 2, 4, lattice))
        assert [each.frames for each in planned] == segments
