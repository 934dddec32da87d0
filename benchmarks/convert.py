"""Time and memory of converting a large file, under a hard limit of address space.

    .venv/bin/python benchmarks/convert.py --layers 8 --json convert.json

Makes a file of SAMA-14B's widths with fewer blocks (8 of 40: 6.1 GB of random bfloat16), then converts it once for
each format, each in a process that may not have more than `--limit` GiB of address space: mapped files, libraries and
heap together. `peak_mib` is its peak of resident memory, `grown_mib` how much of that came after a small conversion
done just before. Tensors are read in chunks, so 40 blocks need no more than 8. Needs about 1.6 times the file's size
of free disk in `--folder`.
"""

import argparse
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
if "sama_core" not in sys.modules:
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from process_memory import resident  # noqa: E402

from sama_core.convert.job import convert  # noqa: E402
from sama_core.convert.layouts import verify  # noqa: E402
from sama_core.model.config import DitConfig  # noqa: E402
from sama_core.weights.checkpoint import model_shapes  # noqa: E402

FORMATS = ("fp8_scaled", "gguf_q8_0", "gguf_q4_1")
TILE = 1 << 24
"""Random values that are written again and again."""
SIZES_14B = {
    "dim": 5120,
    "num_heads": 40,
    "ffn_dim": 13824,
    "text_dim": 4096,
    "freq_dim": 256,
    "in_dim": 16,
    "out_dim": 16,
    "semantic_dim": 1152,
    "semantic_hidden": 1024,
}
SIZES_SMALL = {**SIZES_14B, "dim": 128, "num_heads": 1, "ffn_dim": 256, "text_dim": 64}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sama-convert-", dir=options.folder) as folder:
        large, small = Path(folder) / "large.safetensors", Path(folder) / "small.safetensors"
        write_random(large, DitConfig(**SIZES_14B, num_layers=options.layers), options.seed)
        write_random(small, DitConfig(**SIZES_SMALL, num_layers=1), options.seed)
        measured = {}
        for name in options.formats:
            measured[name] = in_a_process(large, small, name, options.limit)
            print(name, json.dumps(measured[name]), flush=True)
        result = {
            "layers": options.layers,
            "seed": options.seed,
            "source_bytes": large.stat().st_size,
            "limit_address_space_gib": options.limit,
            "torch": torch.__version__,
            "cores": os.cpu_count(),
            "threads": 1,
            "formats": measured,
        }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
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
    return made


def write_random(path: Path, config: DitConfig, seed: int) -> None:
    """A full SAMA file of these sizes in bfloat16; values are normal, of deviation 0.02, from one repeated tile."""
    tile = (torch.randn(TILE, generator=torch.Generator().manual_seed(seed)) * 0.02).bfloat16()
    data = memoryview(tile.view(torch.uint8).numpy())
    entries, end = {}, 0
    for name, shape in model_shapes(config).items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        while end:
            end -= file.write(data[: min(end, len(data))])


def in_a_process(large: Path, small: Path, name: str, limit: float) -> dict:
    """What `work` measures, in a process of its own."""
    command = [sys.executable, __file__, json.dumps([str(large), str(small), name, limit])]
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def work(large: str, small: str, name: str, limit: float) -> dict:
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
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        print(json.dumps(work(*json.loads(sys.argv[1]))))
    else:
        sys.exit(main())
