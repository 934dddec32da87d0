"""Values that are no numbers end a run where they first come, with what cures them; nothing of them
is kept.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

from .graphs import long_edit, whole_edit

NAN = float("nan")


def spoil(monkeypatch, call: int, value: float = NAN):
    """The model's output holds `value` from its `call`-th call on. Returns the calls."""
    from sama_core.model.dit import SamaDiT

    calls, original = [], SamaDiT.forward

    def forward(self, *args, **kwargs):
        video, semantic = original(self, *args, **kwargs)
        calls.append(1)
        if len(calls) >= call:
            video[0, 0, 0, 0, 0] = value
        return video, semantic

    monkeypatch.setattr(SamaDiT, "forward", forward)
    return calls


def advanced(edit):
    return edit.custom(edit.add("SAMASigmas", steps=8, shift=5.0, denoise=1.0), cfg=1.0)


def anchor(edit):
    link = whole_edit(edit, steps=8, cfg=1.0)
    edit.nodes[link[0]]["class_type"] = "SAMAAnchorPreview"
    edit.nodes[link[0]]["inputs"] |= {"anchors": 1, "first_frame": 0}
    return link


NODES = {
    "KSampler": lambda edit: edit.ksampler(steps=8, cfg=1.0),
    "SamplerCustomAdvanced": advanced,
    "SAMAEdit": lambda edit: whole_edit(edit, steps=8, cfg=1.0),
    "SAMAAnchorPreview": anchor,
    "SAMALongEdit": lambda edit: long_edit(edit, steps=8, cfg=1.0),
}


@pytest.mark.parametrize("node", NODES)
def test_the_run_ends_at_the_step_that_spoils_it(comfyui, edit, store, monkeypatch, node):
    """Three calls of eight, and nothing is kept."""
    calls = spoil(monkeypatch, 3)
    result = comfyui.run(edit.nodes, keep=[NODES[node](edit)[0]])
    assert "sampling, step 3 of 8: got values that are no numbers" in result.errors[0]
    assert "Likely causes, in this order: (1)" in result.errors[0]
    assert len(calls) == 3
    assert store.entries() == []


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinite_values_end_it_too(comfyui, edit, monkeypatch, value):
    spoil(monkeypatch, 1, value)
    assert "step 1 of 3" in comfyui.run(edit.nodes, keep=[edit.ksampler()[0]]).errors[0]


def test_a_sampler_that_reports_no_step_is_caught_at_its_end(edit, monkeypatch):
    """Samplers of other packs may never call back."""
    import comfy.sample
    import comfy.samplers

    from sama_core.errors import SamplingError

    model, positive, negative = (
        edit.values(link) for link in (edit.model, edit.positive, edit.negative)
    )
    latent = edit.values(edit.latent)["samples"]
    silent = comfy.samplers.KSAMPLER(
        lambda model, noise, sigmas, extra_args=None, callback=None, disable=None: noise * NAN
    )
    with pytest.raises(SamplingError, match="at its end"), torch.inference_mode():
        comfy.sample.sample_custom(
            model,
            torch.randn_like(latent),
            1.0,
            silent,
            torch.tensor([1.0, 0.5, 0.0]),
            positive,
            negative,
            latent,
            disable_pbar=True,
            seed=1,
        )


def lora_file(comfyui, name: str, value: float) -> str:
    weight = "diffusion_model.blocks.1.self_attn.q"
    up = torch.ones(256, 2)
    up[3, 1] = value
    save_file(
        {f"{weight}.lora_A.weight": torch.ones(2, 256), f"{weight}.lora_B.weight": up},
        comfyui.models("loras") / name,
    )
    return name


def test_a_lora_of_nan_is_named_first(comfyui, edit):
    """Through core's loader, which checks nothing."""
    edit.patch(
        "LoraLoaderModelOnly",
        lora_name=lora_file(comfyui, "nan.safetensors", NAN),
        strength_model=1.0,
    )
    error = comfyui.run(edit.nodes, keep=[edit.ksampler()[0]]).errors[0]
    assert (
        "(1) a LoRA on the model holds such values itself (in diffusion_model.blocks.1.self_attn.q"
        in error
    )


