"""Time and memory of converting a large file, under a hard limit of address space.

    .venv/bin/python -m benchmarks.convert --layers 8 --json convert.json

Makes a file of SAMA-14B's widths with fewer blocks (8 of 40: 6.1 GB of random bfloat16), then
converts it once for each format, each in a process that may not have more than `--limit` GiB of
address space: mapped files, libraries and heap together. `peak_mib` is its peak of resident memory,
`grown_mib` how much of that came after a small conversion done just before. Tensors are read in
chunks, so 40 blocks need no more than 8. Needs about 1.6 times the file's size of free disk in
`--folder`.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.own_process import measure_in_child, resident
from benchmarks.random_models import sama_14b, write_model
from benchmarks.report import describe_run, finish
from sama_core.convert.job import convert
from sama_core.convert.layouts import verify

FORMATS = ("fp8_scaled", "gguf_q8_0", "gguf_q4_1")
SMALL = replace(sama_14b(1), dim=128, num_heads=1, ffn_dim=256, text_dim=64)
"""Sizes of the small model that is converted first."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    if options.case:
        print(json.dumps(convert_once(*options.case)))
        return 0
    with tempfile.TemporaryDirectory(prefix="sama-convert-", dir=options.folder) as folder:
        large, small = Path(folder) / "large.safetensors", Path(folder) / "small.safetensors"
        write_model(large, sama_14b(options.layers), options.seed)
        write_model(small, SMALL, options.seed)
        measured = {}
        for name in options.formats:
            measured[name] = run_case(large, small, name, options.limit)
            print(name, json.dumps(measured[name]), flush=True)
        ran = describe_run(
            "gguf",
            layers=options.layers,
            seed=options.seed,
            source_bytes=large.stat().st_size,
            limit_address_space_gib=options.limit,
        )
    finish({"ran": ran, "formats": measured}, options.json)
    return 1 if any("failed" in row for row in measured.values()) else 0


def parser() -> argparse.ArgumentParser:
    """The command line\'s options."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--layers", type=int, default=8)
    made.add_argument("--formats", nargs="+", default=FORMATS)
    made.add_argument("--limit", type=float, default=4, help="GiB of address space")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--folder",
        type=Path,
        help="where the files are made (default: the system's temporary folder)",
    )
    made.add_argument("--json", type=Path)
    made.add_argument("--case", type=json.loads, help="measure one conversion in this process")
    return made


def run_case(large: Path, small: Path, name: str, limit: float) -> dict:
    """What `convert_once` measures, in a process of its own and with one thread."""
    case = json.dumps([str(large), str(small), name, limit])
    return measure_in_child("benchmarks.convert", "--case", case, OMP_NUM_THREADS="1")


def convert_once(large: str, small: str, name: str, limit: float) -> dict:
    """Seconds, bytes and memory of one conversion; the result is verified and removed."""
    space = int(limit * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    convert(small, Path(small).with_name("small.out"), name, overwrite=True)
    before, started = resident("VmHWM"), time.perf_counter()
    report = convert(large, Path(large).with_name("large.out"), name)
    seconds = time.perf_counter() - started
    size, grown = report.target.stat().st_size, resident("VmHWM") - before
    started = time.perf_counter()
    verify(report.target)
    verified = time.perf_counter() - started
    report.target.unlink()
    return {
        "bytes": size,
        "seconds": round(seconds, 1),
        "source_mb_per_second": round(Path(large).stat().st_size / seconds / 1e6, 1),
        "verify_seconds": round(verified, 1),
        "peak_mib": (before + grown) >> 20,
        "grown_mib": grown >> 20,
    }


if __name__ == "__main__":
    sys.exit(main())
