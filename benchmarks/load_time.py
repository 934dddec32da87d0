"""From click to first step against one sequential read of the file, and memory while loading.

    OMP_NUM_THREADS=1 python -m benchmarks.load_time --gigabytes 3.3 --repeats 3 --json out.json

On the CPU. A bf16 file of SAMA-14B's width with as many blocks as fit in the size is written first.
Each case is a process of its own; the cases take turns, so that another program's load on the
machine meets all of them.

read       the file, front to back, into one small buffer that is used again: the fastest possible
kept       the same into memory that keeps it, as every loader must
ours       `load_diffusion_model`, as Load SAMA Model calls it, header check included; then
           ComfyUI's loading onto the device and a first call of the DiT at a tiny latent
core       the same through ComfyUI's `load_diffusion_model`, as Load Diffusion Model calls it

Each of them cold (the kernel is asked to drop the file's pages, and `cached` says what share it
kept) and warm (the file has just been read). On a virtual machine the host may still hold the file:
compare ratios of one turn.

seconds    click to model; `first_step` is the first call less the second one, which is the DiT's
           own time
ratio      (seconds + first_step) of a case / seconds of `read` of the same turn; the same for CPU
           seconds, which other programs on the machine disturb less
memory     growth of the process: resident at its peak, and anonymous (memory of its own, no mapped
           file) after loading, both / size of the file

Weights stay bf16 in memory (ComfyUI's --bf16-unet), as on a card. Without it ComfyUI widens them to
float32 on a CPU; `widened` is that case. Dynamic memory (cards only) reads weights at the first
step, and cannot be measured here.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.comfyui import find
from benchmarks.load_case import measure_loading, measure_reading
from benchmarks.own_process import measure_in_child
from benchmarks.random_models import bf16_bytes, sama_14b, write_model
from benchmarks.report import describe_run, finish
from sama_core.model.config import DitConfig

MODULE = "benchmarks.load_time"
CASES = ("ours", "core", "kept")
TARGET_RATIO, TARGET_MEMORY = 1.3, 1.1


def config_of(blocks: int, width: int) -> DitConfig:
    """SAMA-14B's sizes but for depth and, in tests, width."""
    heads, hidden = width // 128, width * 27 // 10
    return replace(sama_14b(blocks), dim=width, num_heads=heads, ffn_dim=hidden)


def blocks_for(gigabytes: float, width: int) -> int:
    """As many blocks as make a file of about that size, one at least."""
    one, two = (bf16_bytes(config_of(blocks, width)) for blocks in (1, 2))
    return max(1, 1 + round((gigabytes * 1e9 - one) / (two - one)))


def run_case(case: str, path: Path, comfyui: Path, cold: bool, widened: bool = False) -> dict:
    """One case in a new process, so that its peak is its own.

    What goes wrong there is its result.
    """
    flags = [*["--cold"] * cold, *["--widened"] * widened]
    found = measure_in_child(MODULE, "--case", case, "--file", path, "--comfyui", comfyui, *flags)
    return {"case": case, "cold": cold, **found}


def take_turn(path: Path, comfyui: Path, cold: bool) -> list[dict]:
    """Every case once, each between two plain readings, since the machine's speed changes."""
    order = ("read", "ours", "read", "kept", "read", "core", "read")
    return [run_case(case, path, comfyui, cold) for case in order]


def compare(turns: list[list[dict]]) -> dict:
    """For each case the ratio to reading, a turn each: median, lowest, highest.

    By the clock and by CPU time.
    """
    found = {}
    for case in CASES:
        clock, cpu = [], []
        for measured in turns:
            if any("failed" in one for one in measured):
                continue
            mine = next(one for one in measured if one["case"] == case)
            near = measured.index(mine)
            read = [measured[near - 1], measured[near + 1]]
            clock.append(
                (mine["seconds"] + mine["first_step"])
                / statistics.mean(one["seconds"] for one in read)
            )
            cpu.append(
                (mine["cpu_seconds"] + mine["first_step_cpu"])
                / statistics.mean(one["cpu_seconds"] for one in read)
            )
        found[case] = {"clock": _summarise(clock), "cpu": _summarise(cpu)}
    return found


def _summarise(values: list[float]) -> dict | None:
    return (
        {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
        if values
        else None
    )


def measure(asked: argparse.Namespace) -> dict:
    """Write the file, take all turns, and sum up."""
    comfyui, blocks = find(asked.comfyui), blocks_for(asked.gigabytes, asked.width)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "sama_random.safetensors"
        size = write_model(path, config_of(blocks, asked.width))
        taken = {
            name: [take_turn(path, comfyui.folder, name == "cold") for _ in range(asked.repeats)]
            for name in ("cold", "warm")
        }
        widened = run_case("ours", path, comfyui.folder, cold=False, widened=True)
    loads = [
        one
        for turns in taken.values()
        for measured in turns
        for one in measured
        if one["case"] == "ours"
    ]
    file = {"bytes": size, "blocks": blocks, "width": asked.width, "dtype": "bfloat16"}
    version = ".".join(map(str, comfyui.version()))
    return {
        "ran": describe_run("safetensors", comfyui=version, repeats=asked.repeats, cases_threads=1),
        "file": file,
        "ratio": {name: compare(turns) for name, turns in taken.items()},
        "targets": {"ratio": TARGET_RATIO, "peak_per_file": TARGET_MEMORY},
        "highest_peak_per_file": max(
            (one["peak_per_file"] for one in loads if "failed" not in one), default=None
        ),
        "turns": taken,
        "widened": widened,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line\'s options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=3.3, help="size of the file, about")
    parser.add_argument(
        "--width", type=int, default=5120, help="the model's width, a multiple of 1280"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the file is written for the time; the system's choice"
    )
    parser.add_argument("--comfyui", help="ComfyUI's folder, unless run.py finds it")
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument(
        "--case", choices=("read", *CASES), help="measure one case of --file in this process"
    )
    parser.add_argument("--file", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--widened", action="store_true")
    return parser.parse_args(arguments)


def measure_case(asked: argparse.Namespace) -> dict:
    """The one case that the command line asks for."""
    if asked.case in ("read", "kept"):
        return measure_reading(asked.case, asked.file, asked.cold)
    return measure_loading(asked.case, asked.file, Path(asked.comfyui), asked.cold, asked.widened)


def main(arguments: list[str] | None = None) -> int:
    """0 if every case ran, else 1."""
    asked = parse(arguments)
    if asked.case:
        print(json.dumps(measure_case(asked)))
        return 0
    result = measure(asked)
    finish(result, asked.json)
    every = [one for turns in result["turns"].values() for measured in turns for one in measured]
    return 1 if any("failed" in one for one in [*every, result["widened"]]) else 0


if __name__ == "__main__":
    sys.exit(main())
