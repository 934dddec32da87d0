"""From click to first step against one sequential read of the file, and memory while loading; on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/load_time.py --gigabytes 3.3 --repeats 3 --json load_time.json

A bf16 file of SAMA-14B's width with as many blocks as fit in the size is written first. Each case is a process of its
own; the cases take turns, so that a busy machine is busy for all of them.

read       the file, front to back, into one small buffer that is used again: nothing can be faster
kept       the same into memory that keeps it, as whoever loads it must
ours       `load_diffusion_model`, as Load SAMA Model calls it, header check included; then core's loading onto the
           device and a first call of the DiT at a tiny latent
core       the same through core's `load_diffusion_model`, as Load Diffusion Model calls it

Each of them cold (the kernel is asked to drop the file's pages, and `cached` says what share it kept) and warm (the
file has just been read). On a virtual machine the host may still hold the file: compare ratios of one turn.

seconds    click to model; `first_step` is the first call less the second one, which is the DiT's own time
ratio      (seconds + first_step) of a case / seconds of `read` of the same turn; the same for CPU seconds, which other
           programs on the machine disturb less
memory     growth of the process: resident at its peak, and anonymous (memory of its own, no mapped file) after loading,
           both / size of the file

Weights stay bf16 in memory (core's --bf16-unet), as on a card. Without it core widens them to float32 on a CPU;
`widened` is that case. Core's dynamic memory (cards only) reads weights at the first step, and cannot be measured here.
"""

import argparse
import ctypes
import json
import math
import mmap
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for place in (Path(__file__).resolve().parents[1], Path(__file__).resolve().parent):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

import comfy_process  # noqa: E402
from process_memory import resident  # noqa: E402

from sama_core.errors import needed  # noqa: E402
from sama_core.model.config import DitConfig  # noqa: E402

CASES = ("ours", "core", "kept")
BUFFER, POOL = 16 << 20, 1 << 23
TARGET_RATIO, TARGET_MEMORY = 1.3, 1.1


def config_of(blocks: int, width: int) -> DitConfig:
    """SAMA-14B's sizes but for depth and, in tests, width."""
    return DitConfig(
        dim=width,
        num_heads=width // 128,
        ffn_dim=width * 27 // 10,
        num_layers=blocks,
        text_dim=4096,
        freq_dim=256,
        in_dim=16,
        out_dim=16,
        semantic_dim=1152,
        semantic_hidden=1024,
    )


def blocks_for(gigabytes: float, width: int) -> int:
    """As many blocks as make a file of about that size, one at least."""
    one, two = (_file_bytes(config_of(blocks, width)) for blocks in (1, 2))
    return max(1, 1 + round((gigabytes * 1e9 - one) / (two - one)))


def _file_bytes(config: DitConfig) -> int:
    from sama_core.weights.checkpoint import model_shapes

    return 2 * sum(math.prod(shape) for shape in model_shapes(config).values())


def write_model(path: Path, config: DitConfig) -> int:
    """A bf16 file of these sizes, random numbers over and over; its size in bytes. Never all of it in memory."""
    import torch

    from sama_core.weights.checkpoint import model_shapes

    table, end = {}, 0
    for name, shape in sorted(model_shapes(config).items()):
        size = 2 * math.prod(shape)
        table[name], end = (
            {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]},
            end + size,
        )
    if shutil.disk_usage(path.parent).free < 1.1 * end:
        raise OSError(
            needed(
                str(path.parent), "too little free room", f"{end / 1e9:.1f} GB", "Give --folder."
            )
        )
    header = json.dumps(table).encode()
    numbers = 0.02 * torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    pool = numbers.bfloat16().view(torch.uint8).numpy().tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for start in range(0, end, len(pool)):
            file.write(pool[: end - start])
        os.fsync(file.fileno())
    return path.stat().st_size


# --- one case, in its own process --------------------------------------------------------------


