"""What the DiT does with any weights: semantic tokens, batches, hooks, gradients, dtypes."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sama_core
from sama_core import SamaDiT
from sama_core.errors import ConditioningError, GeometryError
from sama_core.model.attention import sdpa
from sama_core.model.rotary import GridScale, RotaryTable, grid_table, sequence_table
from sama_core.model.tokens import TokenLayout

from ..harness.golden import assert_close

HEADS = 4
GRID = (2, 3, 4)
VIDEO_TOKENS = 2 * 3 * 4
SEMANTIC = slice(VIDEO_TOKENS, VIDEO_TOKENS + 65)
CLOSE = {"rel_l2": 2e-6}


@pytest.fixture(scope="module")
def weights(golden) -> dict[str, Tensor]:
    return golden("dit_small").state_dict()


@pytest.fixture(scope="module")
def model(weights) -> SamaDiT:
    return SamaDiT.from_state_dict(weights, num_heads=HEADS).requires_grad_(False)


def draw(batch: int = 1, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    """Random inputs of the small model by name, each sample with its own timestep."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "latents": (batch, 16, 2, 6, 8),
        "context": (batch, 9, 32),
        "source_latents": (batch, 16, 2, 6, 8),
        "semantic_latents": (batch, 65, 48),
    }
    inputs = {
        name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()
    }
    return inputs | {"timestep": torch.linspace(900, 100, batch)}


def drop(inputs: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name not in names}


def answered(velocities: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    """The velocities without the semantic one where there is none."""
    return [velocity for velocity in velocities if velocity is not None]


# --- semantic tokens ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def freqs() -> RotaryTable:
    return sequence_table(
        grid_table(GRID, 24, torch.device("cpu")), source=True, semantic_tokens=65
    )


def test_semantic_queries_attend_uniformly(model, freqs):
    """Their self-attention is the mean of V, the same for all 65; a video token's is not."""
    attention = model.blocks[0].self_attn
    x = torch.randn(1, 2 * VIDEO_TOKENS + 65, 96, generator=torch.Generator().manual_seed(0))
    out = attention(x, freqs)
    mean = attention.o(attention.v(x).mean(dim=1, keepdim=True))
    assert_close(out[:, SEMANTIC], mean.expand(-1, 65, -1), **CLOSE)
    assert (out[:, 0] - mean[:, 0]).norm() > 0.1 * mean.norm()


def test_semantic_keys_have_logit_zero(model, freqs):
    """Moving a semantic token's key changes nothing; moving a video token's does."""
    attention = model.blocks[0].self_attn
    x = torch.randn(1, 2 * VIDEO_TOKENS + 65, 96, generator=torch.Generator().manual_seed(0))
    keys = attention.norm_k(attention.k(x))
    before = attention(x, freqs)

    def with_keys_moved(tokens):
        moved = keys.clone()
        moved[:, tokens] += 1.0
        hook = attention.norm_k.register_forward_hook(lambda *_: moved)
        out = attention(x, freqs)
        hook.remove()
        return out

    assert torch.equal(with_keys_moved(SEMANTIC), before)
    assert not torch.allclose(with_keys_moved(slice(0, 5)), before, atol=1e-3)


def test_semantic_positions_give_queries_and_keys_no_gradient(weights):
    """W_q, W_k and their norms learn from video positions alone."""
    model = SamaDiT.from_state_dict(weights, num_heads=HEADS)
    grads = {}
    for name in ("q", "k"):
        getattr(model.blocks[1].self_attn, name).register_full_backward_hook(
            lambda module, grad_in, grad_out, name=name: grads.update({name: grad_out[0]})
        )
    video, semantic = model(**draw())
    (video.square().mean() + semantic.square().mean()).backward()
    for grad in grads.values():
        assert torch.count_nonzero(grad[:, SEMANTIC]) == 0
        assert torch.count_nonzero(grad[:, :VIDEO_TOKENS]) > 0


def test_semantic_tokens_are_exchangeable(model):
    """Permuting them permutes their velocities and keeps the video: they carry no position."""
    inputs, order = draw(), torch.randperm(65, generator=torch.Generator().manual_seed(0))
    video, semantic = model(**inputs)
    permuted = model(**inputs | {"semantic_latents": inputs["semantic_latents"][:, order]})
    assert_close(permuted[0], video, **CLOSE)
    assert_close(permuted[1], semantic[:, order], **CLOSE)


@pytest.mark.parametrize("tokens", [1, 21, 260])
def test_any_number_of_semantic_tokens(model, tokens):
    inputs = draw() | {"semantic_latents": torch.randn(1, tokens, 48)}
    video, semantic = model(**inputs)
    assert video.shape == inputs["latents"].shape and semantic.shape == (1, tokens, 48)


# --- source, batch, timestep -------------------------------------------------------------------


def test_source_matters_and_is_not_the_target(model):
    """Swapping the two videos is not the same as swapping the answer."""
    inputs = draw()
    video, _ = model(**inputs)
    swapped, _ = model(
        **inputs | {"latents": inputs["source_latents"], "source_latents": inputs["latents"]}
    )
    alone, _ = model(**drop(inputs, "source_latents"))
    for other in (swapped, alone):
        assert (other - video).norm() > 0.1 * video.norm()


def test_without_semantics_there_is_no_semantic_velocity(model):
    assert model(**drop(draw(), "semantic_latents"))[1] is None


@pytest.mark.parametrize("absent", [(), ("source_latents",), ("semantic_latents",)], ids=str)
def test_each_sample_of_a_batch_equals_its_own_run(model, absent):
    """Three samples, three timesteps."""
    batch = drop(draw(batch=3), *absent)
    together = model(**batch)
    for i in range(3):
        alone = model(**{name: value[i : i + 1] for name, value in batch.items()})
        for many, one in zip(answered(together), answered(alone), strict=True):
            assert_close(many[i : i + 1], one, **CLOSE)


def test_one_timestep_serves_a_whole_batch(model):
    batch = draw(batch=2) | {"timestep": torch.tensor([640.0])}
    repeated = model(**batch | {"timestep": torch.tensor([640.0, 640.0])})
    for one, two in zip(model(**batch), repeated, strict=True):
        assert_close(one, two, **CLOSE)


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((1, 16, 1, 6, 8), "got 1 latent frames of 8x6, 16 channels, batch 1"),
        ((1, 16, 2, 8, 8), "got 2 latent frames of 8x8, 16 channels, batch 1"),
        ((1, 16, 2, 6, 6), "got 2 latent frames of 6x6, 16 channels, batch 1"),
        ((1, 48, 2, 6, 8), "got 2 latent frames of 8x6, 48 channels, batch 1"),
        ((2, 16, 2, 6, 8), "got 2 latent frames of 8x6, 16 channels, batch 2"),
    ],
)
def test_a_source_of_another_size_is_refused(model, shape, got):
    with pytest.raises(
        ConditioningError,
        match=f"source latent: {got}, needs the target's 2 latent frames of 8x6, "
        "16 channels, batch 1. Encode the source with SAMA Edit Cond",
    ):
        model(**draw() | {"source_latents": torch.zeros(shape)})


