"""`python -m benchmarks.attention`: its stand-ins, and what its table says on one clip."""

import pytest
import torch

from benchmarks.attention import __main__ as bench
from benchmarks.attention import chosen_blocks, low_precision
from benchmarks.attention.back_ends import BackEnd, block_sparse, dense
from sama_core.model.attention import sdpa


@pytest.fixture
def qkv() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, 150, 128, generator=generator) for _ in range(3)]


def exact(q, k, v):
    flat = (part.transpose(1, 2).flatten(2) for part in (q, k, v))
    return sdpa(*flat, heads=2).unflatten(-1, (2, -1)).transpose(1, 2)


def test_all_blocks_chosen_is_exact_attention(qkv):
    """Also with keys around a mean, and a last block that is not full."""
    qkv[1] += torch.randn(128)
    found = chosen_blocks.attend(*qkv, choose=chosen_blocks.best(1.0), size=64)
    torch.testing.assert_close(found, exact(*qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooled", [True, False])
def test_blocks_that_are_not_chosen(qkv, pooled):
    """Five blocks of one token, none chosen: a token sees itself and its neighbours, and of the
    others all or nothing."""
    q, k, v = (part[:, :, :5] for part in qkv)
    none = torch.zeros(1, 2, 5, 5, dtype=torch.bool)
    found = chosen_blocks.attend(q, k, v, lambda scores, spread: none, 1, pooled)
    first = exact(q, k, v) if pooled else exact(q, k[:, :, :2], v[:, :, :2])
    torch.testing.assert_close(found[:, :, 0], first[:, :, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("attend", "low", "high"),
    [
        (low_precision.to_bfloat16, 1e-4, 0.006),
        (lambda *qkv: low_precision.attend(*qkv, values="fp16"), 1e-4, 0.02),
        (lambda *qkv: low_precision.attend(*qkv, values="fp8"), 0.01, 0.06),
        (lambda *qkv: low_precision.attend(*qkv, values="int8"), 0.005, 0.06),
        (low_precision.in_fp4, 0.05, 0.3),
    ],
)
def test_low_precision_is_near_and_not_exact(qkv, attend, low, high):
    wanted = exact(*qkv)
    assert low < float((attend(*qkv) - wanted).norm() / wanted.norm()) < high


def test_numbers_that_fp4_has_stay():
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.5, -1, -1.5, -2, -3, -4, -6, 0])
    assert torch.equal(low_precision._to_fp4(numbers), numbers)
    assert low_precision._to_fp4(torch.tensor([2.4, 6.0])).tolist() == [2.0, 6.0]


def test_zero_queries_give_the_mean_of_all_values_at_full_length():
    """In int8 too: their scores are zero, whatever the keys are."""
    int8 = [one for one in dense() if "int8" in one.name]
    errors = bench.measure_semantic_rows(int8[:1], seed=0)
    assert errors.keys() == {"sage, int8 and fp16, as ComfyUI calls it"}
    assert max(errors.values()) < 5e-4


def test_one_clip(comfyui):
    """SAMA-Shapes needs each source block beside its target's; in int8 it edits as before."""
    options = bench.parse(["--n", "1", "--steps", "4", "--edits", "recolour"])
    chosen: list[BackEnd] = [
        *(one for one in block_sparse() if one.name.startswith("sol-attn, blocks of 64")),
        *(one for one in dense() if one.name == "sage, int8 and fp8, as ComfyUI calls it"),
    ]
    served, as_they_are, int8 = bench.measure_edits(options, chosen)
    assert served["to_exact_db"] > 45 and served["video_error"] < 0.03
    assert as_they_are["to_exact_db"] < 25 and as_they_are["video_error"] > 0.3
    assert int8["to_exact_db"] > 40 and int8["semantic_error"] < 0.01
    assert served["clips"] == 1
    report = {"back_ends": [served], "semantic_rows": {"x": 0.25}}
    assert "| sol-attn, blocks of 64 |" in bench.table(report)
    assert bench.table(report).endswith("semantic rows at 65,585 tokens, x: 2.5e-01")


def test_what_cannot_be_measured_is_told_before_anything_is_loaded(capsys):
    assert bench.main(["--edits", "paint"]) == 2
    assert "paint" in capsys.readouterr().err
