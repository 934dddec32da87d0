"""`python -m benchmarks.gpu` without a card.

Its grid, its report, and every path that needs no CUDA, dry.
"""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as bench
from benchmarks.gpu.goals import add_ratios, summarise, table
from benchmarks.gpu.grid import FULL, choose_points, every_point
from benchmarks.gpu.time_budget import expected_seconds

from ..harness.comfy_home import comfy_source
from ..harness.imports import REPO_ROOT


@pytest.fixture
def run(tmp_path, capsys):
    """A function that runs the benchmark dry; returns (exit code, the report)."""

    def command(*arguments: str) -> tuple[int, dict]:
        code = bench.main(
            [
                "--json",
                str(tmp_path / "out.json"),
                "--dry",
                "--folder",
                str(tmp_path / "models"),
                "--comfyui",
                str(comfy_source().folder),
                "--steps",
                "3",
                *arguments,
            ]
        )
        capsys.readouterr()
        return code, json.loads((tmp_path / "out.json").read_text())

    return command


def test_the_grid():
    points = every_point(official=True)
    grid = [
        point
        for point in points
        if (point.attention, point.compile, point.code) == ("pytorch", False, "sama")
        and not point.prefetch
    ]
    assert len(grid) == 3 * 2 * 2 * 5 and len(set(points)) == len(points) == 60 + 16 + 4 + 6
    assert {point.cap for point in grid} == {12, 16, 24, 48, None}
    assert [point.code for point in every_point(official=False)].count("official") == 1


def test_what_decides_most_comes_first():
    """The goals at the model's own size, then streamed points with prefetch and without."""
    points = every_point(official=True)
    assert [(point.code, point.weights) for point in points[:3]] == [
        ("sama", "bf16"),
        ("official", "bf16"),
        ("sama", "fp8"),
    ]
    assert {(point.frames, point.width, point.height) for point in points[:11]} == {(81, 832, 480)}
    assert [(point.cap, point.prefetch) for point in points[3:7]] == [
        (12, False),
        (12, True),
        (12, False),
        (12, True),
    ]


FULL_STEP = {"ceiling": {"bf16": {"flops_per_second": 1e15}}, "dry": False}


def test_the_time_of_a_point_is_expected_from_those_before():
    """5.12 PFLOP at 0.4 of 1 PFLOP/s are 12.8 s, at 0.5 10.2 s; a cap takes half as long again."""
    start = 20 + 28.7 / 1.5
    first = expected_seconds(FULL, {**FULL_STEP, "points": []}, steps=3)
    assert first == pytest.approx(start + 3 * 12.8, rel=0.01)
    before = {"points": [{"ceiling_fraction": 0.5, "code": "sama"}, {"code": "official"}]}
    later = expected_seconds(FULL, {**FULL_STEP, **before}, steps=3)
    assert later == pytest.approx(start + 3 * 10.24, rel=0.01)
    capped = expected_seconds(replace(FULL, cap=12), {**FULL_STEP, **before}, steps=3)
    assert capped == pytest.approx(start + 3 * 10.24 * 1.5, rel=0.01)


def found(seconds: float, **changes) -> dict:
    point = asdict(replace(FULL, **changes))
    return {
        **point,
        "outcome": "ok",
        "seconds_per_step": [seconds],
        "ceiling_fraction": 5 / seconds,
    }


def test_goals_are_read_off_the_points():
    """8 s against the official code's 16; sparse attention reaches no goal; prefetch takes 0.75."""
    points = add_ratios(
        [
            found(8.0),
            found(16.0, code="official"),
            found(2.0, attention="sol-attn"),
            found(12.0, cap=12),
            found(9.0, cap=12, prefetch=True),
            {**asdict(replace(FULL, frames=33)), "outcome": "oom"},
        ]
    )
    assert [point["of_official"] for point in points] == [0.5, None, 0.125, 0.75, 0.5625, None]
    assert [point["of_no_prefetch"] for point in points] == [None] * 4 + [0.75, None]
    goals = summarise(points)
    assert goals == {
        "ceiling_fraction": {"goal": 0.6, "best": 0.625, "reached": True},
        "of_official": {"goal": 0.7, "best": 0.5, "reached": True},
        "of_no_prefetch": {"goal": 1.0, "best": 0.75, "reached": True},
    }
    told = table({"points": points, "goals": goals})
    assert "| 81 x 832x480 | bf16 | 12 | pytorch, prefetch | 9 | 56% | 56% |" in told
    assert "of_official: best 50%, goal 70%: reached" in told
    assert summarise([])["of_official"] == {"goal": 0.7, "best": None, "reached": None}


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (
            [
                "--frames",
                "33,81",
                "--caps",
                "12,all",
                "--code",
                "sama",
                "--attention",
                "pytorch",
                "--compile",
                "off",
                "--prefetch",
                "off",
            ],
            16,
        ),
        (["--attention", "sage"], 2),
        (["--compile", "on"], 2),
        (["--prefetch", "on"], 4),
        (["--weights", "fp8", "--sizes", "1280x720"], 15),
        (["--code", "official"], 6),
    ],
)
def test_only_some_points(arguments, count):
    asked = bench.parse(["--json", "x", *arguments])
    assert len(choose_points(every_point(official=True), asked)) == count


