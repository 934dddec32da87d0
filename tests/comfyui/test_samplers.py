"""Every sampler and scheduler that runs a plain Wan model runs SAMA, in the real executor."""

import pytest
import torch

from ..harness.golden import assert_close, distance
from .graphs import Graph

# The list of ComfyUI 0.30.0; `test_the_list_is_complete` says when a core has others.
SAMPLERS = """euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 exp_heun_2_x0
exp_heun_2_x0_sde dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive dpmpp_2s_ancestral
dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde
dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm
ipndm ipndm_v deis res_multistep res_multistep_cfg_pp res_multistep_ancestral
res_multistep_ancestral_cfg_pp gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3
sa_solver sa_solver_pece ddim uni_pc uni_pc_bh2""".split()
SCHEDULERS = """simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic
kl_optimal""".split()
RANDOM = "ancestral sde ddpm lcm er_sde seeds sa_solver".split()


def test_the_list_is_complete(comfyui):
    import comfy.samplers

    assert set(comfy.samplers.KSampler.SAMPLERS) == set(SAMPLERS)
    assert set(comfy.samplers.KSampler.SCHEDULERS) == set(SCHEDULERS)


def wan_runs(comfyui, small, sampler: str) -> bool:
    """Whether this sampler gives a finite result on the same weights without SAMA's tensors."""
    graph = Graph()
    model = graph.add("UNETLoader", unet_name=small.wan, weight_dtype="default")
    clip = graph.add("SAMALoadTextEncoder", text_encoder_name=small.text_encoder)
    prompt = graph.add("CLIPTextEncode", clip=clip, text="a circle")
    latent = graph.add("EmptyHunyuanLatentVideo", width=32, height=32, length=5, batch_size=1)
    sampled = graph.add(
        "KSampler",
        model=model,
        positive=prompt,
        negative=prompt,
        latent_image=latent,
        seed=1,
        steps=3,
        cfg=5.0,
        sampler_name=sampler,
        scheduler="simple",
        denoise=1.0,
    )
    result = comfyui.run(graph.nodes, keep=[sampled[0]])
    return result.ok and bool(torch.isfinite(result.values[sampled[0]][0]["samples"]).all())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler(comfyui, small, edit, sampler):
    """Finite in both streams, another result than the noise, the video of the latent's shape."""
    assert wan_runs(comfyui, small, sampler), (
        "the plain Wan model must run, or the case says nothing"
    )
    out = edit.sample(sampler_name=sampler)
    assert out["video"].shape == (1, 16, 2, 4, 4)
    assert out["semantic"].shape == (1, 65, 48)
    for stream in out.values():
        assert torch.isfinite(stream).all()
        assert stream.std() > 0.01


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scheduler(edit, scheduler):
    out = edit.sample(scheduler=scheduler)
    assert all(torch.isfinite(stream).all() for stream in out.values())


def test_the_same_seed_gives_the_same_edit_and_another_seed_another(edit, sampled):
    """The semantic noise is seeded too; the released script leaves it to chance."""
    again = edit.sample()
    for name, stream in sampled.items():
        assert torch.equal(again[name], stream)
    other = edit.sample(seed=2)
    for name, stream in sampled.items():
        assert distance(other[name], stream)[0] > 0.1


def test_ancestral_noise_reaches_the_semantic_stream(edit, sampled):
    assert (
        distance(edit.sample(sampler_name="euler_ancestral")["semantic"], sampled["semantic"])[0]
        > 0.01
    )


def test_cfg_1_is_the_positive_prompt_alone(edit):
    """The negative conditioning is not evaluated: another one changes nothing."""
    out = edit.sample(cfg=1.0)
    swapped = edit.sample(cfg=1.0, negative=edit.positive)
    assert torch.equal(out["video"], swapped["video"])
    assert distance(out["video"], edit.sample(cfg=5.0)["video"])[0] > 1e-3


def test_custom_sampling_with_our_sigmas_equals_ksampler(edit, sampled):
    """SamplerCustomAdvanced with SAMA Sigmas: `simple` differs from it at 3 steps by table rounding
    alone.
    """
    both = edit.values(edit.custom(edit.add("SAMASigmas", steps=3, shift=5.0, denoise=1.0)))[
        "samples"
    ]
    assert_close(both, sampled["video"], rel_l2=5e-3)


def test_partial_denoise_sigmas(edit):
    """`denoise` runs the end of a longer schedule, as KSampler's does."""
    from sama_core.model.schedule import flow_sigmas

    sigmas = edit.values(edit.add("SAMASigmas", steps=4, shift=5.0, denoise=0.5))
    assert torch.equal(sigmas, flow_sigmas(8)[-5:])


def test_an_item_of_a_batch_can_be_made_again_alone(edit):
    """RepeatLatentBatch and LatentFromBatch: the same seed gives the third item by itself, tokens
    included.
    """
    batch = edit.add("RepeatLatentBatch", samples=edit.latent, amount=3)
    third = edit.add("LatentFromBatch", samples=batch, batch_index=2, length=1)
    whole, alone = edit.sample(latent_image=batch), edit.sample(latent_image=third)
    for name in ("video", "semantic"):
        assert_close(alone[name], whole[name][2:], rel_l2=1e-5)
    assert distance(whole["semantic"][2:], whole["semantic"][:1])[0] > 0.5


def test_the_semantic_noise_of_a_seed_is_the_same_at_every_size(comfyui):
    """So a draft of one frame plans like the full edit."""
    import comfy.sample

    from sama_core.model.semantic import semantic_noise

    noises = [
        semantic_noise((65, 48), 5, comfy.sample.prepare_noise(torch.zeros(1, 16, *size), 5))
        for size in ((1, 4, 4), (3, 8, 12), (21, 60, 104))
    ]
    assert torch.equal(noises[0], noises[1])
    assert torch.equal(noises[0], noises[2])


def test_negative_without_a_source(edit):
    """Guidance towards the source: the negative prompt keeps the text and drops the reference
    latent.
    """
    prompts = edit.add("SAMAInstruction", clip=edit.clip, instruction="blue", edit_tag=True)
    out = edit.sample(negative=prompts)
    assert all(torch.isfinite(stream).all() for stream in out.values())
