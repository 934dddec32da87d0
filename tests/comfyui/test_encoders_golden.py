"""ComfyUI's own umT5 and Wan VAE, and the whole pipeline, against the official code."""

import pytest
import torch

from ..harness.golden import assert_close
from ..harness.pixels import to_signed, to_uint8

# --- umT5 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text_encoder(comfyui, golden, tmp_path_factory):
    """The golden umT5, written as an official `.pth` with a tokenizer beside it, and loaded by the
    pack.
    """
    from sama_core.comfyui.loaders import load_text_encoder

    from ..harness.untrained import TEXT, _tokenizer

    folder = tmp_path_factory.mktemp("official")
    torch.save(golden("t5_small").state_dict(), folder / "models_t5_umt5-small-enc.pth")
    (folder / "spiece.model").write_bytes(_tokenizer(TEXT.vocab_size))
    return load_text_encoder(str(folder / "models_t5_umt5-small-enc.pth"), dtype=torch.float32)


@pytest.mark.parametrize("case", ["case1", "case2_long", "case3_full"])
def test_umt5_embeddings(text_encoder, golden, case):
    """Ids → embeddings through core's own class; rows beyond the true length are exactly zero."""
    tensors = golden("t5_small")
    ids, length = tensors[f"{case}.ids"][0].tolist(), int(tensors[f"{case}.mask"].sum())
    tokens = {"umt5xxl": [[(token, 1.0) for token in ids]]}
    with torch.inference_mode():
        embeddings = text_encoder.encode_from_tokens(tokens)
    assert_close(embeddings, tensors[f"{case}.embeddings"], **tensors.limits(f"{case}.embeddings"))
    assert torch.count_nonzero(embeddings[:, length:]) == 0


@pytest.mark.parametrize("case", ["case1", "case3_full"])
def test_umt5_before_zeroing(text_encoder, golden, case):
    """The encoder's raw output, padding rows included."""
    tensors = golden("t5_small")
    transformer = text_encoder.cond_stage_model.umt5xxl.transformer
    with torch.inference_mode():
        raw = transformer(tensors[f"{case}.ids"], tensors[f"{case}.mask"])[0]
    assert_close(raw, tensors[f"{case}.raw"], **tensors.limits(f"{case}.raw"))


def test_umt5_relative_positions(comfyui, golden):
    """The bucket table, exactly."""
    from comfy.text_encoders.t5 import T5Attention

    tensors = golden("t5_small")
    buckets = T5Attention._relative_position_bucket(
        tensors["relative_position"], bidirectional=True, num_buckets=32, max_distance=128
    )
    assert torch.equal(buckets, tensors["relative_position_bucket"])


# --- VAE ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae(comfyui, golden, tmp_path_factory):
    """The golden Wan VAE through the pack's loader, in float32."""
    from safetensors.torch import save_file

    from sama_core.comfyui.loaders import load_vae

    path = tmp_path_factory.mktemp("vae") / "wan_small_vae.safetensors"
    save_file(golden("vae_small").state_dict("model."), path)
    return load_vae(str(path))


@pytest.fixture(scope="module")
def latent_format(comfyui):
    import comfy.latent_formats

    return comfy.latent_formats.Wan21()


def test_vae_constants(latent_format, golden):
    """Per-channel mean and deviation are the official ones."""
    tensors = golden("vae_small")
    assert torch.equal(latent_format.latents_mean.flatten(), tensors["mean"])
    assert torch.equal(latent_format.latents_std.flatten(), tensors["std"])
    assert torch.equal(1 / latent_format.latents_std.flatten(), tensors["inverse_std"])


CLIPS = ["video1_9x32x48", "video2_17x64x64", "image_1x24x40"]


@pytest.mark.parametrize("clip", CLIPS)
def test_vae_encode(vae, latent_format, golden, clip):
    """Frames → normalised latent, through ComfyUI's VAE."""
    tensors = golden("vae_small")
    with torch.inference_mode():
        latent = latent_format.process_in(vae.encode(tensors[f"{clip}.video_uint8"].float() / 255))
    assert_close(latent, tensors[f"{clip}.latents"], **tensors.limits("clip.latents"))


@pytest.mark.parametrize("clip", CLIPS)
def test_vae_decode(vae, latent_format, golden, clip):
    """Normalised latent → frames, through ComfyUI's VAE, which gives 0…1."""
    tensors = golden("vae_small")
    with torch.inference_mode():
        frames = vae.decode(latent_format.process_out(tensors[f"{clip}.latents"]))
    assert_close(
        frames.movedim(-1, 1) * 2 - 1, tensors[f"{clip}.decoded"], **tensors.limits("clip.decoded")
    )


