"""`python -m benchmarks.gpu` without a card.

Its grid, its report, and every path that needs no CUDA, dry.
"""

import json
import subprocess
import sys

import pytest

from benchmarks.gpu import __main__ as bench
from benchmarks.gpu.grid import choose_points, every_point

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
        if point.attention == "pytorch" and not point.compile and point.code == "sama"
    ]
    assert len(grid) == 3 * 2 * 2 * 5 and len(set(points)) == len(points) == 60 + 12 + 6
    assert {point.cap for point in grid} == {12, 16, 24, 48, None}
    assert [point.code for point in every_point(official=False)].count("official") == 1


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
            ],
            16,
        ),
        (["--attention", "sage"], 2),
        (["--compile", "on"], 2),
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
    code, report = run(*some)
    assert code == 0 and report["schema"] == "sama-gpu-1" and report["dry"] is True
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


def test_what_cannot_be_measured_is_said(run, tmp_path):
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
