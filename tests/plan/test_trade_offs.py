"""What is given up for time, and in which order."""

from dataclasses import replace

import pytest

from sama_core import embedded
from sama_core.geometry import WAN_21, ClipShape, choose_bucket
from sama_core.plan.cards import name_machine
from sama_core.plan.machine import GIB, MPS, Machine
from sama_core.plan.read_model import read_model
from sama_core.plan.request import Request
from sama_core.plan.trade_offs import (
    Wish,
    list_forms,
    list_frame_sizes,
    list_lengths,
    list_samplings,
    list_segments,
    list_settings,
)

CARD = replace(name_machine("RTX 4090"), free_ram=64 * GIB)


def wish(frames: int = 81, size: tuple[int, int] = (832, 480), lora=True, **changes) -> Wish:
    asked = replace(Request(ClipShape(81, 480, 832)), **changes)
    return Wish.of(asked, frames, size, lora)


def test_the_first_way_is_what_was_asked_for_and_the_length_goes_last():
    ways = list(list_settings(wish(), CARD))
    kept = [(way.frames, way.request.clip.width, way.request.steps, way.lora) for way in ways]
    assert kept[0] == (81, 832, 50, False)
    assert kept.index((81, 832, 20, False)) < kept.index((81, 832, 8, True))
    assert kept.index((81, 832, 4, True)) < kept.index((81, 800, 50, False))
    assert kept.index((81, 480, 4, True)) < kept.index((65, 832, 50, False))
    assert kept[-1] == (17, 480, 4, True)


def test_steps_come_before_the_lora_and_fall_to_two_fifths():
    assert list_samplings(wish()) == [
        (50, 5.0, False),
        (40, 5.0, False),
        (30, 5.0, False),
        (25, 5.0, False),
        (20, 5.0, False),
        (8, 1.0, True),
        (6, 1.0, True),
        (4, 1.0, True),
    ]
    assert {lora for _, _, lora in list_samplings(wish(lora=False))} == {False}


def test_few_steps_at_cfg_1_are_those_of_a_lora_that_is_there():
    assert list_samplings(wish(steps=6, cfg=1.0)) == [(6, 1.0, True), (4, 1.0, True)]
    assert list_samplings(wish(steps=1, cfg=1.0)) == [(1, 1.0, True)]


def test_there_is_no_step_distilled_lora_for_the_small_model():
    facts = read_model(embedded.DIT)
    small = wish(config=facts.config, weights=facts.weights, steps=10, cfg=1.3)
    assert list_samplings(small) == [
        (10, 1.3, False),
        (8, 1.3, False),
        (6, 1.3, False),
        (5, 1.3, False),
        (4, 1.3, False),
    ]


@pytest.mark.parametrize("size", [(832, 480), (1920, 1080), (1080, 1920), (640, 480), (100, 100)])
def test_smaller_frames_are_what_their_area_gives_the_clip(size):
    """So the area alone, handed to SAMA Source Video, makes them."""
    width, height = choose_bucket(*size)
    asked = wish(size=size, clip=ClipShape(81, height, width))
    first, *smaller = list_frame_sizes(asked)
    assert first == (width, height) and smaller
    for one in smaller:
        area = one[0] * one[1]
        assert choose_bucket(*size, area) == one
        assert 0.25 * width * height <= area < width * height


def test_lengths_of_short_and_long_clips():
    assert list_lengths(wish(50)) == [50, 49, 33, 17]
    assert list_lengths(wish(9)) == [9]
    assert list_lengths(wish(300)) == [300, 210, 147, 103, 81, 65, 49, 33, 17]
    assert list_segments(50, WAN_21) == [53]
    assert list_segments(300, WAN_21) == [81, 65, 49, 33]


def test_a_gguf_file_is_for_memory_alone():
    """With 64 GB of RAM the weights stay as they are or become fp8; Apple's GPU shares 20 GB."""
    request = Request(ClipShape(81, 256, 480), steps=6, cfg=1.0)

    def forms(machine: Machine) -> list[tuple[str, str]]:
        return [(one.storage, one.weights.format) for one in list_forms(request, machine)]

    assert forms(CARD) == [("default", "bfloat16"), ("fp8_e4m3fn", "bfloat16")]
    assert forms(Machine(MPS, free_ram=20 * GIB)) == [("default", "GGUF Q5_0")]
    assert forms(Machine(MPS, free_ram=8 * GIB)) == []


def test_segments_become_shorter_where_memory_demands_it():
    poor = replace(name_machine("RTX 4060"), free_ram=16 * GIB)
    way = next(list_settings(wish(600), poor))
    assert (way.frames, way.request.clip.frames) == (600, 33)
