"""The best edit that is finished in a number of minutes, and its text."""

from dataclasses import replace

import pytest

from sama_core.errors import InputError
from sama_core.geometry import ClipShape
from sama_core.plan.cards import name_machine
from sama_core.plan.in_minutes import TimedPlan, plan_minutes
from sama_core.plan.machine import CPU, GIB, NVIDIA, Machine
from sama_core.plan.minutes_text import list_choices, list_settings_by_node, report_minutes
from sama_core.plan.request import Request
from sama_core.plan.trade_offs import Wish


def plan(minutes: float, card: str = "RTX 4090", ram: int = 64, frames: int = 81, **wish):
    machine = replace(name_machine(card), free_ram=ram * GIB)
    return plan_minutes(make_wish(frames, **wish), minutes, machine)


def make_wish(frames: int = 81, **wish) -> Wish:
    return Wish.of(Request(ClipShape(81, 480, 832)), frames, (832, 480), **wish)


def lines(made: TimedPlan) -> list[str]:
    """The first lines of its text."""
    return report_minutes(made).splitlines()


@pytest.mark.parametrize(
    ("minutes", "asked", "choices"),
    [
        (
            10,
            {"card": "RTX 4070", "ram": 32},
            [
                (
                    "Full: 81 frames of 672x384, 4 steps, cfg 1 with a step-distilled LoRA; "
                    "4.8 to 8.5 min"
                ),
                (
                    "Middle: 81 frames of 480x288, 4 steps, cfg 1 with a step-distilled LoRA; "
                    "112 to 205 s"
                ),
                (
                    "Draft: 33 frames of 480x288, 4 steps, cfg 1 with a step-distilled LoRA; "
                    "37 to 74 s"
                ),
            ],
        ),
        (
            600,
            {"lora": False},
            [
                "Full: 81 frames of 832x480, 50 steps, cfg 5; 1.4 to 2.5 h",
                "Middle: 81 frames of 832x480, 25 steps, cfg 5; 43 to 75 min",
                "Draft: 81 frames of 640x352, 20 steps, cfg 5; 14 to 24 min",
            ],
        ),
        (
            60,
            {"frames": 600},
            [
                (
                    "Full: 600 frames of 800x448, in 10 segments of 81, 4 steps, cfg 1 with a "
                    "step-distilled LoRA; 29 to 50 min"
                ),
                (
                    "Middle: 600 frames of 640x352, in 10 segments of 81, 4 steps, cfg 1 with a "
                    "step-distilled LoRA; 14 to 24 min"
                ),
                (
                    "Draft: 420 frames of 480x288, in 7 segments of 81, 4 steps, cfg 1 with a "
                    "step-distilled LoRA; 4.6 to 8.3 min"
                ),
            ],
        ),
        (
            1,
            {"card": "RTX 4070", "ram": 32},
            [
                (
                    "Full: 17 frames of 576x352, 4 steps, cfg 1 with a step-distilled LoRA, "
                    "weight_dtype fp8_e4m3fn; 28 to 51 s"
                ),
                "Middle: nothing else that is finished in 50% of the time",
                "Draft: nothing else that is finished in 17% of the time",
            ],
        ),
    ],
)
def test_three_choices(minutes, asked, choices):
    assert lines(plan(minutes, **asked))[2:5] == choices


def test_the_longest_time_counts_and_a_tenth_is_left():
    """On a 4090 the distilled edit in 6 steps takes 5.2 to 9 minutes by the README's table."""
    for minutes, steps in ((9, 4), (10, 6), (14, 8)):
        chosen = plan(minutes).choices
        assert chosen["full"].settings.request.steps == steps
        assert chosen["full"].high <= 0.9 * 60 * minutes
        assert chosen["middle"].high <= chosen["full"].high / 2
        assert chosen["draft"].high <= chosen["full"].high / 6


def test_quicker_choices_keep_the_weights_of_the_full_one():
    """Others would be loaded anew, which takes longer than they save."""
    chosen = plan(10).choices
    assert {way.settings.request.storage for way in chosen.values()} == {"fp8_e4m3fn"}


