"""The law of activation memory against counted tensors, and literal figures."""

import pytest
import torch

from benchmarks import memory_law as bench
from sama_core.geometry import ClipShape
from sama_core.model.dit import SamaDiT
from sama_core.model.memory_law import activation_bytes, sequence_tokens


@pytest.mark.parametrize(
    ("frames", "height", "width", "tokens", "gib"),
    [(81, 480, 832, 65_585, 3.91), (33, 480, 832, 28_145, 1.68), (81, 720, 1280, 151_265, 9.02)],
)
def test_sama_14b_in_bf16(frames, height, width, tokens, gib):
    latent = ClipShape(frames, height, width).latent()
    assert sequence_tokens(bench.WIDE, latent) == tokens
    assert activation_bytes(bench.WIDE, latent) / 2**30 == pytest.approx(gib, abs=0.005)


def test_without_a_source_half_the_tokens():
    assert sequence_tokens(bench.WIDE, ClipShape(81, 480, 832).latent(), source=False) == 32_825


@pytest.mark.parametrize("clip", [(1, 384, 640), (17, 480, 832), (49, 480, 832), (121, 720, 1280)])
@pytest.mark.parametrize(
    ("dtype", "batch"), [(torch.bfloat16, 1), (torch.bfloat16, 2), (torch.float32, 1)]
)
def test_it_predicts_what_is_counted(clip, dtype, batch):
    wide = SamaDiT(
        bench.WIDE,
        device="meta",
        dtype=dtype,
        head_dtype=torch.float32,
        attention=bench.fuse_attention,
    )
    row = bench.measure_point(wide, ClipShape(*clip), batch, "meta", dtype)
    assert abs(row["error"]) < 0.15
    assert row["counted_bytes"] > 10 * row["tokens"] * bench.WIDE.dim


def test_more_blocks_hold_no_more():
    from dataclasses import replace

    latent = ClipShape(17, 384, 640).latent()
    peaks = [
        bench.measure_peak(
            SamaDiT(
                replace(bench.WIDE, num_layers=layers),
                device="meta",
                dtype=torch.bfloat16,
                attention=bench.fuse_attention,
            ),
            latent,
            1,
            "meta",
            torch.bfloat16,
        )
        for layers in (2, 4)
    ]
    assert peaks[0] == peaks[1]
