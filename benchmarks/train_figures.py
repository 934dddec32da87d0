"""What a training costs beside the model itself, with SAMA-Shapes' file and a LoRA, on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.train_figures --json train_figures.json

    step         the trainer's step against the same step in plain torch: forward, loss, backward,
                 AdamW. Both have the same batch, float32; they take turns
    memory       the trainer's step with each setting of [memory] against its step without
    batch        a batch of rows read and encoded, against one whose latents and texts are kept
    cache        bytes on disk for each pair, and what the plan says of it at most
    checkpoint   seconds and bytes of the trainer's resumable state, and bytes of the LoRA's file

Seconds are medians of turns, with the least and the most: other work on the machine is in them. On
a CPU streaming a block is a copy from memory to memory that nothing hides.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.report import describe_run, finish
from benchmarks.sample_clip import make_clip
from sama_core import embedded
from sama_core.geometry import ClipShape
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.model.schedule import TRAIN_TIMESTEPS
from sama_core.plan.train_request import TrainRequest
from sama_core.training.config import TrainConfig
from sama_core.training.memory.config import MemoryConfig
from sama_core.training.objective import TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.optim.optimisation import BETAS
from sama_core.training.rows.clips_config import ClipsConfig
from sama_core.training.rows.rows_run import RowsRun
from sama_core.training.trainee import Trainee
from sama_core.training.trainer import Trainer

FRAMES, SIDE, RANK = 17, 64, 16
TABLES: dict[str, dict[str, Any]] = {
    "fp8": {"base": "fp8"},
    "activations_in_ram": {"activations_in_ram": True},
    "block_swap": {"block_swap": 6},
    "all": {"base": "fp8", "activations_in_ram": True, "block_swap": 6},
}


class OneBatch:
    """The same batch at every step."""

    def __init__(self, batch: TrainBatch):
        self.made = batch

    def batch(self, step: int, part: slice) -> TrainBatch:
        """See `BatchSource`."""
        return self.made


def settings_for(folder: Path, **changes: Any) -> TrainConfig:
    """A LoRA over SAMA-Shapes' file on the rows in `folder`."""
    return TrainConfig(
        **{
            "stage": 1,
            "data": str(folder / "rows.jsonl"),
            "model": str(embedded.DIT),
            "vae": str(embedded.VAE),
            "text_encoder": str(embedded.TEXT_ENCODER),
            "output": str(folder / "out"),
            "steps": 1000,
            "batch_size": 1,
            "image_share": 0.0,
            "frames": FRAMES,
            "height": SIDE,
            "width": SIDE,
            "lora_rank": RANK,
            **changes,
        }
    )


def write_rows(folder: Path, pairs: int) -> None:
    """Pairs of clips of two seconds."""
    rows = []
    for number in range(pairs):
        for kind in ("source", "target"):
            make_clip(folder / f"{number}_{kind}.mp4", 2 * SIDE, 2 * SIDE, 2)
        names = {kind: f"{number}_{kind}.mp4" for kind in ("source", "target")}
        rows.append(json.dumps({**names, "instruction": f"make it brighter, {number}"}))
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_trainer(config: TrainConfig) -> Trainer:
    """A trainer of a fresh run, without encoders at work."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    run = RowsRun.of(config)
    batch = OneBatch(run.data.batch(0, slice(0, 1)))
    return Trainer(config, run.trainee, batch, run.objective)


def plain_step(trainee: Trainee, batch: TrainBatch) -> Callable[[], None]:
    """The same step in plain torch: the flow and semantic losses at one noise level."""
    weights = [weight for weight in trainee.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-5, betas=BETAS, weight_decay=0.01)
    dit: SamaDiT = trainee.dit
    streams = (batch.target_latents, batch.semantic)
    generator = stream("plain")

    def step() -> None:
        noise = [torch.randn(one.shape, generator=generator) for one in streams]
        noisy = [0.5 * (one + two) for one, two in zip(streams, noise, strict=True)]
        time_ = torch.tensor([0.5 * TRAIN_TIMESTEPS])
        video, tokens = dit(noisy[0], time_, batch.text, batch.source_latents, noisy[1])
        flow = (video - (noise[0] - streams[0])).square().mean()
        loss = flow + 0.1 * (tokens - (noise[1] - streams[1])).abs().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def time_in_turn(steps: dict[str, Callable[[], Any]], turns: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other in every turn; a first turn is not counted."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns + 1):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            found[name].append(time.perf_counter() - begun)
    return {name: seconds[1:] for name, seconds in found.items()}


def summarise(seconds: dict[str, list[float]], reference: str) -> dict[str, dict]:
    """Median, least and most of each, and the median of the ratios to `reference` of each turn."""
    return {
        name: {
            "median_s": round(statistics.median(values), 4),
            "least_s": round(min(values), 4),
            "most_s": round(max(values), 4),
            "ratio": round(
                statistics.median(
                    one / other for one, other in zip(values, seconds[reference], strict=True)
                ),
                3,
            ),
        }
        for name, values in seconds.items()
    }


def measure_steps(folder: Path, turns: int) -> dict:
    """The trainer's step against plain torch, without checkpointing as both have it."""
    trainer = make_trainer(settings_for(folder))
    plain = make_trainer(settings_for(folder, output=str(folder / "plain")))
    steps = {
        "plain": plain_step(plain.trainee, plain.batches.batch(0, slice(0, 1))),
        "trainer": trainer.train_step,
    }
    return summarise(time_in_turn(steps, turns), "plain")


