"""Semantic tokens have no position, can be exchanged, and may be any number."""

import pytest
import torch

from sama_core import SamaDiT

from ..harness.golden import assert_close
from .conftest import CLOSE, HEADS, SEMANTIC, VIDEO_TOKENS, draw


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