@pytest.mark.parametrize("size", [(5, 8), (6, 7)])
def test_latents_that_patches_do_not_fit_are_refused(model, size):
    height, width = size
    with pytest.raises(
        GeometryError,
        match=f"latent size: got {width}x{height}, needs an even width and height. "
        "Make the frames a multiple of 16 pixels",
    ):
        model(**drop(draw(), "source_latents") | {"latents": torch.zeros(1, 16, 2, height, width)})


# --- plain Wan ---------------------------------------------------------------------------------


def plain_wan(
    weights: dict[str, Tensor], heads: int, latents: Tensor, timestep: Tensor, context: Tensor
) -> Tensor:
    """Wan 2.1 T2V from its published formulas: float64, complex rotary factors, no SAMA."""
    weights = {name: value.double() for name, value in weights.items()}

    def linear(name, x):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name=None):
        affine = (weights[f"{name}.weight"], weights[f"{name}.bias"]) if name else (None, None)
        return functional.layer_norm(x, x.shape[-1:], *affine, eps=1e-6)

    def attention(name, x, y, factors=None):
        def normed(part, z):
            z = linear(f"{name}.{part}", z)
            return (
                z
                * (z.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
                * weights[f"{name}.norm_{part}.weight"]
            )

        q, k, v = (
            z.unflatten(-1, (heads, -1))
            for z in (normed("q", x), normed("k", y), linear(f"{name}.v", y))
        )
        if factors is not None:
            q, k = (
                torch.view_as_real(
                    torch.view_as_complex(z.unflatten(-1, (-1, 2)).contiguous()) * factors[:, None]
                ).flatten(-2)
                for z in (q, k)
            )
        logits = torch.einsum("bqhk,bnhk->bhqn", q, k) / q.shape[-1] ** 0.5
        return linear(
            f"{name}.o", torch.einsum("bhqn,bnhk->bqhk", logits.softmax(-1), v).flatten(2)
        )

    latents, context = latents.double(), context.double()
    x = functional.conv3d(
        latents,
        weights["patch_embedding.weight"],
        weights["patch_embedding.bias"],
        stride=(1, 2, 2),
    )
    (frames, rows, columns), dim = x.shape[2:], x.shape[1]
    x = x.flatten(2).transpose(1, 2)

    half = weights["time_embedding.0.weight"].shape[1] // 2
    angles = timestep.double()[:, None] / 10_000 ** (torch.arange(half).double() / half)
    t = linear(
        "time_embedding.2",
        functional.silu(linear("time_embedding.0", torch.cat([angles.cos(), angles.sin()], -1))),
    )
    e = linear("time_projection.1", functional.silu(t)).unflatten(-1, (6, dim))
    y = linear(
        "text_embedding.2", functional.gelu(linear("text_embedding.0", context), approximate="tanh")
    )

    pairs = dim // heads // 2
    side = dim // heads // 6
    angles = [
        torch.arange(length).double()[:, None] / 10_000 ** (torch.arange(n).double() / n)
        for length, n in ((frames, pairs - 2 * side), (rows, side), (columns, side))
    ]
    angles = torch.cat(
        [
            angles[0][:, None, None].expand(frames, rows, columns, -1),
            angles[1][None, :, None].expand(frames, rows, columns, -1),
            angles[2][None, None].expand(frames, rows, columns, -1),
        ],
        dim=-1,
    ).flatten(0, 2)
    factors = torch.polar(torch.ones_like(angles), angles)

    for i in range(
        1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    ):
        block = f"blocks.{i}"
        s1, c1, g1, s2, c2, g2 = (weights[f"{block}.modulation"] + e).chunk(6, dim=1)
        z = norm(x) * (1 + c1) + s1
        x = x + g1 * attention(f"{block}.self_attn", z, z, factors)
        x = x + attention(f"{block}.cross_attn", norm(x, f"{block}.norm3"), y)
        z = functional.gelu(linear(f"{block}.ffn.0", norm(x) * (1 + c2) + s2), approximate="tanh")
        x = x + g2 * linear(f"{block}.ffn.2", z)
    shift, scale = (weights["head.modulation"] + t[:, None]).chunk(2, dim=1)
    x = linear("head.head", norm(x) * (1 + scale) + shift)
    x = x.reshape(-1, frames, rows, columns, 2, 2, latents.shape[1])
    return torch.einsum("bfrcpqz->bzfrpcq", x).reshape(latents.shape)


@pytest.mark.parametrize(("group", "heads"), [("dit_small", 4), ("dit_headdim128", 2)])
def test_without_source_and_semantics_it_is_wan(golden, group, heads):
    """With a zero target segment, as SAMA's training starts, the function is Wan's."""
    weights = golden(group).state_dict()
    weights["segment_embedding.weight"][2] = 0
    model = SamaDiT.from_state_dict(weights, num_heads=heads)
    inputs = drop(draw(batch=2), "source_latents", "semantic_latents")
    with torch.no_grad():
        video, _ = model(**inputs)
    assert_close(video, plain_wan(weights, heads, **inputs), **CLOSE)


# --- segments and rotary positions -------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "semantic", "target", "total"),
    [
        (TokenLayout(24, 65, 24), slice(24, 89), slice(89, 113), 113),
        (TokenLayout(0, 65, 24), slice(0, 65), slice(65, 89), 89),
        (TokenLayout(24, 0, 24), slice(24, 24), slice(24, 48), 48),
    ],
)
def test_token_order(layout, semantic, target, total):
    assert (layout.semantic_slice, layout.target_slice, layout.total) == (semantic, target, total)


