"""SAMA-14B's shape with random weights on this machine's card: seconds per step and peak memory.

    python -m benchmarks.gpu --json out.json      points that out.json lacks, for 25 minutes
        [--official FOLDER]                       the official code too
        [--dry]                                   the same code on a CPU, at a tiny shape

Nothing is downloaded. Each point is a process of its own with a time limit: ComfyUI's loader,
memory management and euler sampler on a random file that is written once (`--folder`; 28.7 GB in
bf16, 15.1 GB in fp8), so that ComfyUI streams weights as it does for the released file. The result
is written after every point; run the command again and it goes on. Out of memory is a result.

It ends within `--minutes`: what decides most is measured first, and a point that is not expected to
end in time is left for the next run (`left_out` in the file).

Points     81 frames of 832x480: the pack, the official code, fp8; with 12 and 24 GB, with ComfyUI's
           block prefetch and without; shorter clips; every attention back end and torch.compile.
           Then the grid {33, 49, 81} frames x {832x480, 1280x720} x {bf16, fp8} x memory {12, 16,
           24, 48 GB, all}, and the official code at every size
fp8        the blocks' matrices as float8_e4m3fn with a scale each, ComfyUI's own format
           (`comfy_quant`)
memory     a smaller card is imitated: ComfyUI reserves the rest (--reserve-vram), and torch may
           allocate no more (set_per_process_memory_fraction). Unverified: that a real card of that
           size behaves the same
step       one call of the model, batch 1 (cfg 1); with cfg > 1 a step of sampling is two
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path

from benchmarks.comfyui import find
from benchmarks.gpu.goals import add_ratios, summarise, table
from benchmarks.gpu.grid import FILE_GB, Point, choose_points, every_point
from benchmarks.gpu.time_budget import TimeBudget, expected_seconds
from benchmarks.own_process import run_module
from benchmarks.report import write_json

SCHEMA = "sama-gpu-2"
STEPS, SECONDS, MINUTES, DISK = 3, 600, 25.0, 60.0
FINAL = ("ok", "oom")
"""Outcomes that are kept; a point that ended otherwise is tried again."""


def list_done(report: dict) -> set[Point]:
    """The points that the report has."""
    names = Point.__dataclass_fields__
    return {Point(**{name: found[name] for name in names}) for found in report["points"]}


def run_child(
    asked: argparse.Namespace, job: str, seconds: float | None = None, **more: object
) -> dict:
    """What `gpu.point` answers to a job in a process of its own, or how that process ended.

    It may take that many `seconds`, and never more than a point may.
    """
    limit = asked.seconds if seconds is None else min(seconds, asked.seconds)
    here = {"comfyui": str(find(asked.comfyui).folder), "dry": asked.dry, "steps": asked.steps}
    order = json.dumps({"job": job, **here, **more})
    try:
        done = run_module("benchmarks.gpu.point", order, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"outcome": "timeout"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    if "out of memory" in last.lower() or done.returncode in (-9, 137):
        return {"outcome": "oom"}
    return {"outcome": f"failed: {last[:300]} (exit code {done.returncode})"}


def measure(
    point: Point,
    asked: argparse.Namespace,
    report: dict,
    files: dict[str, Path],
    seconds: float | None = None,
) -> dict:
    """The point with all that was found about it, in that many `seconds` at most."""
    if point.code == "official" and asked.official is None:
        return {**asdict(point), "outcome": "absent: no --official FOLDER was given"}
    if point.code == "sama" and point.weights not in files:
        if not asked.dry and _gigabytes({*files, point.weights}) > asked.disk:
            return {
                **asdict(point),
                "outcome": f"absent: its file is more than --disk {asked.disk}",
            }
        made = run_child(asked, "write", seconds, weights=point.weights, folder=str(asked.folder))
        if "outcome" in made:
            return {**asdict(point), "outcome": made["outcome"]}
        files[point.weights] = Path(made["file"])
    found = run_child(
        asked,
        "point",
        seconds,
        point=asdict(point),
        file=str(files.get(point.weights, "")),
        official=str(asked.official or ""),
        total=report["card"]["total_bytes"],
    )
    speed = report["ceiling"].get("bf16", {}).get("flops_per_second")
    if found["outcome"] == "ok" and speed:
        seconds = sorted(found["seconds_per_step"])[len(found["seconds_per_step"]) // 2]
        found["ceiling_fraction"] = (
            (found["attention_flops"] + found["linear_flops"]) / seconds / speed
        )
    return {**asdict(point), **found}


def _gigabytes(weights: set[str]) -> float:
    return sum(FILE_GB[kind] for kind in weights)


def begin_report(asked: argparse.Namespace) -> dict:
    """Everything but the points. Raises SystemExit if the card does not answer."""
    card, ceiling = run_child(asked, "card"), run_child(asked, "ceiling")
    if "outcome" in card:
        sys.exit(
            f"The card cannot be used ({card['outcome']}), needs CUDA. "
            "With --dry no card is needed."
        )
    return {
        "schema": SCHEMA,
        "dry": asked.dry,
        "date": date.today().isoformat(),
        **card,
        "ceiling": {} if "outcome" in ceiling else ceiling,
        "points": [],
    }


def read_earlier(asked: argparse.Namespace) -> dict | None:
    """The report to go on with. Raises SystemExit if it is of another kind."""
    if not asked.json.is_file():
        return None
    report = json.loads(asked.json.read_text(encoding="utf-8"))
    if (report.get("schema"), report.get("dry")) != (SCHEMA, asked.dry):
        sys.exit(
            f"{asked.json}: is another kind of file, or dry where this run is not. "
            "Give another --json."
        )
    return report


@contextmanager
def model_folder(asked: argparse.Namespace) -> Iterator[None]:
    """Where random models go: the folder given, where they stay, or one that is gone afterwards."""
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        asked.folder = Path(folder)
        yield


def store(asked: argparse.Namespace, report: dict) -> None:
    """Bring ratios and goals up to date, and write the file."""
    report["points"] = add_ratios(report["points"])
    report["goals"] = summarise(report["points"])
    write_json(asked.json, report)


def describe_point(found: dict) -> str:
    """A point in a line for the screen."""
    memory = "all" if found["cap"] is None else f"{found['cap']} GB"
    name = (
        f"{found['code']:8} {found['frames']:3} x {found['width']}x{found['height']:<4} "
        f"{found['weights']} {memory:>5} {found['attention']}"
        f"{' compiled' if found['compile'] else ''}{' prefetch' if found['prefetch'] else ''}"
    )
    if found["outcome"] != "ok":
        return f"{name}: {found['outcome']}"
    seconds = sorted(found["seconds_per_step"])
    peak = found["peak_device_bytes"] / 1e9
    return f"{name}: {seconds[len(seconds) // 2]:.3f} s a step, peak {peak:.1f} GB"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line\'s options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", type=Path, required=True, help="the result; it is gone on with if it is there")
    add("--folder", type=Path, help="keep the random models here; else they are deleted in the end")
    add("--official", type=Path, help="a checkout of the official SAMA code")
    add("--comfyui", help="ComfyUI's folder, unless run.py finds it")
    add("--steps", type=int, default=STEPS, help="steps of each point, the first one apart")
    add("--seconds", type=float, default=SECONDS, help="time limit of a point")
    add("--minutes", type=float, default=MINUTES, help="time limit of this run (25)")
    add("--disk", type=float, default=DISK, help="GB that the random models may take (60)")
    add("--dry", action="store_true", help="tiny sizes, no card needed, figures mean nothing")
    for name, example in (
        ("frames", "33,81"),
        ("sizes", "832x480"),
        ("weights", "fp8"),
        ("caps", "12,all"),
        ("attention", "pytorch,sage"),
        ("compile", "off"),
        ("prefetch", "on"),
        ("code", "sama"),
    ):
        add(f"--{name}", help=f"only these, for example {example}")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 unless a point failed for another reason than memory or time."""
    asked = parse(arguments)
    budget = TimeBudget(asked.minutes)
    report = read_earlier(asked) or begin_report(asked)
    report["points"] = [found for found in report["points"] if found["outcome"] in FINAL]
    report["versions"] = {**report.get("versions", {}), "python": platform.python_version()}
    report["left_out"] = []
    files: dict[str, Path] = {}
    with model_folder(asked):
        for point in choose_points(every_point(asked.official is not None), asked):
            if point in list_done(report):
                continue
            if expected_seconds(point, report, asked.steps) >= budget.left():
                report["left_out"].append(asdict(point))
                continue
            report["points"].append(measure(point, asked, report, files, budget.left()))
            store(asked, report)
            print(describe_point(report["points"][-1]), flush=True)
    store(asked, report)
    print(table(report))
    if report["left_out"]:
        print(f"{len(report['left_out'])} points are left: run the same command again.")
    return 1 if any(found["outcome"].startswith("failed") for found in report["points"]) else 0


if __name__ == "__main__":
    sys.exit(main())
