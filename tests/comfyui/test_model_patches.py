"""Nodes of core that patch a model bite on SAMA: CFG functions, caches, block patches, compile,
RoPE.
"""

import pytest
import torch

from ..harness.golden import distance
from .graphs import estimated_shapes

CFG_NODES = {
    "RescaleCFG": {"multiplier": 0.7},
    "CFGZeroStar": {},
    "CFGNorm": {"strength": 1.0, "pre_cfg": False},
    "APG": {"eta": 0.5, "norm_threshold": 5.0, "momentum": 0.0},
    "Mahiro": {},
    "TCFG": {},
    "FreSca": {"scale_low": 1.0, "scale_high": 1.5, "freq_cutoff": 1},
    "SkipLayerGuidanceDiT": {
        "double_layers": "0",
        "single_layers": "",
        "scale": 3.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
        "rescaling_scale": 0.0,
    },
}


@pytest.mark.parametrize("node", CFG_NODES)
def test_cfg_node(edit, sampled, node):
    """It changes the video, finitely; the semantic stream follows plain CFG on the same states."""
    out = edit.patch(node, **CFG_NODES[node]).sample()
    assert all(torch.isfinite(stream).all() for stream in out.values())
    assert distance(out["video"], sampled["video"])[0] > 1e-4


@pytest.mark.parametrize("node", CFG_NODES)
def test_cfg_node_at_cfg_1(edit, node):
    """Where core runs no negative, and later cores' nodes return early: finite in both streams, 5-D
    for the video.
    """
    out = edit.patch(node, **CFG_NODES[node]).sample(cfg=1.0)
    assert out["video"].shape == (1, 16, 2, 4, 4) and out["semantic"].shape == (1, 65, 48)
    assert all(torch.isfinite(stream).all() for stream in out.values())


@pytest.mark.parametrize("conds_out", ["one", "the second None", "none changed"])
def test_pre_cfg_functions_without_a_negative(comfyui, conds_out):
    """One prediction, or None in the negative's place: cores' two ways to say that cfg is 1."""
    from sama_core.comfyui.streams import JointShape
    from sama_core.comfyui.video_view import adapt_model_options

    shape, cond = JointShape((1, 1, 1, 2), (1, 3)), torch.full((1, 1, 5), 3.0)
    returned = {
        "one": [torch.ones(1, 1, 1, 1, 2)],
        "the second None": [torch.ones(1, 1, 1, 1, 2), None],
        "none changed": None,
    }[conds_out]
    options = {
        "sampler_pre_cfg_function": [
            lambda args: args["conds_out"] if returned is None else returned
        ],
        "sampler_cfg_function": lambda args: torch.zeros(1, 1, 1, 1, 2),
    }
    adapt_model_options(options, shape)
    given = [cond] if conds_out == "one" else [cond, None]
    first, *rest = options["sampler_pre_cfg_function"][0]({"conds_out": given, "input": cond})
    assert first.flatten().tolist() == ([3] * 5 if returned is None else [1, 1, 3, 3, 3])
    assert rest == given[1:]
    guided = options["sampler_cfg_function"](
        {"cond": cond, "uncond": None, "cond_scale": 1.0, "input": cond}
    )
    assert guided.flatten().tolist() == [0, 0, 3, 3, 3]


def test_cfg_functions_see_a_5d_video_and_leave_the_semantics_to_plain_cfg(comfyui):
    """The three hooks, called the way ComfyUI calls them, on known numbers."""
    from sama_core.comfyui.streams import JointShape
    from sama_core.comfyui.video_view import adapt_model_options

    shape, seen = JointShape((1, 1, 1, 2), (1, 3)), []

    def zero_video(args):
        seen.append(args["input"].shape)
        return torch.zeros_like(args["input"])

    options = {
        "sampler_cfg_function": zero_video,
        "sampler_post_cfg_function": [zero_video],
        "sampler_pre_cfg_function": [
            lambda args: [torch.ones_like(out) for out in args["conds_out"]]
        ],
    }
    adapt_model_options(options, shape)
    cond, uncond = (torch.full((1, 1, 5), value) for value in (3.0, 1.0))
    args = {"cond": cond, "uncond": uncond, "cond_scale": 4.0, "input": cond, "denoised": cond}
    assert options["sampler_cfg_function"](args).flatten().tolist() == [0, 0, 9, 9, 9]
    assert options["sampler_post_cfg_function"][0](args).flatten().tolist() == [0, 0, 3, 3, 3]
    changed = options["sampler_pre_cfg_function"][0]({**args, "conds_out": [cond, uncond]})
    assert [out.flatten().tolist() for out in changed] == [[1, 1, 3, 3, 3], [1, 1, 1, 1, 1]]
    assert seen == [(1, 1, 1, 1, 2)] * 2