def test_source_and_target_share_positions_and_semantics_have_none(freqs):
    for part in freqs:
        assert part.shape == (2 * VIDEO_TOKENS + 65, 12) and part.dtype == torch.float32
        assert torch.equal(part[:VIDEO_TOKENS], part[VIDEO_TOKENS + 65 :])
        assert torch.count_nonzero(part[SEMANTIC]) == 0


def test_grid_positions_by_hand():
    """Token (t, h, w) = (1, 2, 3) of a head of 12: two pairs for each axis, rates 1 and 1/100."""
    table = grid_table(GRID, 12, torch.device("cpu"))
    angles = torch.tensor([1.0, 0.01, 2.0, 0.02, 3.0, 0.03], dtype=torch.float64)
    row = 1 * 3 * 4 + 2 * 4 + 3
    assert_close(table.cos[row], angles.cos(), max_abs=6e-8)
    assert_close(table.sin[row], angles.sin(), max_abs=6e-8)


def test_far_positions_are_exact():
    """At position 1000 a float32 angle would be off by 3e-5."""
    table = grid_table((1001, 1, 1), 128, torch.device("cpu"))
    angles = 1000 / 10_000 ** (torch.arange(22).double() / 22)
    assert_close(table.cos[-1, :22], angles.cos(), max_abs=6e-8)
    assert_close(table.sin[-1, :22], angles.sin(), max_abs=6e-8)