def test_float16_that_overflows_is_told_to_be_bf16(comfyui, edit):
    """A head whose values pass 65504, computed in float16 through core's Model Compute Dtype; bf16
    cures it.
    """
    folder = comfyui.models("diffusion_models")
    weights = load_file(folder / edit.models.sama)
    weights["blocks.0.ffn.2.weight"] *= 3e4
    weights["blocks.0.ffn.2.bias"] += 7e4
    save_file(weights, folder / "overflows.safetensors", metadata=None)
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = "overflows.safetensors"
    plain = edit.model
    edit.patch("ModelComputeDtype", dtype="fp16")
    error = comfyui.run(edit.nodes, keep=[edit.ksampler(steps=1)[0]]).errors[0]
    assert (
        "(1) the model computes in float16, whose largest number is 65504: set Model Compute Dtype "
        "to bf16" in error
    )
    edit.model = plain
    edit.patch("ModelComputeDtype", dtype="bf16")
    assert edit.sample(steps=1)["video"].isfinite().all()


def test_what_is_given_is_checked_before_the_model_is_loaded(comfyui, edit, monkeypatch):
    """Text, source, latent, schedule: each by its name."""
    import comfy.sample
    import comfy.samplers

    from sama_core.errors import SamplingError

    calls = spoil(monkeypatch, 99)
    model, positive, negative = (
        edit.values(link) for link in (edit.model, edit.positive, edit.negative)
    )
    latent, sigmas = edit.values(edit.latent)["samples"], torch.tensor([1.0, 0.5, 0.0])

    def run(positive=positive, latent=latent, sigmas=sigmas):
        with torch.inference_mode():
            comfy.sample.sample_custom(
                model,
                torch.randn(latent.shape),
                1.0,
                comfy.samplers.sampler_object("euler"),
                sigmas,
                positive,
                negative,
                latent,
                disable_pbar=True,
                seed=1,
            )

    ((text, extra),) = positive
    cases = {
        "text conditioning": {"positive": [[text * NAN, extra]]},
        "latent": {"latent": latent + NAN},
        "sigmas": {"sigmas": sigmas * NAN},
        "source latent": {"positive": [[text, {**extra, "reference_latents": [latent + NAN]}]]},
    }
    for name, changes in cases.items():
        with pytest.raises(SamplingError, match=f"^{name}: got values that are no numbers"):
            run(**changes)
    assert calls == []


def test_frames_that_the_vae_spoils(comfyui, edit, monkeypatch):
    import comfy.sd

    original = comfy.sd.VAE.decode
    monkeypatch.setattr(
        comfy.sd.VAE, "decode", lambda self, *args, **kwargs: original(self, *args, **kwargs) * NAN
    )
    for node in (whole_edit(edit), long_edit(edit, keep_segments=False)):
        assert "decoded frames: got values" in comfyui.run(edit.nodes, keep=[node[0]]).errors[0]
        del edit.nodes[node[0]]


def test_an_entry_of_nan_counts_as_damaged(comfyui, edit, store, caplog):
    """Kept by an earlier version: it is removed and computed again."""
    from sama_core.long.store import checksum
    from sama_core.weights.write import write_safetensors

    node = long_edit(edit)
    first = edit.values(node)
    (entry,) = store.entries()
    latent = {"latent": load_file(entry.path)["latent"]}
    latent["latent"][0, 0, 0, 0, 0] = NAN
    write_safetensors(entry.path, latent, {"sha256": checksum(latent)})
    assert torch.equal(edit.values(node), first)
    assert "is damaged; it is computed again" in caplog.text
    assert load_file(store.entries()[0].path)["latent"].isfinite().all()


def test_the_next_run_is_whole(comfyui, edit, sampled, monkeypatch):
    with monkeypatch.context() as broken:
        spoil(broken, 2)
        assert not comfyui.run(edit.nodes, keep=[edit.ksampler(cfg=1.0)[0]]).ok
    assert torch.equal(edit.sample()["video"], sampled["video"])
