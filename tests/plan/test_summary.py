"""The plan as an artist reads it."""

from dataclasses import replace

import pytest

from sama_core.plan import request as request_module
from sama_core.plan.machine import CPU, GIB, MIB, MPS, NVIDIA, Machine
from sama_core.plan.planning import Plan, make_plan
from sama_core.plan.request import Request, fitted_clip
from sama_core.plan.summary import out_of_memory_text, report, size, span
from sama_core.plan.weight_bytes import RELEASED

CARD = Machine(NVIDIA, "NVIDIA GeForce RTX 4090", 22 * GIB, 24 * GIB, 64 * GIB, 64 * GIB)


@pytest.fixture(autouse=True)
def plain_activations(monkeypatch):
    """4 GiB for 81 frames of 832x480, in proportion for others."""
    monkeypatch.setattr(
        request_module,
        "estimated_bytes",
        lambda config, latent, batch=1, element_size=2, source=True: (
            batch * 4 * GIB * latent.tokens() // 32_760
        ),
    )


def planned(
    machine: Machine = CARD, frames: int = 81, width: int = 832, height: int = 480, **settings
) -> Plan:
    clip, remarks = fitted_clip(frames, width, height)
    return make_plan(Request(clip, remarks=remarks, **settings), machine)


def lines(plan: Plan, start: str) -> list[str]:
    return [line for line in report(plan).splitlines() if line.startswith(start)]


def test_a_whole_plan():
    """The released model on a 24 GiB card; weights are streamed."""
    assert report(planned(frames=80)) == (
        "SAMA plan: 81 frames of 832x480, 50 steps, cfg 5\n"
        "80 frames will be padded to 81 (4k+1).\n"
        "Model: sama_14b_ema.safetensors, 14.3 billion weights, file in bfloat16: 26.7 GiB in "
        "memory\n"
        "Tokens: 65,585 = source 32,760 + semantic 65 + target 32,760\n"
        "Work: 5.12 PFLOP a call, 69% of it attention; 2 calls a step (cfg 5), 512 PFLOP in all\n"
        "Card: NVIDIA GeForce RTX 4090, 22.0 of 24.0 GiB free for this\n"
        "On the card: 8.0 GiB activations for two samples at once, 0.4 GiB left to others, 13.2 "
        "GiB of weights; "
        "13.4 GiB of weights are streamed from RAM in every call\n"
        "ComfyUI's dynamic VRAM finds the balance while it runs; these figures are computed.\n"
        "RAM: 35.9 GiB (weights 26.7 GiB, text encoder, VAE and frames 7.2 GiB, ComfyUI itself "
        "2.0 GiB), "
        "64.0 GiB free\n"
        "Time: 103 to 180 s a step, 1.4 to 2.5 h of sampling (computed, not measured: 35% to 60% "
        "of the card's "
        "published peak, streaming assumed at 6 to 40 GB/s; `python3 run.py plan --calibrate` "
        "measures this machine).\n"
        "This is sampling only: the VAE needs memory of its own, 5.2 GiB to decode these frames "
        "by ComfyUI's rule, and "
        "works in tiles where that is not free.\n"
        "Verdict: it fits, with 13.4 GiB of the weights streamed.\n"
        "Streaming adds at most 3 % to the time."
    )


def test_feed_forwards_that_are_not_kept_come_over_twice():
    """10.6 of 26.7 GiB are feed-forwards: 5.2 GiB kept leave 5.3 GiB that cross once more."""
    plan = planned(replace(CARD, free_vram=10 * GIB))
    assert lines(plan, "On the card") == [
        (
            "On the card: 4.0 GiB activations, 0.4 GiB left to others, 5.2 GiB of weights; 21.4 "
            "GiB of weights are "
            "streamed from RAM in every call, the feed-forward layers twice: about 26.8 GiB in all"
        )
    ]
    assert report(plan).endswith("Streaming adds at most 10 % to the time.")


def test_short_clips_wait_for_streamed_weights():
    """Five frames are 6,305 tokens: little work for 18.2 GiB, which come over once; then a smaller
    file is worth it."""
    plan = planned(replace(CARD, free_vram=10 * GIB), frames=5)
    assert lines(plan, "On the card")[0].endswith(
        "; 18.2 GiB of weights are streamed from RAM in every call"
    )
    assert lines(plan, "Time")[0].startswith(
        "Time: 3.8 to 9.8 s a step, 3.2 to 8.1 min of sampling ("
    )
    assert report(plan).endswith(
        "Verdict: it fits, with 18.2 GiB of the weights streamed.\nTo keep all weights on the "
        "card, one of:\n  - a GGUF Q4_1 file"
    )