def test_time_that_nothing_meets():
    found = plan(0.1)
    assert found.choices == {} and list_choices(found, 0) == []
    assert lines(found)[:2] == [
        "SAMA in 0.1 minutes on RTX 4090, 24.0 GiB free",
        "Asked for: 81 frames of 832x480, 50 steps, cfg 5; 1.4 to 2.5 h",
    ]
    assert lines(found)[2].startswith(
        "Nothing is certain to be finished in 0.1 minutes. The fastest of all is 17 frames of "
        "480x256, 4 steps, cfg 1 with a step-distilled LoRA, weight_dtype fp8_e4m3fn: 5.6 to 9.7 s "
        "(computed, not measured: "
    )
    assert lines(found)[3] == "Set 0.2 minutes or more, or name a faster card."
    assert plan(0.2).choices


@pytest.mark.parametrize(
    ("machine", "answer"),
    [
        (
            Machine(CPU, "AMD EPYC", free_ram=64 * GIB),
            (
                "Time: not known; SAMA-14B was never run on a CPU. Name the card that you will "
                "use, such as RTX 4090."
            ),
        ),
        (
            Machine(NVIDIA, "RTX 9999", 24 * GIB, 24 * GIB, 64 * GIB),
            (
                "Time: not known for RTX 9999, so that nothing can be chosen by it. "
                "`python3 run.py plan --calibrate` measures this machine. Or name a card whose "
                "speed is known, such as RTX 4090."
            ),
        ),
        (
            Machine(NVIDIA, "RTX 4090", 24 * GIB, 24 * GIB, GIB),
            (
                "Nothing of this model fits into the memory that is free, however small: close "
                "what else uses memory, or use a larger machine."
            ),
        ),
    ],
)
def test_machines_for_which_nothing_can_be_chosen(machine, answer):
    found = plan_minutes(make_wish(), 10, machine)
    assert found.choices == {}
    assert lines(found)[-1] == answer


@pytest.mark.parametrize("minutes", [0, -3, float("nan"), float("inf")])
def test_minutes_that_are_no_time(minutes):
    with pytest.raises(InputError) as refused:
        plan(minutes)
    assert f"minutes: got {minutes:g}, needs more than 0." in str(refused.value)


def test_settings_to_copy():
    """By node for people, by name for the canvas."""
    made = plan(1, "RTX 4070", 32)
    assert list_settings_by_node(made.choices["full"], made) == [
        "SAMA Edit Whole Video: frames 17, area 202752, steps 4, cfg 1",
        "or SAMA Source Video: frames 17, area 202752, and SAMA Edit: steps 4, cfg 1",
        "Load SAMA Model: weight_dtype fp8_e4m3fn",
        "Load SAMA LoRA: a step-distilled LoRA, between model and edit",
    ]
    assert list_choices(made, 0) == [
        {
            "name": "Full",
            "model": "sama_14b_ema.safetensors",
            "says": "17 frames of 576x352, 4 steps, cfg 1 with a step-distilled LoRA, weight_dtype "
            "fp8_e4m3fn",
            "time": "28 to 51 s",
            "frames": 17,
            "area": 202752,
            "steps": 4,
            "cfg": 1.0,
            "segment_frames": 81,
            "segments": 1,
            "weight_dtype": "fp8_e4m3fn",
            "file": "",
            "lora": True,
        }
    ]
    long = plan(60, frames=600)
    assert list_settings_by_node(long.choices["draft"], long)[0] == (
        "SAMA Edit Whole Video: frames 420, area 138240, steps 4, cfg 1, segment_frames 81"
    )
    frames = {choice["name"]: choice["frames"] for choice in list_choices(long, 0)}
    assert frames == {"Full": 0, "Middle": 0, "Draft": 420}


def test_what_the_text_does_not_know_it_says():
    text = report_minutes(plan(10))
    assert "On SAMA-14B nobody has measured what each costs." in text
    assert "How it edits with SAMA is untested" in text
    assert "starts from other noise" in text
    assert "step-distilled" not in report_minutes(plan(600, lora=False))
    assert "Full: " not in report_minutes(plan(10), listed=False)