@pytest.mark.parametrize("node", ["EasyCache", "LazyCache"])
def test_step_cache(edit, caplog, node):
    """Steps are skipped for both streams together; with a threshold of 0 nothing changes."""
    settings = {"start_percent": 0.0, "end_percent": 1.0, "verbose": False}
    plain = edit.sample(steps=8)
    exact = edit.patch(node, reuse_threshold=0.0, **settings).sample(steps=8)
    assert torch.equal(plain["video"], exact["video"])
    edit.nodes[edit.model[0]]["inputs"]["reuse_threshold"] = 3.0
    with caplog.at_level("INFO"):
        cached = edit.sample(steps=8)
    assert f"{node} - skipped" in caplog.text
    assert all(torch.isfinite(stream).all() for stream in cached.values())
    assert distance(cached["video"], plain["video"])[0] > 1e-4


def test_torch_compile_node_eager(comfyui, edit, sampled):
    """The compile node's own code with the `eager` back end; its menu offers only GPU back ends."""
    compile_node = comfyui.node_class("TorchCompileModel")
    model = compile_node.execute(edit.values(edit.model), backend="eager").args[0]
    positive, negative, latent = (
        edit.values(link) for link in (edit.positive, edit.negative, edit.latent)
    )
    sample = comfyui.node_class("KSampler")().sample
    with torch.inference_mode():
        out = sample(model, 1, 3, 5.0, "euler", "simple", positive, negative, latent)[0]["samples"]
    assert torch.equal(out, sampled["video"])


def run_patched(comfyui, edit, patch):
    """Sample with a model that `patch(model)` has changed in place."""
    model = edit.values(edit.model).clone()
    patch(model)
    positive, negative, latent = (
        edit.values(link) for link in (edit.positive, edit.negative, edit.latent)
    )
    with torch.inference_mode():
        return comfyui.node_class("KSampler")().sample(
            model, 1, 3, 5.0, "euler", "simple", positive, negative, latent
        )[0]["samples"]


def test_attention_override_sees_self_and_cross_attention(comfyui, edit, sampled):
    """Sage, flash and other back ends come in here: two calls a block, two blocks, three steps, one
    batch.
    """
    calls = []

    def override(original, *args, **kwargs):
        calls.append(kwargs["transformer_options"]["block_index"])
        return original(*args, **kwargs)

    out = run_patched(
        comfyui,
        edit,
        lambda model: model.model_options["transformer_options"].update(
            optimized_attention_override=override
        ),
    )
    assert calls == [0, 0, 1, 1] * 3
    assert torch.equal(out, sampled["video"])


def test_block_replacement_and_patches(comfyui, edit, sampled):
    """`patches_replace["dit"]`, `attn1_patch`, `attn2_patch` and `double_block`, with Wan's
    arguments.
    """
    seen = {"attn1": 0, "attn2": 0, "blocks": []}

    def attn1(args):
        # 8 source + 65 semantic + 8 target tokens, two heads of 128.
        assert args["q"].shape[1:] == (81, 2, 128)
        seen["attn1"] += 1
        return args["x"]

    def attn2(args):
        seen["attn2"] += 1
        return args["x"]

    def after(args):
        assert args["img_offset"] == 73
        seen["blocks"].append(args["block_index"])
        return {"img": args["img"]}

    def patch(model):
        model.set_model_attn1_patch(attn1)
        model.set_model_attn2_patch(attn2)
        model.set_model_patch(after, "double_block")
        model.set_model_patch_replace(
            lambda args, extra: extra["original_block"](args), "dit", "double_block", 1
        )

    out = run_patched(comfyui, edit, patch)
    assert seen == {"attn1": 6, "attn2": 6, "blocks": [0, 1] * 3}
    assert torch.equal(out, sampled["video"])


