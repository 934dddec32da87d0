"""The law of a training's memory against bytes that are counted while a step runs, at SAMA-14B's
width and reduced depth.
"""

import pytest

from benchmarks.train_memory import count_step
from sama_core.geometry import ClipShape

SMALL, REAL = ClipShape(9, 128, 128), ClipShape(33, 272, 480)
IN_RAM = {"states": "bf16", "activations_in_ram": True}
BLOCK_FP8 = 8 * 5120**2 + 2 * 5120 * 13824


@pytest.mark.parametrize(
    ("clip", "blocks", "table", "fp8"),
    [
        (SMALL, 2, {}, True),
        (SMALL, 3, {**IN_RAM, "block_swap": 3}, True),
        (REAL, 3, {"states": "bf16"}, False),
        (REAL, 3, {**IN_RAM, "block_swap": 3}, True),
    ],
)
def test_the_law_is_within_fifteen_percent(clip, blocks, table, fp8):
    point = count_step(clip, blocks, table, fp8)
    assert abs(point["error"]) < 0.15, point


def test_streamed_blocks_leave_two_places():
    """Five blocks on the card, or two places for them: three blocks of fp8 less."""
    whole, swapped = (
        count_step(SMALL, 5, {**IN_RAM, **table}) for table in ({}, {"block_swap": 5})
    )
    assert whole["counted_bytes"] - swapped["counted_bytes"] == pytest.approx(
        3 * BLOCK_FP8, rel=0.02
    )


def test_a_base_in_fp8_is_half_of_one_in_bf16():
    half, byte = (count_step(SMALL, 2, {}, fp8) for fp8 in (False, True))
    saved = half["weights_on_card_bytes"] - byte["weights_on_card_bytes"]
    assert saved == 2 * BLOCK_FP8
