"""Time and memory of converting a large file, beside one copy of it.

    python -m benchmarks.convert --json convert.json

Makes a file of SAMA-14B's widths with fewer blocks (4 of 40: 3.3 GB of random bfloat16), which then
lies in the page cache. In turns, `--repeats` of them, it is copied by `cp` and converted once to
each format; each ends by fsync, and what it wrote is removed. A second series runs beside a process
that only computes. `ratio` is the median of the conversions' seconds / the median of the copies'.

On a disk both may wait for it. So with `--memory` all is done again in Linux's file system in
memory (`/dev/shm`), where the ratio is that of the work alone.

A conversion runs in a process that may not have more than `--limit` GiB of address space: mapped
files, libraries and heap together. `peak_mib` is its peak of resident memory, `grown_mib` how much
of that came after a small conversion done just before. Tensors are read in chunks, so 40 blocks
need no more than 4. Free room in `--folder` (and in memory): twice the file's size and a bit.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.own_process import busy_process, measure_in_child, resident
from benchmarks.random_models import sama_14b, write_model
from benchmarks.report import describe_run, finish
from sama_core.convert.job import convert
from sama_core.convert.layouts import verify

FORMATS = ("fp8_scaled", "gguf_q8_0", "gguf_q5_1")
"""The most used, and the one that takes longest."""
SMALL = replace(sama_14b(1), dim=128, num_heads=1, ffn_dim=256, text_dim=64)
"""Sizes of the small model that is converted first."""
IN_MEMORY = Path("/dev/shm")
"""Linux's file system in memory."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    if options.case:
        print(json.dumps(convert_once(*options.case)))
        return 0
    series = {"disk": measure_in(options.folder, options)}
    if options.memory:
        series["memory"] = measure_in(IN_MEMORY, options)
    ran = describe_run(
        "gguf",
        layers=options.layers,
        seed=options.seed,
        repeats=options.repeats,
        limit_address_space_gib=options.limit,
    )
    finish({"ran": ran, **series}, options.json)
    failed = [loads[load]["failed"] for loads in series.values() for load in loads]
    return 1 if any(failed) else 0


def measure_in(folder: Path | None, options: argparse.Namespace) -> dict:
    """The series of one folder: idle, and busy if that is wanted."""
    with tempfile.TemporaryDirectory(prefix="sama-convert-", dir=folder) as made:
        large, small = Path(made) / "large.safetensors", Path(made) / "small.safetensors"
        write_model(large, sama_14b(options.layers), options.seed)
        write_model(small, SMALL, options.seed)
        series = {"plain": measure(large, small, options)}
        if options.busy:
            with busy_process():
                series["busy"] = measure(large, small, options)
    return series


def parser() -> argparse.ArgumentParser:
    """The command line\'s options."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--layers", type=int, default=4, help="blocks; SAMA-14B has 40")
    made.add_argument("--formats", nargs="+", default=FORMATS)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--limit", type=float, default=4, help="GiB of address space")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--busy", action="store_true", help="a second series beside a busy process")
    made.add_argument("--memory", action="store_true", help=f"the same again in {IN_MEMORY}")
    made.add_argument("--verify", action="store_true", help="read each result again")
    made.add_argument(
        "--folder",
        type=Path,
        help="where the files are made (default: the system's temporary folder)",
    )
    made.add_argument("--json", type=Path)
    made.add_argument("--case", type=json.loads, help="measure one conversion in this process")
    return made


def measure(large: Path, small: Path, options: argparse.Namespace) -> dict:
    """Copies and conversions in turns, and the medians' ratios."""
    load, copies = os.getloadavg()[0], []
    turns: dict[str, list[dict]] = {name: [] for name in options.formats}
    read_through(large)
    for _ in range(options.repeats):
        copies.append(copy_once(large))
        for name, done in turns.items():
            done.append(run_case(large, small, name, options.limit, options.verify))
            print(name, json.dumps(done[-1]), file=sys.stderr, flush=True)
    copy = statistics.median(copies)
    return {
        "load_before": round(load, 2),
        "source_bytes": large.stat().st_size,
        "copy_seconds": [round(seconds, 2) for seconds in copies],
        "formats": {name: summarise(done, copy) for name, done in turns.items()},
        "failed": [row["failed"] for done in turns.values() for row in done if "failed" in row],
    }


def summarise(turns: list[dict], copy: float) -> dict:
    """The figures of one format; `copy` are the seconds of a copy."""
    good = [turn for turn in turns if "failed" not in turn]
    if not good:
        return {}
    seconds = [turn["seconds"] for turn in good]
    return {
        "ratio": round(statistics.median(seconds) / copy, 2),
        "seconds": seconds,
        **{name: value for name, value in good[-1].items() if name not in ("seconds", "sha256")},
        "peak_mib": max(turn["peak_mib"] for turn in good),
        "alike": len({turn["sha256"] for turn in good}) == 1,
    }


def read_through(path: Path) -> None:
    """Read a file, so that it lies in the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def copy_once(large: Path) -> float:
    """Seconds of `cp` and fsync."""
    target = large.with_name("copy.out")
    started = time.perf_counter()
    subprocess.run(["cp", str(large), str(target)], check=True)
    with open(target, "rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def run_case(large: Path, small: Path, name: str, limit: float, again: bool) -> dict:
    """What `convert_once` measures, in a process of its own."""
    case = json.dumps([str(large), str(small), name, limit, again])
    return measure_in_child("benchmarks.convert", "--case", case)


def convert_once(large: str, small: str, name: str, limit: float, again: bool) -> dict:
    """Seconds, bytes and memory of one conversion; the result is removed, verified with `again`."""
    space = int(limit * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    convert(small, Path(small).with_name("small.out"), name, overwrite=True)
    before, computed = resident("VmHWM"), time.process_time()
    started = time.perf_counter()
    report = convert(large, Path(large).with_name("large.out"), name)
    seconds = time.perf_counter() - started
    computed = time.process_time() - computed
    size, grown = report.target.stat().st_size, resident("VmHWM") - before
    started = time.perf_counter()
    if again:
        verify(report.target)
    verified = time.perf_counter() - started
    report.target.unlink()
    return {
        "bytes": size,
        "seconds": round(seconds, 2),
        "processor_seconds": round(computed, 2),
        **({"verify_seconds": round(verified, 2)} if again else {}),
        "peak_mib": (before + grown) >> 20,
        "grown_mib": grown >> 20,
        "sha256": report.sha256,
    }


if __name__ == "__main__":
    sys.exit(main())
