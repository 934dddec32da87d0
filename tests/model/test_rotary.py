"""Segments in their order, and rotary positions of video tokens."""

import pytest
import torch

from sama_core.model.rotary import GridScale, RotaryTable, grid_table, sequence_table
from sama_core.model.tokens import TokenLayout

from ..harness.golden import assert_close
from .conftest import GRID, SEMANTIC, VIDEO_TOKENS, draw, drop


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