def test_dry_points_and_going_on(run, monkeypatch):
    """Both kinds of weights through ComfyUI, then nothing is measured twice."""
    some = ["--frames", "33", "--sizes", "832x480", "--caps", "24", "--code", "sama"]
    code, report = run(*some, "--minutes", "0")
    assert code == 0 and report["points"] == [] and len(report["left_out"]) == 2
    code, report = run(*some)
    assert code == 0 and report["schema"] == "sama-gpu-2" and report["dry"] is True
    assert report["left_out"] == [] and report["goals"]["ceiling_fraction"]["goal"] == 0.6
    assert [point["weights"] for point in report["points"]] == ["bf16", "fp8"]
    assert report["ceiling"]["bf16"]["flops_per_second"] > 0
    for point in report["points"]:
        assert point["outcome"] == "ok" and len(point["seconds_per_step"]) == 2
        assert point["tokens"] == 2 * 2 * 2 * 2 + 65 and point["ceiling_fraction"] > 0
        assert point["peak_device_bytes"] == 0 and point["dynamic"] is False
    assert report["points"][1]["weights_bytes"] < report["points"][0]["weights_bytes"]

    def never(*_arguments, **_told):
        raise AssertionError("measured again")

    monkeypatch.setattr(bench, "run_child", never)
    assert run(*some) == (0, report)


def test_a_compiled_point(run):
    """Through core's torch.compile wrapper; dry without the compiler behind it."""
    code, report = run("--compile", "on", "--weights", "bf16")
    assert code == 0 and [point["outcome"] for point in report["points"]] == ["ok"]


def test_files_take_no_more_disk_than_they_may():
    asked = bench.parse(["--json", "x", "--disk", "40"])
    told = bench.measure(replace(FULL, weights="fp8"), asked, {}, {"bf16": Path("x")})
    assert told["outcome"] == "absent: its file is more than --disk 40.0"


def test_what_cannot_be_measured_is_said(run, tmp_path):
    told = run("--attention", "sol-attn", "--weights", "bf16")[1]["points"][0]["outcome"]
    assert told == "absent: this ComfyUI has no Model Sparse Attention"
    code, report = run("--attention", "sage", "--weights", "bf16")
    assert code == 0 and report["points"][0]["outcome"] == "absent: sageattention is not installed"
    assert (
        run("--code", "official")[1]["points"][0]["outcome"]
        == "absent: no --official FOLDER was given"
    )


def test_an_official_folder_that_is_none(run, tmp_path):
    code, report = run(
        "--code", "official", "--frames", "33", "--sizes", "832x480", "--official", str(tmp_path)
    )
    assert code == 0 and "no folder diffsynth" in report["points"][0]["outcome"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ({"returncode": 1, "stderr": "x\ntorch.OutOfMemoryError: CUDA out of memory."}, "oom"),
        ({"returncode": -9, "stderr": ""}, "oom"),
        ({"returncode": 1, "stderr": "a\nValueError: no"}, "failed: ValueError: no (exit code 1)"),
        (None, "timeout"),
    ],
)
def test_how_a_process_ends_is_a_result(monkeypatch, end, outcome):
    def ended(command, timeout, **_settings):
        if end is None:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, stdout="", **end)

    monkeypatch.setattr(subprocess, "run", ended)
    asked = bench.parse(["--json", "x", "--comfyui", str(comfy_source().folder)])
    assert bench.run_child(asked, "point") == {"outcome": outcome}


def test_a_file_of_another_kind_is_not_written_over(tmp_path):
    (tmp_path / "out.json").write_text('{"schema": "other"}')
    with pytest.raises(SystemExit, match="another kind of file"):
        bench.main(["--json", str(tmp_path / "out.json"), "--dry"])
    assert (tmp_path / "out.json").read_text() == '{"schema": "other"}'


def test_the_point_starts_without_torch():
    """Core's memory library has to be loaded before it."""
    program = "import sys, benchmarks.gpu.point; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=REPO_ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"
