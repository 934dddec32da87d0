"""Core's EasyCache on SAMA: what a skipped step computes, and that the sampler's own state is left
alone.
"""

import torch

from ..harness.golden import assert_close
from .graphs import streams

STEPS = 8


def sample(comfyui, edit, model) -> dict:
    """A KSampler's run on `model`: euler, cfg 1, STEPS steps, seed 1 → both streams."""
    positive, negative, latent = (
        edit.values(link) for link in (edit.positive, edit.negative, edit.latent)
    )
    with torch.inference_mode():
        return streams(
            comfyui.node_class("KSampler")().sample(
                model, 1, STEPS, 1.0, "euler", "simple", positive, negative, latent
            )[0]
        )


def wrapped(model, wrapper):
    """A clone whose innermost DIFFUSION_MODEL wrapper is `wrapper`."""
    from comfy.patcher_extension import WrappersMP

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    return model


def test_a_wrapper_that_writes_into_its_input_does_not_reach_the_sampler(comfyui, edit):
    """EasyCache adds to its input in place.

    In float32 core hands the model the sampler's very tensor.
    """

    def spoil(executor, x, *args, **kwargs):
        out = executor(x, *args, **kwargs)
        x.zero_()
        return out

    model = edit.values(edit.model)
    plain, spoilt = sample(comfyui, edit, model), sample(comfyui, edit, wrapped(model, spoil))
    assert torch.equal(spoilt["video"], plain["video"])
    assert torch.equal(spoilt["semantic"], plain["semantic"])


def test_skipped_steps_follow_the_caches_own_formula(comfyui, edit):
    """v = x + (v − x of the last computed step), in euler's recurrence on the joint state."""
    from comfy.samplers import calculate_sigmas

    computed = {}

    def record(executor, x, timestep, context, options, **kwargs):
        out = executor(x, timestep, context, options, **kwargs)
        computed[options["sigmas"].item()] = x.clone(), out.clone()
        return out

    model = edit.values(edit.model)
    cached = comfyui.node_class("EasyCache").execute(model, 3.0, 0.0, 1.0, False).args[0]
    out = sample(comfyui, edit, wrapped(cached, record))
    assert 2 <= len(computed) <= STEPS // 2

    sigmas = calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    x, difference = computed[sigmas[0].item()][0], None
    for now, following in sigmas.unfold(0, 2, 1):
        if now.item() in computed:
            seen, velocity = computed[now.item()]
            assert_close(seen, x, rel_l2=1e-5)
            difference = velocity - x
        x = x + (x + difference) * (following - now)
    config = model.model.dit_config
    semantic = x[:, 0, -config.semantic_tokens * config.semantic_dim :].view_as(out["semantic"])
    video = x[:, 0, : -semantic.numel()].view_as(out["video"])
    assert_close(out["semantic"], semantic, rel_l2=1e-5)
    assert_close(out["video"], model.model.latent_format.process_out(video), rel_l2=1e-5)