def test_unknown_times_leave_the_list():
    text = report(planned(replace(CARD, card="Tesla T4")))
    assert text.endswith(
        "of the weights streamed.\nTo keep all weights on the card, one of:\n  - an fp8 file"
    )


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.123, 9.96, "0.12 to 10 s"),
        (9.5, 299, "9.5 to 299 s"),
        (103, 300, "1.7 to 5 min"),
        (60, 5999, "1 to 100 min"),
        (5160, 9000, "1.4 to 2.5 h"),
        (100, 100.2, "about 100 s"),
    ],
)
def test_both_ends_of_a_time_have_one_unit(low, high, text):
    assert span(low, high) == text


@pytest.mark.parametrize(("frames", "mebibytes"), [(81, 5332.03), (17, 5332.03), (13, 1675.78)])
def test_memory_of_the_vae_is_cores_rule(frames, mebibytes):
    """7000 x 60 x 104 x 64 numbers of two bytes; 2200 for up to four latent frames."""
    plan = planned(frames=frames)
    assert plan.request.vae_bytes(CARD) / MIB == pytest.approx(mebibytes, abs=0.01)


def test_distilled_edit_that_fits_whole():
    plan = planned(replace(CARD, free_vram=80 * GIB), steps=6, cfg=1.0)
    assert plan.fits and not plan.resident
    assert lines(plan, "Work") == [
        "Work: 5.12 PFLOP a call, 69% of it attention; 1 call a step (cfg 1), 30.7 PFLOP in all"
    ]
    assert lines(plan, "On the card") == [
        "On the card: 4.0 GiB activations, 0.4 GiB left to others, and all 26.7 GiB of weights"
    ]
    assert report(plan).endswith("Verdict: it fits.")


def test_card_that_is_too_small():
    plan = planned(replace(CARD, free_vram=3 * GIB))
    assert not plan.fits
    assert report(plan).partition("Verdict: ")[2].splitlines() == [
        "it does not fit: 1.8 GiB of card memory are missing.",
        "What would fit, one of:",
        "  - 41 frames, with 26.5 GiB of the weights streamed",
        "  - frames of 576x352, with 26.5 GiB of the weights streamed",
    ]


def test_card_without_free_memory():
    text = report(planned(replace(CARD, free_vram=0)))
    assert (
        "Verdict: it does not fit: the card has no free memory.\nNo frame count, area or file of "
        "this model fits: "
        "close what else uses memory, or use a larger machine." in text
    )


def test_model_larger_than_ram_and_card_names_a_file():
    plan = planned(replace(CARD, free_vram=8 * GIB, free_ram=20 * GIB))
    assert lines(plan, "  - ") == [
        (
            "  - an fp8 file (13.6 GiB, from SAMA Convert Weights), with 10.1 GiB of the "
            "weights streamed"
        )
    ]


def test_highvram_is_named_where_it_is_in_the_way():
    text = report(planned(replace(CARD, vram_mode="high", dynamic=False)))
    assert text.endswith(
        "  - ComfyUI without --highvram or --gpu-only, so that it may stream weights"
    )


def test_highvram_is_in_nobodys_way_with_dynamic_vram():
    """It still is in the way of a GGUF file."""
    machine = replace(CARD, free_vram=12 * GIB, vram_mode="high")
    assert planned(machine).fits and "highvram" not in report(planned(machine))
    gguf = replace(RELEASED.as_format("Q8_0", 8.5), name="sama.gguf")
    assert "without --highvram" in report(planned(machine, weights=gguf))


def test_cpu_and_apple():
    on_cpu = planned(Machine(CPU, "AMD EPYC", free_ram=64 * GIB))
    assert lines(on_cpu, "Model") == [
        (
            "Model: sama_14b_ema.safetensors, 14.3 billion weights, file in bfloat16, "
            "computed in float32: 53.3 GiB in memory"
        )
    ]
    assert lines(on_cpu, "Device") == ["Device: AMD EPYC; nothing is streamed"]
    assert lines(on_cpu, "Time") == [
        "Time: not known; SAMA-14B was never run on a CPU. Each step would be 10.2 PFLOP."
    ]
    assert not on_cpu.fits
    on_mps = planned(Machine(MPS, free_ram=64 * GIB))
    assert lines(on_mps, "Device") == [
        "Device: Apple GPU, which shares the computer's memory; nothing is streamed"
    ]
    assert on_mps.fits


