"""What an alignment adds to a training's plan, by literal numbers of the two recipes' shapes."""

from dataclasses import replace

import pytest

from sama_core.geometry import ClipShape
from sama_core.plan.align_law import AlignShapes
from sama_core.plan.machine import GIB, Machine
from sama_core.plan.train_plan import plan_training
from sama_core.plan.train_request import HEADROOM, TrainRequest
from sama_core.plan.train_summary import report_training

CLIP = ClipShape(49, 480, 832)
TOKENS, ALL = 13 * 30 * 52, 49 * 30 * 52
SARA = AlignShapes(
    weights=17_571_200, widths=(2048, 2048), out=1408, cells=15 * 26, slices=25, width=1408,
    targets=25 * 15 * 26 * 1409, pair_rows=3.8, teacher=4 * 10**9,
)  # fmt: skip
LGF = AlignShapes(
    weights=14_160_000, widths=(768, 512, 256), out=256, cells=30 * 52, slices=49, width=256,
    targets=48 * 30 * 52 * 49, tracks=True, relation="flow",
)  # fmt: skip
LEAN = TrainRequest(
    CLIP, lora_rank=32, fp8_base=True, checkpointing=True, half_states=True, cached=True
)
CARD = Machine(card="RTX 4090", free_vram=24 * GIB, total_vram=24 * GIB, free_ram=64 * GIB)


def test_what_videorepas_projector_keeps():
    """Before and behind SiLU, its output on the cells, and its weights, in 16 bit."""
    expected = 4 * TOKENS * 4096 + 2 * 13 * 15 * 26 * 1408 + 2 * 17_571_200
    assert SARA.kept_bytes(CLIP.latent(), 1, half=True) == expected
    whole = 8 * TOKENS * 4096 + 4 * 13 * 15 * 26 * 1408
    assert SARA.kept_bytes(CLIP.latent(), 1, half=False) == whole


def test_what_sam2videoxs_projector_keeps():
    """Of every frame: GroupNorm and SiLU in float32; and 52 frames of 768 before them."""
    expected = 10 * ALL * 1536 + 2 * ALL * 256 + 2 * 4 * TOKENS * 768 + 2 * 14_160_000
    assert LGF.kept_bytes(CLIP.latent(), 1, half=True) == expected
    both = replace(LGF, projectors=2, weights=2 * 14_160_000)
    assert both.kept_bytes(CLIP.latent(), 1, half=True) == 2 * expected


def test_the_plan_counts_state_activations_and_targets():
    request = replace(LEAN, align=LGF, batch_size=2)
    assert request.align_state == 20 * 14_160_000
    assert request.align_targets == 2 * 4 * 48 * 30 * 52 * 49
    kept = LGF.kept_bytes(CLIP.latent(), 2, half=True)
    assert request.align_activations == round(HEADROOM * kept)
    alone, aligned = (plan_training(one, CARD) for one in (replace(request, align=None), request))
    assert aligned.card - alone.card == request.align_bytes > 3 * GIB
    assert aligned.seconds[0] > alone.seconds[0]


def test_hidden_states_that_a_projector_keeps():
    """A 16-bit copy where they are float32, the whole sequence where blocks' inputs are in RAM."""
    kept = LGF.kept_bytes(CLIP.latent(), 1, half=True)
    for settings, states in (
        ({"half_states": False}, 2 * TOKENS * 5120),
        ({"inputs_in_ram": True}, 2 * (2 * TOKENS + 65) * 5120),
    ):
        request = replace(LEAN, align=LGF, **settings)
        assert request.align_activations == round(HEADROOM * (kept + states))


def test_a_loss_that_takes_more_than_a_block():
    """Pairs of cells of 8 pixels: 3.8 float32 numbers for each of 6240 x 25 · 6240."""
    wide = replace(SARA, cells=60 * 104)
    work = wide.work_bytes(CLIP.latent(), 1)
    assert work == pytest.approx(4 * 25 * 6240 * (3.8 * 6240 + 5 * 1408))
    small, large = (replace(LEAN, align=one).align_activations for one in (SARA, wide))
    assert small < GIB and large > 5 * GIB


def test_report():
    """What of it is what, and that the teacher's weights are not in it."""
    text = report_training(plan_training(replace(LEAN, align=SARA, rows=100), CARD))
    for part in (
        " of [align], ",
        "Of [align]: 0.3 GiB for 18 million weights of the projector, 0.4 GiB activations, 52 MiB",
        "its features are made ahead (train features RECIPE); its 3.7 GiB of weights are if",
        "Disk of the features: 26 MiB a clip, 2.6 GiB for 100 rows",
    ):
        assert part in text
    assert "align" not in report_training(plan_training(LEAN, CARD))
