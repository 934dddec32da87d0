"""The patch points that Wan publishes in ComfyUI, and the caller's operations and attention."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sama_core import SamaDiT
from sama_core.model.attention import sdpa

from .conftest import GRID, HEADS, SEMANTIC, VIDEO_TOKENS, draw


def test_patch_points_are_wans(model):
    """Blocks can be replaced and watched, and every hook knows where it is."""
    seen, replaced, inputs = [], [], draw()

    def note(kind):
        def patch(args):
            options = args["transformer_options"]
            seen.append((kind, options["block_index"], args.get("img_offset")))
            assert (
                options["total_blocks"],
                options["block_type"],
                tuple(options["grid_sizes"]),
            ) == (3, "double", GRID)
            return args if kind == "double_block" else args["x"]

        return patch

    def replace(args, extra):
        replaced.append(
            (
                tuple(args["img"].shape),
                tuple(args["txt"].shape),
                tuple(args["vec"].shape),
                len(args["pe"]),
            )
        )
        return extra["original_block"](args)

    options = {
        "patches": {kind: [note(kind)] for kind in ("attn1_patch", "attn2_patch", "double_block")},
        "patches_replace": {"dit": {("double_block", 1): replace}},
    }
    patched = model(**inputs, transformer_options=options)
    for ours, plain in zip(patched, model(**inputs), strict=True):
        assert torch.equal(ours, plain)
    offset = VIDEO_TOKENS + 65
    assert seen == [
        entry
        for i in range(3)
        for entry in (
            ("attn1_patch", i, None),
            ("attn2_patch", i, None),
            ("double_block", i, offset),
        )
    ]
    assert replaced == [((1, 2 * VIDEO_TOKENS + 65, 96), (1, 9, 96), (1, 6, 96), 2)]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("attn1_patch", lambda args: args["x"] * 0),
        ("attn2_patch", lambda args: args["x"] * 0),
        ("double_block", lambda args: {"img": args["img"] * 0}),
    ],
)
def test_what_a_patch_returns_is_used(model, kind, change):
    inputs = draw()
    patched, _ = model(**inputs, transformer_options={"patches": {kind: [change]}})
    assert not torch.allclose(patched, model(**inputs)[0], atol=1e-2)


def test_a_replaced_block_returns_what_is_used(model):
    """Skipping every block leaves the head's view of the tokens that went in."""
    skip = {("double_block", i): lambda args, extra: {"img": args["img"]} for i in range(3)}
    tokens = []
    hook = model.blocks[0].register_forward_pre_hook(lambda module, args: tokens.append(args[0]))
    inputs = draw()
    model(**inputs)
    hook.remove()
    _, semantic = model(**inputs, transformer_options={"patches_replace": {"dit": skip}})
    assert torch.equal(semantic, model.semantic_head(tokens[0][:, SEMANTIC]))


def test_attention_and_operations_are_the_callers(weights):
    """Two calls per block, with the heads and the options; no layer with weights of torch's own."""
    calls = []

    def attention(q, k, v, heads, transformer_options):
        calls.append((heads, transformer_options["mark"]))
        return sdpa(q, k, v, heads)

    layers = {
        name: type(name, (getattr(nn, name),), {})
        for name in ("Linear", "LayerNorm", "RMSNorm", "Conv3d", "Embedding")
    }
    model = SamaDiT.from_state_dict(
        weights, num_heads=HEADS, operations=SimpleNamespace(**layers), attention=attention
    )
    with torch.no_grad():
        model(**draw(), transformer_options={"mark": 1})
    assert calls == [(HEADS, 1)] * 6
    own = tuple(layers.values())
    for name, module in model.named_modules():
        direct = [key for key, _ in module.named_parameters(recurse=False)]
        assert not direct or isinstance(module, own) or direct == ["modulation"], name


def test_head_operations_serve_the_modules_that_stay_precise(weights):
    """Only those are built from `head_operations`."""
    precise = {
        name: type(name, (getattr(nn, name),), {})
        for name in ("Linear", "LayerNorm", "Conv3d", "Embedding")
    }
    model = SamaDiT.from_state_dict(
        weights, num_heads=HEADS, head_operations=SimpleNamespace(**precise)
    )
    own = tuple(precise.values())
    names = {
        name.split(".")[0] for name, module in model.named_modules() if isinstance(module, own)
    }
    assert names == {"patch_embedding", "segment_embedding", "siglip_feat_mlp", "semantic_head"}


@pytest.mark.parametrize(("kind", "count"), [(nn.LayerNorm, 3 * 3 + 1 + 2), (nn.RMSNorm, 3 * 4)])
def test_every_norm_has_wans_epsilon(model, kind, count):
    """On ordinary inputs no output shows a wrong one."""
    assert [module.eps for module in model.modules() if isinstance(module, kind)] == [1e-6] * count
