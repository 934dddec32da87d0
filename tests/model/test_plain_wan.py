"""Without source and semantic tokens the DiT computes Wan's function, written out here."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sama_core import SamaDiT

from ..harness.golden import assert_close
from .conftest import CLOSE, draw, drop


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
