"""Plans: time from measured points, from published peaks, or not at all."""

import json
from dataclasses import replace

import pytest

from sama_core.errors import SamaError
from sama_core.plan.budget import Budget
from sama_core.plan.machine import NVIDIA, Machine
from sama_core.plan.seconds import (
    SHIPPED,
    Flops,
    calibration_for,
    read_calibration,
    read_calibrations,
    seconds_per_step,
)
from sama_core.plan.weight_bytes import RELEASED_CONFIG

WORK = Flops(attention=660 * 10**12, linear=330 * 10**12)
PLACED = Budget(kept=0, streamed=0, batched=False, activations=0, peak=0, ram=0)


def point(total: int, *seconds: float, tokens: int = 65_585) -> dict:
    return {
        "tokens": tokens,
        "attention_flops": total // 2,
        "linear_flops": total - total // 2,
        "dtype": "bfloat16",
        "seconds": list(seconds),
    }


def write(folder, name="a.json", **changes):
    """Three points of 10, 20 and 30 tokens at 100, 50 to 100 and 200 operations a second."""
    data = {
        "card": "card",
        "date": "2026-01-01",
        "versions": {"torch": "2", "comfyui": None, "pack": "1"},
        "model": {"name": "a model", "width": 5120, "blocks": 2},
        "points": [
            point(100, 1.0, tokens=10),
            point(1000, 10.0, 20.0, tokens=20),
            point(10_000, 50.0, tokens=30),
        ],
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("tokens", "rates", "covered"),
    [
        (10, (100, 100), True),
        (15, (50, 100), True),
        (20, (50, 100), True),
        (25, (50, 200), True),
        (30, (200, 200), True),
        (9, (50, 200), False),
        (31, (50, 200), False),
    ],
)
def test_nearest_points_count_and_beyond_them_all(tmp_path, tokens, rates, covered):
    found = read_calibration(write(tmp_path))
    assert (found.rates(tokens), found.covers(tokens)) == (rates, covered)


def test_source_is_named(tmp_path):
    found = read_calibration(write(tmp_path, threads=1))
    assert (
        found.source(10)
        == "measured on card with 1 thread, 2026-01-01, with a model (torch 2, pack 1)"
    )
    assert found.source(1217) == "extrapolated from 10 to 30 tokens, " + found.source(10)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"points": []}', "not json"])
def test_broken_calibrations_are_refused_by_name(tmp_path, content):
    (tmp_path / "broken.json").write_text(content, encoding="utf-8")
    with pytest.raises(SamaError, match="broken.json: got no readable calibration"):
        read_calibration(tmp_path / "broken.json")


@pytest.mark.parametrize(
    "points",
    [
        [],
        [point(100)],
        [point(100, 0.0)],
        [point(100, -1.0)],
        [point(100, float("inf"))],
        [{"tokens": 1}],
    ],
)
def test_points_must_be_timed(tmp_path, points):
    with pytest.raises(SamaError, match="no readable calibration"):
        read_calibration(write(tmp_path, points=points))


def test_threads_that_are_no_number(tmp_path):
    assert "with 8 threads" in read_calibration(write(tmp_path, threads="8")).source(10)
    with pytest.raises(SamaError, match="no readable calibration"):
        read_calibration(write(tmp_path, threads="all"))


def test_broken_files_do_not_hide_the_others(tmp_path, caplog):
    write(tmp_path)
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    found = read_calibrations(tmp_path, tmp_path / "absent")
    assert [one.card for one in found if one.card == "card"] == ["card"]
    assert "broken.json: got no readable calibration" in caplog.text


def test_choice_of_the_calibration(tmp_path):
    """This very card, a model of about this width, the newest; of one day, the user's."""
    old, new = write(tmp_path / "a", date="2025-01-01"), write(tmp_path / "b")
    mine = write(tmp_path / "c", model={"name": "mine", "width": 5120})
    found = [read_calibration(path) for path in (new, old, mine)]
    assert calibration_for("card", 5120, found).model == "mine"
    assert calibration_for("card", 5120, found[:2]).date == "2026-01-01"
    assert calibration_for("card", 256, found) is None
    assert calibration_for("another card", 5120, found) is None
    assert calibration_for(None, 5120, found) is None


def test_a_calibration_counts_for_the_card_by_its_other_names(tmp_path):
    found = [read_calibration(write(tmp_path, card="NVIDIA GeForce RTX 4090"))]
    assert calibration_for("RTX 4090 24 GB", 5120, found) is found[0]
    assert calibration_for("RTX 4080", 5120, found) is None
    assert calibration_for("NVIDIA GeForce RTX 4090 Laptop GPU", 5120, found) is None


