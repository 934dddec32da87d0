"""ComfyUI's real sampler on the golden weights gives the official loop's latents, both streams."""

import json

import pytest
import torch

from ..harness.golden import assert_close

LIMIT = 5e-5


@pytest.fixture(scope="module")
def model(comfyui, golden):
    """The golden DiT as a prepared ModelPatcher; the file's metadata has its head size (24)."""
    import comfy.sd

    from sama_core.comfyui.joint_state import prepare

    metadata = {"config": json.dumps({"transformer": {"num_heads": 4}})}
    return prepare(
        comfy.sd.load_diffusion_model_state_dict(
            golden("dit_small").state_dict(), metadata=metadata
        )
    )


@pytest.fixture(scope="module")
def loop(golden, model):
    """Conditioning and noise of the golden run, in ComfyUI's form."""
    tensors = golden("sampling_small")
    source = model.model.latent_format.process_out(tensors["source_latents"])
    return {
        "noise": tensors["initial_noise"].clone(),
        "semantic_noise": tensors["initial_semantic_noise"].clone(),
        "positive": [[tensors["context_positive"].clone(), {"reference_latents": [source]}]],
        "negative": [[tensors["context_negative"].clone(), {"reference_latents": [source]}]],
    }


def denoise(model, loop, steps: int, cfg: float, nested: bool, monkeypatch=None, sigmas=None):
    """Run ComfyUI's euler; returns (video, semantic) after every step, in normalised latents."""
    import comfy.nested_tensor
    import comfy.sample
    import comfy.samplers

    from sama_core.comfyui import joint_state, streams
    from sama_core.model.schedule import flow_sigmas

    sigmas = flow_sigmas(steps) if sigmas is None else sigmas
    noise, latent = loop["noise"], torch.zeros_like(loop["noise"])
    if nested:
        noise = comfy.nested_tensor.NestedTensor([noise, loop["semantic_noise"]])
        latent = comfy.nested_tensor.NestedTensor(
            [latent, torch.zeros_like(loop["semantic_noise"])]
        )
    else:
        monkeypatch.setattr(
            joint_state, "semantic_noise", lambda *_: loop["semantic_noise"].clone()
        )
    out = comfy.sample.sample_custom(
        model,
        noise,
        cfg,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        loop["positive"],
        loop["negative"],
        latent,
        disable_pbar=True,
        seed=1,
    )
    video, semantic = out.unbind() if nested else (out, streams.carried_semantic(out))
    return model.model.latent_format.process_in(video), semantic


@pytest.mark.parametrize("nested", [False, True], ids=["plain latent", "NestedTensor"])
def test_whole_loop_equals_the_official_one(model, loop, golden, monkeypatch, nested):
    """Six steps, cfg 5, timestep rounded to bfloat16 as the model was trained."""
    tensors = golden("sampling_small")
    with torch.inference_mode():
        video, semantic = denoise(model, loop, 6, 5.0, nested, monkeypatch)
    assert_close(video, tensors["timestep_bf16_value.latents_after_step6"], rel_l2=LIMIT)
    assert_close(
        semantic, tensors["timestep_bf16_value.semantic_latents_after_step6"], rel_l2=LIMIT
    )


@pytest.mark.parametrize("step", range(1, 6))
def test_every_step_equals_the_official_one(model, loop, golden, monkeypatch, step):
    """A run that ends after `step` of six steps: the state left at that noise level."""
    from sama_core.model.schedule import flow_sigmas

    tensors, sigmas = golden("sampling_small"), flow_sigmas(6)[: step + 1]
    with torch.inference_mode():
        video, semantic = denoise(model, loop, 6, 5.0, False, monkeypatch, sigmas)
    # ComfyUI returns a state at sigma > 0 divided by (1 - sigma).
    left = 1 - sigmas[-1]
    assert_close(
        video * left, tensors[f"timestep_bf16_value.latents_after_step{step}"], rel_l2=LIMIT
    )
    assert_close(
        semantic * left,
        tensors[f"timestep_bf16_value.semantic_latents_after_step{step}"],
        rel_l2=LIMIT,
    )


@pytest.mark.parametrize("steps", [4, 8, 10])
def test_simple_scheduler_equals_the_reference_loop(
    comfyui, model, loop, golden, monkeypatch, steps
):
    """`simple` at shift 5 gives the official sigmas where the step count divides 1000."""
    import comfy.samplers

    from sama_core import SamaDiT
    from sama_core.model.schedule import denoise as reference
    from sama_core.model.schedule import flow_sigmas

    simple = comfy.samplers.calculate_sigmas(
        model.get_model_object("model_sampling"), "simple", steps
    )
    torch.testing.assert_close(simple, flow_sigmas(steps), rtol=0, atol=1e-7)
    with torch.inference_mode():
        video, semantic = denoise(model, loop, steps, 5.0, False, monkeypatch, simple)
    tensors, core = (
        golden("sampling_small"),
        SamaDiT.from_state_dict(golden("dit_small").state_dict(), num_heads=4),
    )
    expected = reference(
        core,
        tensors["initial_noise"],
        tensors["initial_semantic_noise"],
        tensors["context_positive"],
        tensors["context_negative"],
        tensors["source_latents"],
        flow_sigmas(steps),
    )
    assert_close(video, expected[0], rel_l2=LIMIT)
    assert_close(semantic, expected[1], rel_l2=LIMIT)


def test_without_guidance(model, loop, golden, monkeypatch):
    """cfg 1 never evaluates the negative prompt; the reference here keeps float32 timesteps."""
    from sama_core.comfyui.model import SamaModel

    monkeypatch.setattr(SamaModel, "process_timestep", lambda self, timestep, **kwargs: timestep)
    tensors = golden("sampling_small")
    with torch.inference_mode():
        video, semantic = denoise(
            model,
            {**loop, "negative": [[torch.full((1, 1, 32), float("nan")), {}]]},
            3,
            1.0,
            False,
            monkeypatch,
        )
    assert_close(video, tensors["cfg1_3steps.final_latents"], rel_l2=LIMIT)
    assert_close(semantic, tensors["cfg1_3steps.final_semantic_latents"], rel_l2=LIMIT)


def test_batch_sample_0_equals_a_batch_of_one(model, loop, monkeypatch):
    """The semantic noise is drawn sample after sample, so a batch starts like a single run."""
    import comfy.sample
    import comfy.samplers

    from sama_core.comfyui.streams import carried_semantic
    from sama_core.model.schedule import flow_sigmas

    def run(batch):
        noise = loop["noise"].repeat(batch, 1, 1, 1, 1)
        if batch > 1:
            noise[1:] = noise[1:].flip(-1)
        return comfy.sample.sample_custom(
            model,
            noise,
            5.0,
            comfy.samplers.sampler_object("euler"),
            flow_sigmas(3),
            loop["positive"],
            loop["negative"],
            torch.zeros_like(noise),
            disable_pbar=True,
            seed=7,
        )

    with torch.inference_mode():
        one, two = run(1), run(2)
    assert_close(two[:1], one, rel_l2=LIMIT)
    assert_close(carried_semantic(two)[:1], carried_semantic(one), rel_l2=LIMIT)
    assert not torch.allclose(carried_semantic(two)[0], carried_semantic(two)[1])