def read_through(path: Path, keep: bool = False) -> None:
    """Read the whole file, into one buffer again and again, or into new memory that `keep`s all of it."""
    kept = []
    with path.open("rb", buffering=0) as file:
        buffer = _buffer()
        while file.readinto(buffer):
            if keep:
                kept.append(buffer)
                buffer = _buffer()


def _buffer() -> memoryview:
    """New memory that nothing has written to yet."""
    return memoryview(mmap.mmap(-1, BUFFER))


def drop_pages(path: Path) -> None:
    """Ask the kernel to forget the file, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_share(path: Path) -> float | None:
    """Share of the file's pages in memory; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    with (
        path.open("rb") as file,
        mmap.mmap(
            file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE
        ) as pages,
    ):
        held = (ctypes.c_ubyte * -(-len(pages) // mmap.PAGESIZE))()
        view = ctypes.c_ubyte.from_buffer(pages)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(view), ctypes.c_size_t(len(pages)), held)
        del view
    return None if failed else round(sum(page & 1 for page in held) / len(held), 3)


def load_ours(path: Path):
    from sama_core.comfyui.loaders import load_diffusion_model

    return load_diffusion_model(str(path))


def load_core(path: Path):
    import comfy.sd

    from sama_core.comfyui.joint_state import prepare

    return prepare(comfy.sd.load_diffusion_model(str(path)))


def step(patcher) -> None:
    """One call of the DiT through core, at two latent frames of 16x16 pixels."""
    import comfy.model_management
    import torch

    from sama_core.comfyui.packing import JointShape

    config, device = patcher.model.dit_config, patcher.load_device
    shape = JointShape((config.in_dim, 2, 2, 2), (config.semantic_tokens, config.semantic_dim))
    comfy.model_management.load_models_gpu([patcher])
    generator = torch.Generator().manual_seed(0)
    source, context = (
        torch.randn(1, *shape.video, generator=generator),
        torch.randn(1, 8, config.text_dim, generator=generator),
    )
    state = shape.pack(source, torch.randn(1, *shape.semantic, generator=generator))
    patcher.model.apply_model(
        state.to(device),
        torch.tensor([0.5], device=device),
        c_crossattn=context.to(device),
        source_latents=source.to(device),
        sama_shapes=tuple(shape),
        transformer_options={},
    )


def loading(case: str, path: Path, comfyui: Path, cold: bool, widened: bool) -> dict:
    """Seconds and memory of one way of loading, in this process."""
    comfy_process.start(comfyui, cpu=True, bf16_unet=not widened)
    import torch

    import sama_core.comfyui.loaders  # noqa: F401

    torch.set_num_threads(1)
    load = {"ours": load_ours, "core": load_core}[case]
    kept = _cache(path, cold)
    Path("/proc/self/clear_refs").write_text("5")
    before, own, size = resident("VmRSS"), resident("RssAnon"), path.stat().st_size
    with torch.inference_mode():
        begun = _clocks()
        patcher = load(path)
        loaded = _clocks()
        peak, anonymous = resident("VmHWM") - before, resident("RssAnon") - own
        step(patcher)
        first = _clocks()
        step(patcher)
        second = _clocks()
    own_time = [max(0.0, (b - a) - (c - b)) for a, b, c in zip(loaded, first, second, strict=True)]
    return {
        "case": case,
        "cold": cold,
        "cached": kept,
        "dtype": str(next(patcher.model.diffusion_model.blocks.parameters()).dtype),
        "seconds": loaded[0] - begun[0],
        "cpu_seconds": loaded[1] - begun[1],
        "first_step": own_time[0],
        "first_step_cpu": own_time[1],
        "second_step": second[0] - first[0],
        "peak_per_file": peak / size,
        "anonymous_per_file": anonymous / size,
    }


def reading(case: str, path: Path, cold: bool) -> dict:
    held, begun = _cache(path, cold), _clocks()
    read_through(path, keep=case == "kept")
    ended = _clocks()
    return {
        "case": case,
        "cold": cold,
        "cached": held,
        "seconds": ended[0] - begun[0],
        "cpu_seconds": ended[1] - begun[1],
        "first_step": 0.0,
        "first_step_cpu": 0.0,
    }


def _cache(path: Path, cold: bool) -> float | None:
    """Bring the file's pages into the wanted state; the share of them that is in memory."""
    drop_pages(path) if cold else read_through(path)
    return cached_share(path)


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


# --- all cases ---------------------------------------------------------------------------------


def in_a_process(case: str, path: Path, comfyui: Path, cold: bool, widened: bool = False) -> dict:
    """One case in a new process, so that its peak is its own. What goes wrong there is its result."""
    asked = [
        "--case",
        case,
        "--file",
        path,
        "--comfyui",
        comfyui,
        *["--cold"] * cold,
        *["--widened"] * widened,
    ]
    done = subprocess.run(
        [sys.executable, __file__, *map(str, asked)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {
            "case": case,
            "cold": cold,
            "failed": (done.stderr.strip().splitlines() or ["no word"])[-1],
        }
    return json.loads(done.stdout.splitlines()[-1])


def turn(path: Path, comfyui: Path, cold: bool) -> list[dict]:
    """Every case once, each between two plain readings, since the machine's mood changes."""
    order = ("read", "ours", "read", "kept", "read", "core", "read")
    return [in_a_process(case, path, comfyui, cold) for case in order]


def ratios(turns: list[list[dict]]) -> dict:
    """For each case the ratio to reading, a turn each: median, lowest, highest; by the clock and by CPU time."""
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
        found[case] = {"clock": _spread(clock), "cpu": _spread(cpu)}
    return found


def _spread(values: list[float]) -> dict | None:
    return (
        {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
        if values
        else None
    )


def measure(asked: argparse.Namespace) -> dict:
    """Write the file, take all turns, and sum up."""
    comfyui, blocks = (
        comfy_process.comfyui_folder(asked.comfyui),
        blocks_for(asked.gigabytes, asked.width),
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "sama_random.safetensors"
        size = write_model(path, config_of(blocks, asked.width))
        taken = {
            name: [turn(path, comfyui, name == "cold") for _ in range(asked.repeats)]
            for name in ("cold", "warm")
        }
        widened = in_a_process("ours", path, comfyui, cold=False, widened=True)
    loads = [
        one
        for turns in taken.values()
        for measured in turns
        for one in measured
        if one["case"] == "ours"
    ]
    return {
        "file": {"bytes": size, "blocks": blocks, "width": asked.width, "dtype": "bfloat16"},
        "repeats": asked.repeats,
        "ratio": {name: ratios(turns) for name, turns in taken.items()},
        "targets": {"ratio": TARGET_RATIO, "peak_per_file": TARGET_MEMORY},
        "highest_peak_per_file": max(one.get("peak_per_file", math.inf) for one in loads),
        "turns": taken,
        "widened": widened,
        "versions": {
            "python": platform.python_version(),
            "comfyui": _version(comfyui),
            **_torch_version(),
        },
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
    }


def _version(comfyui: Path) -> str:
    return (comfyui / "comfyui_version.py").read_text(encoding="utf-8").split('"')[1]


def _torch_version() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "safetensors")}


def parsed(arguments: list[str] | None) -> argparse.Namespace:
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


def main(arguments: list[str] | None = None) -> int:
    """0 if every case ran, else 1."""
    asked = parsed(arguments)
    if asked.case:
        print(
            json.dumps(
                reading(asked.case, asked.file, asked.cold)
                if asked.case in ("read", "kept")
                else loading(asked.case, asked.file, Path(asked.comfyui), asked.cold, asked.widened)
            )
        )
        return 0
    result = measure(asked)
    text = json.dumps(result, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    every = [one for turns in result["turns"].values() for measured in turns for one in measured]
    return 1 if any("failed" in one for one in [*every, result["widened"]]) else 0


if __name__ == "__main__":
    sys.exit(main())