def test_rope_scaling_node(edit, sampled):
    identity = {
        "scale_x": 1.0,
        "shift_x": 0.0,
        "scale_y": 1.0,
        "shift_y": 0.0,
        "scale_t": 1.0,
        "shift_t": 0.0,
    }
    changed = edit.patch("ScaleROPE", **{**identity, "scale_x": 2.0}).sample()
    assert distance(changed["video"], sampled["video"])[0] > 1e-4


def test_a_wan_forward_replacement_fails_loudly(comfyui, edit):
    """Packs that swap Wan's `forward_orig` must not find one: they drop source and semantics."""
    model = edit.values(edit.model)
    assert not hasattr(model.model.diffusion_model, "forward_orig")
    with pytest.raises(AttributeError):
        model.get_model_object("diffusion_model.forward_orig")


def test_memory_estimate_counts_the_video_and_the_source(comfyui, edit):
    """The flat state counts as the video it holds; the source doubles it."""
    model = edit.values(edit.model).model
    video = (1, 16, 21, 60, 104)
    packed = (1, 1, 16 * 21 * 60 * 104 + 65 * 48)
    plain = model.memory_required(video)
    assert model.memory_required(packed) == plain
    assert model.memory_required(video, {"source_latents": [list(video)]}) == 2 * plain


def test_with_fused_attention_the_estimate_is_the_memory_law(comfyui, edit, monkeypatch):
    """Also for the flat state and for a batch of two, in the dtype that is computed in."""
    import comfy.model_management

    from sama_core.geometry import LatentShape
    from sama_core.model.memory_law import activation_bytes

    monkeypatch.setattr(comfy.model_management, "pytorch_attention_flash_attention", lambda: True)
    model = edit.values(edit.model).model
    video, source = [2, 16, 21, 60, 104], {"source_latents": [[2, 16, 21, 60, 104]]}
    size = comfy.model_management.dtype_size(model.get_dtype_inference())
    law = {
        source: activation_bytes(model.dit_config, LatentShape(21, 60, 104), 2, size, source)
        for source in (True, False)
    }
    assert model.memory_required(video, source) == pytest.approx(1.2 * law[True])
    assert law[True] > 1.9 * law[False]
    assert model.memory_required(video, {"others": [[1]]}) == pytest.approx(1.2 * law[False])
    assert model.memory_required(video) == model.memory_required(video, source)
    assert model.memory_required(
        [2, 1, 16 * 21 * 60 * 104 + 65 * 48], source
    ) == model.memory_required(video, source)


def test_perp_neg_node(edit, sampled):
    """It encodes conditioning of its own in mid-run."""
    empty = edit.add("SAMAInstruction", clip=edit.clip, instruction="x", edit_tag=False)
    out = edit.patch("PerpNeg", empty_conditioning=empty, neg_scale=1.0).sample()
    assert torch.isfinite(out["video"]).all()
    assert distance(out["video"], sampled["video"])[0] > 1e-4


def test_core_estimates_memory_from_the_real_shape(comfyui, edit, monkeypatch):
    """What core passes to `memory_required` before sampling is the video's shape, whole batch and
    one sample.
    """
    shapes = estimated_shapes(monkeypatch)
    edit.sample(steps=1)
    assert shapes[:2] == [[2, 16, 2, 4, 4], [1, 16, 2, 4, 4]]
    assert len(shapes) > 2


def test_block_prefetch_fetches_each_block_before_it_runs(comfyui, edit, sampled, monkeypatch):
    """Where it is asked for: each block once a call, then the queue is emptied; the same edit."""
    import comfy.model_prefetch

    from sama_core.comfyui.packed_dit import PREFETCH

    given, fetched = [], []

    def make(blocks, device, options):
        given.append(blocks)
        return ["queue"]

    def pop(queue, device, block):
        fetched.append(block)

    def ask(model):
        model.model_options["transformer_options"][PREFETCH] = True

    assert torch.equal(run_patched(comfyui, edit, ask), sampled["video"])  # none on a CPU
    monkeypatch.setattr(comfy.model_prefetch, "make_prefetch_queue", make)
    monkeypatch.setattr(comfy.model_prefetch, "prefetch_queue_pop", pop)
    run_patched(comfyui, edit, lambda model: None)
    assert given == fetched == []
    assert torch.equal(run_patched(comfyui, edit, ask), sampled["video"])
    assert len(given) == 3 and len(given[0]) == 2
    assert fetched == [*given[0], None] * 3