def test_scaled_positions_are_positions_further_on():
    cpu = torch.device("cpu")
    plain = grid_table((7, 3, 4), 24, cpu)
    moved = grid_table((3, 3, 4), 24, cpu, GridScale(scale=(2.0, 1.0, 1.0), shift=(2.0, 0.0, 0.0)))
    rows = torch.arange(7 * 3 * 4).view(7, 12)[[2, 4, 6]].flatten()
    assert torch.equal(moved.cos, plain.cos[rows]) and torch.equal(moved.sin, plain.sin[rows])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {
                "scale_t": 2.0,
                "scale_y": 3.0,
                "scale_x": 4.0,
                "shift_t": 0.5,
                "shift_y": 1.0,
                "shift_x": 1.5,
            },
            GridScale((2.0, 3.0, 4.0), (0.5, 1.0, 1.5)),
        ),
        ({"scale_x": 4.0}, GridScale(scale=(1.0, 1.0, 4.0))),
        ({}, GridScale()),
    ],
    ids=["all", "one", "none"],
)
def test_rope_options_reach_the_positions(model, options, expected):
    tables = []
    hook = model.blocks[0].register_forward_pre_hook(
        lambda module, args, kwargs: tables.append(kwargs["freqs"]), with_kwargs=True
    )
    model(**draw(), transformer_options={"rope_options": options})
    hook.remove()
    table = sequence_table(
        grid_table(GRID, 24, torch.device("cpu"), expected), source=True, semantic_tokens=65
    )
    assert torch.equal(tables[0].cos, table.cos) and torch.equal(tables[0].sin, table.sin)


def test_positions_are_relative(model):
    """A shift of source and target together changes nothing, a scale does."""
    inputs = drop(draw(), "semantic_latents")
    plain, _ = model(**inputs)
    shifted, _ = model(
        **inputs,
        transformer_options={"rope_options": {"shift_t": 3.0, "shift_y": 1.0, "shift_x": 2.0}},
    )
    scaled, _ = model(**inputs, transformer_options={"rope_options": {"scale_x": 2.0}})
    assert_close(shifted, plain, rel_l2=1e-5)
    assert (scaled - plain).norm() > 1e-3 * plain.norm()


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str
)
def test_rotation_is_rounded_once(dtype):
    """Half-precision input is turned in float32 and rounded at the end; lengths stay."""
    table = grid_table(GRID, 24, torch.device("cpu"))
    x = torch.randn(
        2, VIDEO_TOKENS, 3, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).to(dtype)
    exact = RotaryTable(*(part.double() for part in table)).rotate(x.double())
    torch.testing.assert_close(
        table.rotate(x), exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6
    )
    torch.testing.assert_close(exact.norm(dim=-1), x.double().norm(dim=-1), rtol=1e-6, atol=0)


# --- patch points ------------------------------------------------------------------------------


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


# --- gradients, compilation, dtypes ------------------------------------------------------------


def objective(model, inputs) -> Tensor:
    """A number that depends on every output value."""
    video, semantic = model(**inputs)
    weight = torch.linspace(-1, 1, video.numel(), dtype=video.dtype).view_as(video)
    return (video * weight).sum() + semantic.square().sum()


