"""SAMA-14B's shape with random weights on this machine's card: seconds per step and peak memory.

    python -m benchmarks.gpu --json out.json      every point that out.json lacks
        [--official FOLDER]                       the official code too
        [--dry]                                   the same code on a CPU, at a tiny shape

Nothing is downloaded. Each point is a process of its own with a time limit: ComfyUI's loader,
memory management and euler sampler on a random file that is written once (`--folder`; 28.6 GB in
bf16, 15 GB in fp8), so that ComfyUI streams weights as it does for the released file. The result is
written after every point; run the command again and it goes on. Out of memory is a result.

Points     {33, 49, 81} frames x {832x480, 1280x720} x {bf16, fp8} x memory {12, 16, 24, 48 GB,
           all}; then, for 81 frames of 832x480 with all memory, every attention back end and
           torch.compile; then the official code
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
from benchmarks.gpu.grid import Point, choose_points, every_point
from benchmarks.own_process import run_module
from benchmarks.report import write_json

SCHEMA = "sama-gpu-1"
STEPS, SECONDS = 4, 1800
FINAL = ("ok", "oom")
"""Outcomes that are kept; a point that ended otherwise is tried again."""


def list_done(report: dict) -> set[Point]:
    """The points that the report has."""
    names = Point.__dataclass_fields__
    return {Point(**{name: found[name] for name in names}) for found in report["points"]}


def run_child(asked: argparse.Namespace, job: str, **more: object) -> dict:
    """What `gpu.point` answers to a job in a process of its own, or how that process ended."""
    here = {"comfyui": str(find(asked.comfyui).folder), "dry": asked.dry, "steps": asked.steps}
    order = json.dumps({"job": job, **here, **more})
    try:
        done = run_module("benchmarks.gpu.point", order, timeout=asked.seconds)
    except subprocess.TimeoutExpired:
        return {"outcome": "timeout"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    if "out of memory" in last.lower() or done.returncode in (-9, 137):
        return {"outcome": "oom"}
    return {"outcome": f"failed: {last[:300]} (exit code {done.returncode})"}


def measure(point: Point, asked: argparse.Namespace, report: dict, files: dict[str, Path]) -> dict:
    """The point with all that was found about it."""
    if point.code == "official" and asked.official is None:
        return {**asdict(point), "outcome": "absent: no --official FOLDER was given"}
    if point.code == "sama" and point.weights not in files:
        made = run_child(asked, "write", weights=point.weights, folder=str(asked.folder))
        if "outcome" in made:
            return {**asdict(point), "outcome": made["outcome"]}
        files[point.weights] = Path(made["file"])
    found = run_child(
        asked,
        "point",
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


def describe_point(found: dict) -> str:
    """A point in a line for the screen."""
    memory = "all" if found["cap"] is None else f"{found['cap']} GB"
    name = (
        f"{found['code']:8} {found['frames']:3} x {found['width']}x{found['height']:<4} "
        f"{found['weights']} {memory:>5} {found['attention']}"
        f"{' compiled' if found['compile'] else ''}"
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
    add("--dry", action="store_true", help="tiny sizes, no card needed, figures mean nothing")
    for name, example in (
        ("frames", "33,81"),
        ("sizes", "832x480"),
        ("weights", "fp8"),
        ("caps", "12,all"),
        ("attention", "pytorch,sage"),
        ("compile", "off"),
        ("code", "sama"),
    ):
        add(f"--{name}", help=f"only these, for example {example}")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 unless a point failed for another reason than memory or time."""
    asked = parse(arguments)
    report = read_earlier(asked) or begin_report(asked)
    report["points"] = [found for found in report["points"] if found["outcome"] in FINAL]
    report["versions"] = {**report.get("versions", {}), "python": platform.python_version()}
    files: dict[str, Path] = {}
    with model_folder(asked):
        for point in choose_points(every_point(asked.official is not None), asked):
            if point in list_done(report):
                continue
            report["points"].append(measure(point, asked, report, files))
            write_json(asked.json, report)
            print(describe_point(report["points"][-1]), flush=True)
    write_json(asked.json, report)
    return 1 if any(found["outcome"].startswith("failed") for found in report["points"]) else 0


if __name__ == "__main__":
    sys.exit(main())
