"""Attention that looks at blocks of keys: what it gets of SAMA's tokens, and what is taken back."""

import pytest
import torch

from sama_core.model.attention import sdpa
from sama_core.model.token_order import BLOCK_SPARSE, BlockOrder
from sama_core.model.tokens import TokenLayout

from ..harness.golden import assert_close
from .conftest import CLOSE, SEMANTIC, VIDEO_TOKENS, draw, drop


def test_blocks_of_source_and_target_come_by_turns_and_semantic_tokens_last():
    """Six tokens of source, three semantic ones, six of target, in blocks of four."""
    order = BlockOrder.of(TokenLayout(6, 3, 6), torch.device("cpu"), 4)
    assert order.there.tolist() == [0, 1, 2, 3, 9, 10, 11, 12, 4, 5, 13, 14, 6, 7, 8]
    assert BlockOrder.of(TokenLayout(0, 2, 3), torch.device("cpu"), 4).there.tolist() == [
        *(2, 3, 4),
        *(0, 1),
    ]


def test_what_is_arranged_can_be_undone():
    order = BlockOrder.of(TokenLayout(6, 3, 6), torch.device("cpu"), 4)
    tokens = torch.randn(2, 15, 8)
    assert torch.equal(order.undo(order.arrange(tokens)), tokens)


@pytest.fixture
def in_blocks(model, monkeypatch):
    """A function: both velocities with another self-attention that is said to look at blocks."""

    def call(attention, inputs: dict, **options):
        for block in model.blocks:
            monkeypatch.setattr(block.self_attn, "attention", attention)
        return model(**inputs, transformer_options={BLOCK_SPARSE: 8, **options})

    return call


def without_semantic_rows(q, k, v, heads, transformer_options):
    """Exact for all tokens but the last 65, where nothing is right."""
    out = sdpa(q, k, v, heads)
    out[:, -65:] = torch.nan
    return out


@pytest.mark.parametrize("without", [(), ("source_latents",)])
def test_the_semantic_rows_do_not_come_from_the_function(model, in_blocks, without):
    """Both streams are the exact ones, whatever it gives there."""
    inputs = drop(draw(batch=2), *without)
    exact = model(**inputs)
    for mine, theirs in zip(in_blocks(without_semantic_rows, inputs), exact, strict=True):
        assert_close(mine, theirs, **CLOSE)


def test_the_function_gets_each_source_block_beside_its_target(model, in_blocks, monkeypatch):
    """With one clip as source and target, and no segments, blocks of eight come in equal pairs."""
    seen = []

    def attention(q, k, v, heads, transformer_options):
        seen.append(k[0])
        return sdpa(q, k, v, heads)

    monkeypatch.setattr(model, "segment_rows", lambda device: torch.zeros(3, 96))
    inputs = draw()
    in_blocks(attention, inputs | {"latents": inputs["source_latents"]})
    pairs = seen[0][: 2 * VIDEO_TOKENS].unflatten(0, (-1, 2, 8))
    assert len(pairs) == 3 and len(seen[0]) == 2 * VIDEO_TOKENS + 65
    assert_close(pairs[:, 0], pairs[:, 1], **CLOSE)
    assert not torch.allclose(pairs[0], pairs[1], atol=1e-2)
    assert torch.count_nonzero(seen[0][2 * VIDEO_TOKENS :]) == 0


def test_hooks_see_the_sequences_own_order(model, in_blocks):
    seen = []

    def note(args):
        seen.append([args[name] for name in "qkx"])
        return args["x"]

    inputs, patches = draw(), {"attn1_patch": [note]}
    model(**inputs, transformer_options={"patches": patches})
    plain, seen[:] = list(seen), []
    in_blocks(without_semantic_rows, inputs, patches=patches)
    for q, k, out in seen:
        assert torch.count_nonzero(q[:, SEMANTIC]) == torch.count_nonzero(k[:, SEMANTIC]) == 0
        assert out.isfinite().all()
    for mine, theirs in zip(seen[0], plain[0], strict=True):
        assert_close(mine, theirs, **CLOSE)