@pytest.mark.parametrize(
    "name",
    [
        "patch_embedding.weight",
        "segment_embedding.weight",
        "siglip_feat_mlp.norm.weight",
        "siglip_feat_mlp.fc1.weight",
        "semantic_head.proj.weight",
        "time_embedding.0.weight",
        "time_projection.1.weight",
        "text_embedding.0.weight",
        "blocks.0.modulation",
        "blocks.0.self_attn.q.weight",
        "blocks.1.self_attn.norm_k.weight",
        "blocks.1.cross_attn.k.weight",
        "blocks.2.ffn.0.weight",
        "head.modulation",
        "head.head.weight",
    ],
)
def test_gradient_is_the_slope(weights, name):
    """In float64, along a random direction of one weight."""
    model = SamaDiT.from_state_dict(
        {key: value.double() for key, value in weights.items()}, num_heads=HEADS
    )
    inputs, parameter = draw(dtype=torch.float64), model.get_parameter(name)
    direction = torch.randn(
        parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    objective(model, inputs).backward()
    slope = (parameter.grad * direction).sum().item()
    start, step = parameter.detach().clone(), 1e-6

    def moved(distance: float) -> float:
        with torch.no_grad():
            parameter.copy_(start + distance * direction)
            return objective(model, inputs).item()

    assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=1e-5)


def test_every_weight_learns(weights):
    model = SamaDiT.from_state_dict(weights, num_heads=HEADS)
    objective(model, draw()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.count_nonzero(parameter.grad) > 0, name


@pytest.mark.parametrize("grad", [True, False])
def test_nothing_is_written_in_place(weights, grad):
    """Inputs and weights stay as they are, and a second call answers the same."""
    model, inputs = SamaDiT.from_state_dict(weights, num_heads=HEADS), draw(batch=2)
    before = {name: value.clone() for name, value in inputs.items()}
    with torch.set_grad_enabled(grad):
        first, second = model(**inputs), model(**inputs)
    assert all(torch.equal(value, before[name]) for name, value in inputs.items())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "absent", [(), ("source_latents", "semantic_latents")], ids=["all", "target only"]
)
def test_compiles_as_one_graph(model, absent):
    torch.compiler.reset()
    inputs = drop(draw(), *absent)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for ours, eager in zip(answered(compiled(**inputs)), answered(model(**inputs)), strict=True):
        assert torch.equal(ours, eager)


@pytest.mark.parametrize(
    ("head_dtype", "kept"), [(None, torch.bfloat16), (torch.float32, torch.float32)]
)
def test_bf16_model_stays_near_float32(model, weights, head_dtype, kept):
    """With and without the small modules in float32, as ComfyUI keeps them."""
    half = SamaDiT.from_state_dict(
        weights, num_heads=HEADS, dtype=torch.bfloat16, head_dtype=head_dtype
    )
    dtypes = {name: parameter.dtype for name, parameter in half.named_parameters()}
    assert dtypes["semantic_head.proj.weight"] == dtypes["segment_embedding.weight"] == kept
    assert dtypes["patch_embedding.weight"] == dtypes["siglip_feat_mlp.fc1.weight"] == kept
    assert dtypes["blocks.0.ffn.0.weight"] == dtypes["head.head.weight"] == torch.bfloat16
    inputs = draw(dtype=torch.bfloat16) | {"timestep": torch.tensor([900.0])}
    with torch.no_grad():
        ours = half(**inputs)
    exact = model(**{name: value.float() for name, value in inputs.items()})
    for rounded, expected in zip(ours, exact, strict=True):
        assert rounded.dtype == torch.bfloat16
        assert_close(rounded, expected, rel_l2=0.02)


# --- the package -------------------------------------------------------------------------------


def test_the_core_imports_without_comfyui():
    """In a fresh process; only `sama_core.comfyui` may need it."""
    modules = (
        "weights.checkpoint model.config geometry model.dit model.rotary model.schedule text encoders.latent_space "
        "model.tokens encoders.umt5_layout"
    ).split()
    code = "; ".join(
        [f"import sama_core.{module}" for module in modules]
        + [
            "import sys",
            "print([m for m in sys.modules if m.split('.')[0] in ('comfy', 'folder_paths', 'nodes')])",
        ]
    )
    root = Path(sama_core.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names():
    assert sama_core.SamaDiT is SamaDiT and callable(sama_core.load_state_dict_report)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sama_core.nothing
