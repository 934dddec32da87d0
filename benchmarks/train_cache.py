"""What the cache of a training saves: seconds to give a batch, with and without, and its size.

    OMP_NUM_THREADS=1 python -m benchmarks.train_cache --json benchmarks/results/train_cache.json

Pairs of clips of moving noise, with the VAE and text encoder inside the pack, on the CPU. Those are
much smaller than Wan's and umT5-xxl, which the cache saves the more. A batch is what the model
gets: row, frames, latents, texts, semantic tokens. No model is trained.

without    no table [clips]: decoded and encoded each time
ahead      the same, read by threads while a model would compute
filling    every window and text once, as `train` does before the model is loaded
kept       from the files
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.report import describe_run, finish
from sama_core import embedded
from sama_core.clip.film import KEPT, write_film
from sama_core.training.config import TrainConfig
from sama_core.training.rows.clips_config import ClipsConfig
from sama_core.training.rows.data import RowsData
from sama_core.training.rows.fill_kept import fill_kept
from sama_core.training.rows.frozen_encoders import FrozenEncoders
from sama_core.training.rows.room import cache_bytes

SEED = 20261130
FPS = Fraction(16)


def write_pairs(folder: Path, pairs: int, frames: int, height: int, width: int) -> Path:
    """Pairs of clips and their rows; each clip drifts over noise of its own."""
    generator, rows = np.random.default_rng(SEED), []
    for number in range(pairs):
        names = []
        for role in ("source", "target"):
            ground = generator.integers(0, 256, (height // 8, width // 8 + frames, 3), np.uint8)
            large = ground.repeat(8, 0).repeat(8, 1)
            pictures = [
                (Fraction(frame) / FPS, large[:, 8 * frame : 8 * frame + width])
                for frame in range(frames)
            ]
            names.append(f"{number}_{role}.mp4")
            write_film(folder / names[-1], pictures, FPS, KEPT)
        rows.append({"source": names[0], "target": names[1], "instruction": f"edit {number}"})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def time_batches(data: RowsData, steps: int, pause: float = 0.0) -> float:
    """Median seconds that a batch of one sample is waited for; `pause` is a step's own time."""
    taken = []
    for step in range(steps):
        begun = time.perf_counter()
        data.batch(step, slice(0, 1))
        taken.append(time.perf_counter() - begun)
        time.sleep(pause)
    return median(taken[1:])


def measure(folder: Path, options: argparse.Namespace) -> dict:
    """All four ways, on one set of pairs."""
    rows = write_pairs(folder, options.pairs, options.frames, options.height, options.width)

    def data(name: str, clips: ClipsConfig | None) -> RowsData:
        config = TrainConfig(
            stage=1,
            data=str(rows),
            model=str(embedded.DIT),
            vae=str(embedded.VAE),
            text_encoder=str(embedded.TEXT_ENCODER),
            output=str(folder / name),
            steps=options.steps,
            batch_size=1,
            image_share=0.0,
            frames=options.frames,
            height=options.height,
            width=options.width,
            clips=clips,
        )
        return RowsData(config, FrozenEncoders.of(config, torch.device("cpu")))

    kept = ClipsConfig(cache_folder=str(folder / "kept"), workers=0)
    without = data("without", None)
    slow = time_batches(without, options.steps)
    ahead = data("ahead", ClipsConfig(cache=False, workers=2))
    overlapped = time_batches(ahead, options.steps, pause=slow)
    filled = data("filled", kept)
    begun = time.perf_counter()
    fill_kept(filled)
    filling = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in (folder / "kept").glob("*/*.safetensors"))
    fast = time_batches(data("again", kept), options.steps)
    return {
        "seconds_a_batch": {"without": slow, "ahead": overlapped, "kept": fast},
        "times_faster": slow / fast,
        "filling_seconds_a_pair": filling / options.pairs,
        "cache_bytes": size,
        "latents_bytes_computed": cache_bytes(filled.config),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("pairs", 6),
        ("frames", 17),
        ("height", 128),
        ("width", 224),
        ("steps", 8),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="train_cache_"))
    try:
        found = measure(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sizes = {name: getattr(options, name) for name in ("pairs", "frames", "height", "width")}
    run = describe_run("av", "safetensors", seed=SEED, steps=options.steps, **sizes)
    finish({**run, **found}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
