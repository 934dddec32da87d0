"""Slices in the block change no result, overwrite nothing of the caller's, and save memory."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks import dit_step as bench
from benchmarks import reference_block as reference
from sama_core import SamaDiT
from sama_core.model import attention, blocks
from sama_core.model.config import DitConfig
from sama_core.model.memory_law import feed_forward_slice, token_slices

from ..harness.golden import assert_close

GRID = (2, 3, 4)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return reference.random_block(reference.block_config(48, 2, 96))


@pytest.fixture
def given():
    torch.manual_seed(1)
    return reference.draw_inputs(reference.block_config(48, 2, 96), GRID)


def test_slices_are_views_of_so_many_tokens():
    x = torch.arange(20.0).reshape(1, 10, 2)
    parts = [part for (part,) in token_slices(4, x)]
    assert [part.shape[1] for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat(parts, 1), x)
    parts[0].zero_()
    assert x[:, :4].count_nonzero() == 0
    assert [len(token_slices(size, x)) for size in (10, 5, 3)] == [1, 2, 4]
    assert [feed_forward_slice(tokens) for tokens in (9, 8_192, 8_193, 65_585)] == [
        9,
        8_192,
        4_097,
        32_793,
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_slices_change_nothing(block, given, dtype, monkeypatch):
    """One slice, seven slices, and the form used under grad."""
    block.to(dtype)
    given = {
        name: value.to(dtype) if isinstance(value, Tensor) else value
        for name, value in given.items()
    }
    with torch.no_grad():
        whole = block(**given)
        monkeypatch.setattr(attention, "NORM_SLICE", 17)
        monkeypatch.setattr(blocks, "feed_forward_slice", lambda tokens: 17)
        sliced = block(**given)
    close = {"rel_l2": 2e-6 if dtype == torch.float32 else 1e-2}
    assert_close(sliced, whole, **close)
    assert_close(block(**given), whole, **close)


@pytest.mark.parametrize("grad", [False, True])
def test_the_callers_tensors_stay_as_they_are(block, given, grad):
    before = {name: value.clone() for name, value in given.items() if isinstance(value, Tensor)}
    with torch.set_grad_enabled(grad):
        block(**given)
    assert all(torch.equal(given[name], value) for name, value in before.items())


def test_grad_flows_through_everything(block, given):
    """Nothing is written in place where autograd still needs it."""
    block.requires_grad_(True)
    block(**given).square().sum().backward()
    assert all(
        weight.grad is not None and weight.grad.abs().sum() > 0 for weight in block.parameters()
    )


def test_it_computes_what_the_restated_reference_does(block, given):
    with torch.no_grad():
        assert_close(block(**given), reference.run_plainly(block, **given), rel_l2=1e-6)


@pytest.mark.parametrize("clip", bench.REAL)
def test_at_real_sizes_it_holds_less_than_half_of_the_reference(clip):
    """SAMA-14B's block in bf16, counted on the meta device."""
    row = bench.count(*clip, torch.bfloat16)
    assert row["peak_ratio"] <= 0.4


def test_live_bytes_counts_what_lives_at_once():
    with bench.LiveBytes() as live:
        a = torch.empty(1000, device="meta")
        view = a[:10]
        b = a + 1
        assert live.now == 8000
        del a
        assert live.now == 8000
        del view
        assert live.now == 4000
        del b
    assert (live.now, live.peak) == (0, 8000)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("grad", [False, True])
def test_the_model_compiles_without_a_break(backend, grad):
    """torch.compile with fullgraph: nothing in forward leaves the graph or waits for values."""
    torch.manual_seed(0)
    model = SamaDiT(DitConfig(48, 2, 96, 2, 32, 32, 16, 16, 24, 24)).requires_grad_(grad)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.05)
    video, context, semantic = (
        torch.randn(1, 16, 2, 4, 4),
        torch.randn(1, 7, 32),
        torch.randn(1, 65, 24),
    )
    arguments = video, torch.tensor([500.0]), context, video.flip(-1), semantic
    torch._dynamo.reset()
    with torch.set_grad_enabled(grad):
        compiled = torch.compile(model, fullgraph=True, backend=backend)(*arguments)
        for ours, wanted in zip(compiled, model(*arguments), strict=True):
            assert_close(ours, wanted, rel_l2=2e-6)