def test_shipped_calibrations_tell_card_date_and_versions():
    found = {path.name: read_calibration(path) for path in SHIPPED.glob("*.json")}
    assert list(found) == ["amd_epyc.json"]
    cpu = found["amd_epyc.json"]
    assert (cpu.card, cpu.threads, cpu.model, cpu.width) == ("AMD EPYC", 1, "SAMA-Shapes", 256)
    assert set(cpu.versions) == {"torch", "comfyui", "pack"} and cpu.date.startswith("2026-")
    assert [one.tokens for one in cpu.points] == [161, 225, 705, 1217]
    assert {one.dtype for one in cpu.points} == {"float32"}


def step(
    card: str | None,
    storage: str = "default",
    calls: int = 1,
    placed: Budget = PLACED,
    calibrations=(),
    tokens: int = 65_585,
):
    return seconds_per_step(
        WORK, calls, RELEASED_CONFIG, tokens, storage, placed, Machine(NVIDIA, card), calibrations
    )


def test_computed_seconds_of_an_h100():
    """990 TFLOP at 989 TFLOPS are a second, of which 35 to 60 % are assumed to be reached."""
    found = step("NVIDIA H100")
    assert (found.low, found.high) == pytest.approx((1.001 / 0.60, 1.001 / 0.35), rel=1e-3)
    assert found.source.startswith(
        "computed, not measured: 35% to 60% of the card's published peak; "
    )
    assert not found.measured
    assert step("NVIDIA H100", calls=2).low == 2 * found.low


def test_fast_fp8_speeds_up_all_but_attention():
    """660 at bfloat16's peak, 330 at twice that; plain fp8 storage is computed in bfloat16."""
    assert step("NVIDIA H100", "fp8_e4m3fn_fast").low == pytest.approx(
        (660 / 989 + 330 / 1979) / 0.60
    )
    assert step("NVIDIA H100", "fp8_e4m3fn").low == step("NVIDIA H100").low
    assert (
        step("NVIDIA GeForce RTX 3090", "fp8_e4m3fn_fast").low
        == step("NVIDIA GeForce RTX 3090").low
    )


def test_streaming_hides_behind_the_work_at_best_and_follows_it_at_worst():
    """At 6 to 40 GB/s; 60 GB of weights of which 24 come twice take 2.1 to 14 s; a batched pair
    streams once."""
    plain, streamed = step("NVIDIA H100"), replace(PLACED, streamed=60 * 10**9, again=24 * 10**9)
    found = step("NVIDIA H100", placed=replace(PLACED, streamed=30 * 10**9))
    assert (found.low, found.high, found.streaming) == pytest.approx((plain.low, plain.high + 5, 5))
    twice = step("NVIDIA H100", calls=2, placed=streamed)
    assert (twice.low, twice.high) == pytest.approx((4.2, 2 * plain.high + 28))
    assert step(
        "NVIDIA H100", calls=2, placed=replace(streamed, batched=True)
    ).high == pytest.approx(2 * plain.high + 14)


@pytest.mark.parametrize(("megabytes", "counts"), [(0, False), (1900, False), (1920, True)])
def test_streaming_counts_from_a_tenth_of_the_longest_time_on(megabytes, counts):
    """2.860 s of work at worst: 0.3178 s of transfer, 1,907 MB at 6 GB/s, are a tenth of both
    together."""
    assert (
        step("NVIDIA H100", placed=replace(PLACED, streamed=megabytes * 10**6)).streaming_counts
        is counts
    )


def test_measured_seconds_come_before_computed_ones(tmp_path):
    """990 TFLOP at 1 to 2 TFLOP a second."""
    timed = [point(10**15, 500.0, 1000.0)]
    calibrations = [read_calibration(write(tmp_path, card="NVIDIA H100", points=timed))]
    found = step("NVIDIA H100", calls=2, calibrations=calibrations)
    assert (found.low, found.high, found.measured) == (2 * 495.0, 2 * 990.0, True)
    assert found.source.startswith("measured on NVIDIA H100, 2026-01-01")


def test_lengths_beyond_the_measured_ones_are_called_extrapolated(tmp_path):
    """Two of forty blocks were timed: their sequences count, not their work."""
    timed = [point(10**12, 1.0, tokens=8_385), point(10**13, 5.0, tokens=40_625)]
    calibrations = [read_calibration(write(tmp_path, card="NVIDIA H100", points=timed))]
    inside, beyond = (
        step("NVIDIA H100", calibrations=calibrations, tokens=tokens) for tokens in (40_625, 65_585)
    )
    assert (inside.low, inside.high, inside.measured) == (495.0, 495.0, True)
    assert (beyond.low, beyond.high, beyond.measured) == (495.0, 990.0, False)
    assert beyond.source.startswith(
        "extrapolated from 8,385 to 40,625 tokens, measured on NVIDIA H100, 2026-01-01"
    )


def test_unknown_cards_have_no_seconds():
    assert step(None) is None
    assert step("Tesla T4") is None