TILED = {
    "video2_17x64x64": ("tiled_4x4_stride_2x2", (4, 4), (2, 2), 2),
    "image_1x24x40": ("tiled_2x3_stride_1x2", (2, 3), (1, 2), 1),
}


@pytest.mark.parametrize("clip", TILED)
def test_vae_reference_tiles(vae, latent_format, golden, clip):
    """The release's tiles round ComfyUI's encoder and decoder; it decodes unclamped tiles."""
    from sama_core.encoders.latent_space import Tiles, blend_tiles

    tensors = golden("vae_small")
    name, size, stride, frames = TILED[clip]
    pixels = to_signed(tensors[f"{clip}.video_uint8"]).movedim(-1, 0)[None]
    untiled, core = tensors[f"{clip}.latents"][:, :, :frames], vae.first_stage_model
    tiles = Tiles(size, stride)
    with torch.inference_mode():
        latent = blend_tiles(
            lambda tile: latent_format.process_in(core.encode(tile)), pixels, tiles, True
        )
        decoded = blend_tiles(
            lambda tile: core.decode(latent_format.process_out(tile)), untiled, tiles, False
        )
    assert_close(latent, tensors[f"{clip}.{name}.latents"], **tensors.limits("clip.latents"))
    assert_close(
        decoded.clamp(-1, 1), tensors[f"{clip}.{name}.decoded"], **tensors.limits("clip.decoded")
    )


# --- the whole pipeline ------------------------------------------------------------------------


def test_pipeline_end_to_end(comfyui, golden, text_encoder, vae, latent_format, monkeypatch):
    """Frames and token ids in, frames out: every stage against the official pipeline, float32
    timesteps.
    """
    import json

    import comfy.sample
    import comfy.samplers
    import comfy.sd

    from sama_core.comfyui import joint_state, streams
    from sama_core.comfyui.conditioning import attach_source
    from sama_core.comfyui.model import SamaModel
    from sama_core.encoders.latent_space import Tiles, blend_tiles
    from sama_core.model.schedule import flow_sigmas

    run, tiles = golden("pipeline_end_to_end"), Tiles((2, 4), (1, 2))
    monkeypatch.setattr(SamaModel, "process_timestep", lambda self, timestep, **kwargs: timestep)
    monkeypatch.setattr(
        joint_state, "semantic_noise", lambda *_: run["initial_semantic_noise"].clone()
    )
    metadata = {"config": json.dumps({"transformer": {"num_heads": 4}})}
    model = joint_state.prepare(
        comfy.sd.load_diffusion_model_state_dict(
            golden("dit_small").state_dict(), metadata=metadata
        )
    )

    with torch.inference_mode():
        prompts = []
        for name in ("positive", "negative"):
            tokens = {"umt5xxl": [[(token, 1.0) for token in run[f"{name}.ids"][0].tolist()]]}
            prompts.append(text_encoder.encode_from_tokens_scheduled(tokens))
            assert_close(prompts[-1][0][0], run[f"{name}.context"], **run.limits("context"))

        pixels = to_signed(run["source_frames"]).movedim(-1, 0)[None]
        source = blend_tiles(vae.first_stage_model.encode, pixels, tiles, True)
        assert_close(
            latent_format.process_in(source), run["source_latents"], **run.limits("source_latents")
        )

        positive, negative = (attach_source(prompt, source) for prompt in prompts)
        noise = comfy.sample.prepare_noise(torch.zeros(1, 16, 3, 4, 6), 1)
        assert torch.equal(noise, run["initial_noise"])
        out = comfy.sample.sample_custom(
            model,
            noise,
            5.0,
            comfy.samplers.sampler_object("euler"),
            flow_sigmas(4),
            positive,
            negative,
            torch.zeros_like(noise),
            disable_pbar=True,
            seed=1,
        )
        final = latent_format.process_in(out)
        assert_close(final, run["final_latents"], **run.limits("final_latents"))
        assert_close(
            streams.carried_semantic(out),
            run["final_semantic_latents"],
            **run.limits("final_latents"),
        )

        decoded = blend_tiles(
            lambda tile: vae.first_stage_model.decode(latent_format.process_out(tile)),
            final,
            tiles,
            False,
        ).clamp(-1, 1)
    assert_close(decoded, run["decoded_float"], **run.limits("decoded_float"))
    difference = (to_uint8(decoded[0].movedim(0, -1)).int() - run["output_frames"].int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 0.005