def test_unknown_cards_say_how_to_measure():
    assert lines(planned(replace(CARD, card="Tesla T4")), "Time") == [
        "Time: not known for Tesla T4. `python3 run.py plan --calibrate` measures this machine."
    ]


def test_assumed_memory_is_called_so():
    plan = planned(
        Machine(
            NVIDIA,
            None,
            12 * GIB,
            12 * GIB,
            32 * GIB,
            32 * GIB,
            assumed_vram=True,
            assumed_ram=True,
        )
    )
    assert lines(plan, "Card") == ["Card: a card, 12.0 of 12.0 GiB assumed free"]
    assert lines(plan, "RAM")[0].endswith(", 32.0 GiB assumed free")


def test_a_sum_of_ram_above_what_is_free_is_explained():
    """12 GiB free of card memory hold 4 GiB of activations and a few of weights."""
    plan = planned(replace(CARD, free_vram=12 * GIB, free_ram=32 * GIB))
    ram = plan.placed.ram - plan.placed.kept
    assert plan.fits and ram < 32 * GIB < plan.placed.ram
    assert lines(plan, "RAM")[0].startswith("RAM: 35.9 GiB (weights 26.7 GiB, ")
    assert lines(plan, "The model file") == [
        (
            f"The model file is mapped, not copied: the {size(plan.placed.kept)} of weights on the "
            f"card take no RAM, so the edit needs {size(ram)} of it."
        )
    ]
    text = report(plan)
    assert text.index("RAM: ") < text.index("The model file is mapped") < text.index("Time: ")


@pytest.mark.parametrize(
    "machine",
    [
        CARD,
        replace(CARD, free_vram=12 * GIB, free_ram=None),
        replace(CARD, free_vram=12 * GIB, free_ram=32 * GIB, dynamic=False),
    ],
    ids=["enough", "unknown", "without dynamic VRAM"],
)
def test_other_sums_of_ram_need_no_explanation(machine):
    assert lines(planned(machine), "The model file") == []


def test_unpacking_of_gguf_files_is_mentioned():
    packed = replace(RELEASED.as_format("Q8_0", 8.5), name="sama.gguf")
    assert lines(planned(weights=packed), "Time")[0].endswith("Unpacking a GGUF file comes on top.")


def test_clips_longer_than_the_release_are_pointed_to_segments():
    text = report(planned(replace(CARD, free_vram=80 * GIB), frames=97))
    assert text.endswith(
        "SAMA was released for 81 frames: SAMA Long Edit works through longer clips in segments, "
        "and "
        "needs the memory of 81."
    )


def test_absurd_sizes_get_a_plan_too():
    plan = planned(frames=100_000, width=16_384, height=16_384)
    assert plan.tokens == 2 * 25_001 * 1024 * 1024 + 65
    assert not plan.fits and plan.nearest


def test_out_of_memory_where_the_plan_knew_it():
    text = out_of_memory_text(planned(replace(CARD, free_vram=3 * GIB)))
    assert text.startswith(
        "SAMA ran out of memory. Nothing is broken: change a setting and queue it again.\n"
        "SAMA plan: 81 frames of 832x480"
    )
    assert (
        "Verdict: it does not fit: 1.8 GiB of card memory are missing.\nWhat would fit, one of:\n "
        " - " in text
    )


def test_out_of_memory_where_the_plan_said_it_fits():
    """Then a quarter less is offered, and what frees memory."""
    plan = planned(replace(CARD, free_vram=80 * GIB), cfg=1.0)
    advice = (
        out_of_memory_text(plan).partition("By these figures it should have fitted")[2].splitlines()
    )
    assert advice[1:] == [
        "  - 57 frames",
        "  - frames of 704x416",
        "  - ComfyUI started with --reserve-vram 2, which streams more of the weights",
        "  - closing other programs",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MiB"), (50 * MIB, "50 MiB"), (GIB // 2, "0.5 GiB"), (26.66 * GIB, "26.7 GiB")],
)
def test_sizes(count, text):
    assert size(count) == text