def measure_memory_settings(folder: Path, turns: int) -> dict:
    """The trainer's step with each setting of [memory] against its step without, checkpointed."""
    steps = {}
    for name, table in {"without": {}, **TABLES}.items():
        config = settings_for(
            folder,
            output=str(folder / name),
            gradient_checkpointing=True,
            memory=MemoryConfig(**table),
        )
        steps[name] = make_trainer(config).train_step
    return summarise(time_in_turn(steps, turns), "without")


def measure_batches(folder: Path, pairs: int, turns: int) -> dict:
    """A batch without and with what is kept; and how much that is."""
    cache = folder / "cache"
    fresh = RowsRun.of(settings_for(folder, output=str(folder / "fresh"))).data
    kept_clips = ClipsConfig(cache_folder=str(cache), workers=0)
    kept = RowsRun.of(settings_for(folder, output=str(folder / "kept"), clips=kept_clips)).data
    steps = {name: _count_up(data) for name, data in (("uncached", fresh), ("cached", kept))}
    size = sum(path.stat().st_size for path in cache.glob("*/*.safetensors"))
    config = DitConfig(**vars(RowsRun.of(settings_for(folder)).files.plan.config))
    most = TrainRequest(ClipShape(FRAMES, SIDE, SIDE), config).row_bytes
    return {
        **summarise(time_in_turn(steps, turns), "uncached"),
        "cache": {"bytes_per_pair": round(size / pairs), "planned_at_most": most},
    }


def _count_up(data: Any) -> Callable[[], Any]:
    steps = iter(range(1000))
    return lambda: data.batch(next(steps), slice(0, 1))


def measure_checkpoint(folder: Path, turns: int) -> dict:
    """Seconds and bytes of a LoRA's resumable state."""
    trainer = make_trainer(settings_for(folder, output=str(folder / "saved")))
    trainer.train_step()
    seconds = time_in_turn({"save": trainer.save}, turns)
    weights = sum(one.numel() for one in trainer.trainee.parameters() if one.requires_grad)
    size = (folder / "saved" / "state.pt").stat().st_size
    return {
        **summarise(seconds, "save"),
        "bytes": size,
        "trained_weights": weights,
        "bytes_per_trained_weight": round(size / weights, 2),
        "model_file_bytes": embedded.DIT.stat().st_size,
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--turns", type=int, default=7)
    made.add_argument("--pairs", type=int, default=4)
    made.add_argument("--json", type=Path)
    options = made.parse_args(arguments)
    torch.set_num_threads(1)
    with TemporaryDirectory() as place:
        folder = Path(place)
        write_rows(folder, options.pairs)
        report = {
            "ran": describe_run(
                "accelerate", "peft", frames=FRAMES, side=SIDE, rank=RANK, turns=options.turns
            ),
            "step": measure_steps(folder, options.turns),
            "memory": measure_memory_settings(folder, options.turns),
            "batch": measure_batches(folder, options.pairs, options.turns),
            "checkpoint": measure_checkpoint(folder, options.turns),
        }
    finish(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
