"""Runs in two stages continue both streams; where the semantic tokens are lost the user is told."""

import pytest
import torch

from ..harness.golden import assert_close, distance
from .graphs import output, streams

SAME = 2e-6


def advanced(edit, latent, start: int, end: int, add_noise: bool, leftover: bool) -> list:
    """A KSamplerAdvanced over steps `start` to `end` of four."""
    return edit.add(
        "KSamplerAdvanced",
        model=edit.model,
        positive=edit.positive,
        negative=edit.negative,
        latent_image=latent,
        add_noise="enable" if add_noise else "disable",
        noise_seed=1,
        steps=4,
        cfg=5.0,
        sampler_name="euler",
        scheduler="simple",
        start_at_step=start,
        end_at_step=end,
        return_with_leftover_noise="enable" if leftover else "disable",
    )


def test_two_advanced_samplers_equal_one(edit, caplog):
    """KSamplerAdvanced start/end steps, directly connected."""
    whole = streams(edit.values(advanced(edit, edit.latent, 0, 4, True, False)))
    first = advanced(edit, edit.latent, 0, 2, True, True)
    both = streams(edit.values(advanced(edit, first, 2, 4, False, False)))
    for name, stream in whole.items():
        assert_close(both[name], stream, rel_l2=SAME)
    assert "carries no semantic tokens" not in caplog.text


def test_three_stages_of_split_sigmas_with_disabled_noise(edit):
    """SplitSigmas chains through SamplerCustomAdvanced; both its outputs are 5-D videos."""
    sigmas = edit.add("SAMASigmas", steps=6, shift=5.0, denoise=1.0)
    whole = streams(edit.values(edit.custom(sigmas)))
    first = edit.add("SplitSigmas", sigmas=sigmas, step=2)
    second = edit.add("SplitSigmas", sigmas=output(first, 1), step=2)
    latent = edit.custom(first)
    for part in (second, output(second, 1)):
        latent = edit.custom(part, noise=edit.add("DisableNoise"), latent=latent)
    out = streams(edit.values(latent))
    for name, stream in whole.items():
        assert_close(out[name], stream, rel_l2=SAME)
    denoised = edit.values(output(latent, 1))["samples"]
    assert denoised.shape == out["video"].shape


def lose(edit, latent) -> list:
    """A node that makes a new latent tensor, as save, upscale and batch nodes do."""
    return edit.add(
        "LatentFlip",
        samples=edit.add("LatentFlip", samples=latent, flip_method="x-axis: vertically"),
        flip_method="x-axis: vertically",
    )


def test_lost_tokens_are_told_and_change_the_result(edit, caplog):
    whole = streams(edit.values(advanced(edit, edit.latent, 0, 4, True, False)))
    lost = lose(edit, advanced(edit, edit.latent, 0, 2, True, True))
    out = streams(edit.values(advanced(edit, lost, 2, 4, False, False)))
    assert "carries no semantic tokens" in caplog.text
    assert "SAMA Join Latent" in caplog.text
    assert distance(out["semantic"], whole["semantic"])[0] > 0.1


def test_split_and_join_keep_them(edit, caplog):
    """The explicit nodes carry the tokens round a node that loses them."""
    whole = streams(edit.values(advanced(edit, edit.latent, 0, 4, True, False)))
    split = edit.add("SAMASplitLatent", latent=advanced(edit, edit.latent, 0, 2, True, True))
    joined = edit.add("SAMAJoinLatent", video=lose(edit, split), semantic=output(split, 1))
    out = streams(edit.values(advanced(edit, joined, 2, 4, False, False)))
    for name, stream in whole.items():
        assert_close(out[name], stream, rel_l2=SAME)
    assert "carries no semantic tokens" not in caplog.text


def test_the_split_video_is_clean_and_the_sampled_latent_untouched(edit):
    split = edit.add("SAMASplitLatent", latent=edit.ksampler())
    result = edit.comfyui.run(edit.nodes, keep=[split[0], str(int(split[0]) - 1)]).check()
    video, semantic = result.values[split[0]]
    sampled = result.values[str(int(split[0]) - 1)][0]
    assert streams(video)["semantic"] is None
    assert torch.equal(streams(sampled)["semantic"], semantic)
    assert torch.equal(video["samples"], sampled["samples"])


def test_splitting_a_latent_without_tokens_is_refused(edit):
    split = edit.add("SAMASplitLatent", latent=edit.latent)
    result = edit.comfyui.run(edit.nodes, keep=[split[0]])
    assert not result.ok
    assert "a latent without semantic tokens" in result.errors[0]


def test_partial_denoise_of_a_finished_edit_continues_its_tokens(edit, caplog):
    """A second pass at denoise 0.5 on the sampler's own output is no loss."""
    edit.sample(latent_image=edit.ksampler(), denoise=0.5)
    assert "carries no semantic tokens" not in caplog.text
    assert "holds no source video" not in caplog.text


def test_a_run_without_a_source_is_told(edit, caplog):
    prompts = edit.add("SAMAInstruction", clip=edit.clip, instruction="a red circle", edit_tag=True)
    out = edit.sample(positive=prompts, negative=output(prompts, 1))
    assert torch.isfinite(out["video"]).all()
    assert "holds no source video" in caplog.text


def test_partial_denoise_of_the_source_is_told(edit, caplog):
    """The source has no tokens yet: they start from noise at a low noise level."""
    edit.sample(latent_image=edit.source_latent, denoise=0.5)
    assert "starts below full noise" in caplog.text


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "uni_pc", "res_multistep"])
def test_a_nested_tensor_gives_the_same_result(comfyui, edit, sampler):
    """Core's NestedTensor of both streams is the same flat state: bit for bit the same samples."""
    import comfy.nested_tensor
    import comfy.sample
    import comfy.samplers

    from sama_core.comfyui.streams import carried_semantic
    from sama_core.model.semantic import semantic_noise

    model, positive, negative = (
        edit.values(link) for link in (edit.model, edit.positive, edit.negative)
    )
    latent = edit.values(edit.latent)["samples"]
    noise = comfy.sample.prepare_noise(latent, 1)
    sigmas = edit.values(edit.add("SAMASigmas", steps=3, shift=5.0, denoise=1.0))
    tokens = semantic_noise((65, 48), 1, noise)
    nested = comfy.nested_tensor.NestedTensor

    def run(noise, latent):
        with torch.inference_mode():
            return comfy.sample.sample_custom(
                model,
                noise,
                5.0,
                comfy.samplers.sampler_object(sampler),
                sigmas,
                positive,
                negative,
                latent,
                disable_pbar=True,
                seed=1,
            )

    plain = run(noise, latent)
    video, semantic = run(
        nested([noise, tokens]), nested([latent, torch.zeros_like(tokens)])
    ).unbind()
    assert torch.equal(video, plain)
    assert torch.equal(semantic, carried_semantic(plain))
