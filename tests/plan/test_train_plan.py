"""A training's plan: the aims for cards of 16 and 24 GB, what is missing, and what helps next."""

from dataclasses import asdict, replace

import pytest

from sama_core.geometry import ClipShape
from sama_core.plan.machine import CPU, GIB, Machine
from sama_core.plan.train_law import lora_weights, step_bytes
from sama_core.plan.train_plan import plan_training
from sama_core.plan.train_request import TrainRequest
from sama_core.plan.train_summary import advise_memory, report_training
from sama_core.plan.weight_bytes import RELEASED_CONFIG

SMALL, WIDE = ClipShape(33, 272, 480), ClipShape(49, 480, 832)
LEAN = TrainRequest(
    SMALL,
    lora_rank=32,
    fp8_base=True,
    checkpointing=True,
    half_states=True,
    inputs_in_ram=True,
    block_swap=24,
    cached=True,
)


def card(gib: int, ram: int = 64, name: str = "RTX 4090") -> Machine:
    return Machine(card=name, free_vram=gib * GIB, total_vram=gib * GIB, free_ram=ram * GIB)


def test_the_aims():
    """A LoRA of rank 32 on SAMA-14B: 33 frames of 480x272 in 16 GB, 49 of 832x480 in 24 GB."""
    small = plan_training(LEAN, card(16, 32, "RTX 4080"))
    wide = plan_training(replace(LEAN, clip=WIDE, block_swap=30), card(24))
    assert small.fits and wide.fits
    assert small.card / GIB == pytest.approx(12.7, abs=0.1)
    assert wide.card / GIB == pytest.approx(20.9, abs=0.1)
    assert not plan_training(replace(LEAN, clip=WIDE, block_swap=30), card(16)).fits


def test_block_inputs():
    """40 inputs of 40,625 tokens of 5120 numbers in 16 bit: the 16.6 GB that the law moves."""
    here, there = (
        step_bytes(RELEASED_CONFIG, WIDE.latent(), 1, True, True, in_ram) for in_ram in (0, 1)
    )
    assert here - there == 39 * 40_625 * 5120 * 2
    assert replace(LEAN, clip=WIDE).inputs == 40 * 40_625 * 5120 * 2


def test_weights():
    """As many as the recipes' step trains, and a block of fp8 is a byte for each weight."""
    assert lora_weights(RELEASED_CONFIG, 32) == 40 * 32 * (16 * 5120 + 2 * (5120 + 13824))
    assert LEAN.block == 8 * 5120**2 + 2 * 5120 * 13824
    assert LEAN.base_in_ram == 24 * LEAN.block
    assert LEAN.base_on_card == 18 * LEAN.block + LEAN.other_weights


def test_what_helps_comes_in_the_order_of_its_cost():
    plain = TrainRequest(SMALL, lora_rank=32, batch_size=4)
    found = plan_training(plain, card(16, 64))
    assert not found.fits
    assert [one.settings for one in found.remedies] == [
        "[clips] cache = true",
        "gradient_checkpointing = true",
        '[memory] base = "fp8"',
        '[memory] states = "bf16" with precision = "bf16"',
        "accumulation = 4",
        "[memory] activations_in_ram = true",
        "[memory] block_swap = 14",
    ]
    assert plan_training(found.remedies[-1].request, card(16, 64)).fits


def test_nothing_helps():
    plan = plan_training(replace(LEAN, clip=WIDE, block_swap=0), card(8))
    assert plan.remedies == () and not plan.fits
    assert "use smaller frames or fewer of them" in report_training(plan)


def test_the_next_setting_for_a_run_out_of_memory():
    plain = TrainRequest(SMALL, lora_rank=32, cached=True, checkpointing=True)
    assert advise_memory(plain) == '[memory] base = "fp8"'
    assert advise_memory(LEAN) == "[memory] block_swap = 25"
    assert "smaller lora_rank" in advise_memory(replace(LEAN, block_swap=40))
    assert advise_memory(TrainRequest(SMALL)) == "[clips] cache = true"


def test_time():
    """Operations of a step over 35 to 60 % of the card's peak; twice the passes, twice the time."""
    once, twice = (
        plan_training(replace(LEAN, batch_size=n, accumulation=n), card(24)).seconds for n in (1, 2)
    )
    assert 5 < once[0] < once[1] < 60
    assert twice[0] == pytest.approx(2 * once[0]) and twice[1] == pytest.approx(2 * once[1])
    assert plan_training(LEAN, card(24, name="unknown")).seconds is None


def test_report():
    text = report_training(plan_training(replace(LEAN, rows=100), card(16, 32)), "A note.")
    assert text.startswith("A note.\nSAMA training plan: 33 frames of 480x272, a LoRA of rank 32")
    for part in (
        "7.9 GiB of 24 streamed blocks, 3.5 GiB of block inputs",
        "Disk of the cache: 11 MiB a pair at most, 1.0 GiB for 100 rows",
        "Verdict: it fits. All figures are computed; none was measured on a card.",
    ):
        assert part in text


def test_without_a_card():
    machine = Machine(kind=CPU, free_ram=8 * GIB)
    plan = plan_training(LEAN, machine)
    assert plan.short_ram and not plan.short_card
    assert Machine(**asdict(machine)) == machine


def test_the_whole_time_and_few_weights():
    """Hours beside seconds a step; a small model does not train "0 million" weights."""
    small = replace(LEAN, steps=2000, config=replace(LEAN.config, num_layers=1), lora_rank=1)
    text = report_training(plan_training(small, card(24)))
    assert " for 2000 steps (computed" in text and "0.12 million weights trained" in text
    assert " steps (" not in report_training(plan_training(LEAN, card(24)))


def test_all_weights_on_a_small_card_need_a_lora():
    text = report_training(plan_training(TrainRequest(SMALL), card(16)))
    assert "set lora_rank" in text and "a smaller lora_rank" not in text
