"""One training step at SAMA-14B's width and reduced depth: memory, gradients, seconds; on the CPU.

    OMP_NUM_THREADS=1 python -m benchmarks.train_step --json train_step.json

The pack's own trainee, objective and optimiser take one step on random weights, latents, text and
semantic tokens: with 1 and 2 blocks, gradient checkpointing off and on, all weights or a LoRA, all
in float32. Each case is a process of its own, whose peak memory the kernel tells. So that two
blocks fit in 12 GB, AdamW steps tensor by tensor and its moments are dropped after each; 8 bytes a
weight are added for them. One case keeps them, as a check: the sum is too high by the moments of
one tensor, the largest one's 1.3 GB.

Measured   peak memory, seconds, and whether every trained tensor has a finite gradient that is not
           all 0
Computed   the peak of 40 blocks, at these few tokens: M(40) = M(2) + 38 · (M(2) - M(1)) + 8 bytes
           of moments for each trained weight; and what a recipe keeps of them: weight, gradient,
           moments, average, 20 bytes
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch

from benchmarks.own_process import measure_in_child, peak
from benchmarks.random_models import random_dit, sama_14b
from benchmarks.report import describe_run, finish
from sama_core.model.config import DitConfig
from sama_core.model.dit import SamaDiT
from sama_core.training.config import TrainConfig
from sama_core.training.objective import SamaObjective, TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.optim.optimisation import build_optimizers
from sama_core.training.trainee import Trainee

MODULE = "benchmarks.train_step"
BLOCKS = 40
MOMENTS, BYTES_KEPT = 8, 20
"""Bytes of each trained weight in float32: AdamW's two moments; and with weight, gradient and
average."""
SIZES = {name: value for name, value in asdict(sama_14b()).items() if name != "num_layers"}
CASES = [
    {"checkpointing": checkpointing, "lora_rank": rank}
    for rank, checkpointing in product((0, 32), (False, True))
]
CHECK = {"blocks": 1, "checkpointing": False, "lora_rank": 0, "keep_moments": True}
TEXT_ROWS = 512


def dit_config(blocks: int, sizes: dict[str, int] = SIZES) -> DitConfig:
    """The model's sizes at that depth; `sizes` override SAMA-14B's."""
    return replace(sama_14b(blocks), **sizes)


def draw_batch(config: DitConfig, side: int, generator: torch.Generator) -> TrainBatch:
    """One sample of one latent frame, `side` x `side`: (side / 2)² tokens a video segment."""

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(1, *shape, generator=generator)

    return TrainBatch(
        draw(16, 1, side, side),
        draw(16, 1, side, side),
        draw(TEXT_ROWS, config.text_dim),
        draw(config.semantic_tokens, config.semantic_dim),
        ["noise"],
    )


def one_step(
    blocks: int,
    checkpointing: bool,
    lora_rank: int,
    side: int,
    sizes: dict[str, int],
    keep_moments: bool = False,
) -> dict:
    """Forward, backward and optimiser step; what was measured. Peak memory is this process's."""
    config, generator = dit_config(blocks, sizes), stream("train step")
    settings = TrainConfig(
        stage=1,
        data="noise",
        model="noise",
        output="",
        steps=1,
        batch_size=1,
        warmup=0,
        gradient_checkpointing=checkpointing,
        lora_rank=lora_rank,
    )
    trainee = Trainee(random_dit(config, generator), None, settings)
    for name, weight in trainee.named_parameters():
        if ".lora_B." in name:  # begins at 0, and would hide the gradient of its partner
            torch.nn.init.normal_(weight, std=0.01, generator=generator)
    trained = {name: weight for name, weight in trainee.named_parameters() if weight.requires_grad}
    batch, begun = draw_batch(config, side, generator), time.perf_counter()
    loss = SamaObjective(settings)(trainee, batch, [stream("noise")]).total.sum()
    loss.backward()
    faults = {
        name: fault
        for name, weight in trained.items()
        if (fault := find_gradient_fault(weight.grad))
    }
    still = step_optimizers(trained, settings, keep_moments)
    return {
        "blocks": blocks,
        "checkpointing": checkpointing,
        "lora_rank": lora_rank,
        "keep_moments": keep_moments,
        "weights": sum(weight.numel() for weight in trainee.parameters()),
        "trained_weights": sum(weight.numel() for weight in trained.values()),
        "trained_tensors": len(trained),
        "gradient_faults": faults,
        "tensors_not_moved": still,
        "loss": loss.item(),
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_gb": round(peak() / 1e9, 3),
    }


def step_optimizers(
    trained: dict[str, torch.nn.Parameter], settings: TrainConfig, keep_moments: bool
) -> list[str]:
    """One step of the settings' optimiser; names of the tensors that it left as they were."""
    sums = {name: weight.detach().sum(dtype=torch.float64) for name, weight in trained.items()}
    groups = [trained] if keep_moments else [{name: weight} for name, weight in trained.items()]
    for group in groups:
        for optimizer in build_optimizers(group.items(), settings):
            optimizer.step()
    return [
        name
        for name, weight in trained.items()
        if weight.detach().sum(dtype=torch.float64) == sums[name]
    ]


def find_gradient_fault(gradient: torch.Tensor | None) -> str | None:
    """What is wrong with a gradient; None if nothing is."""
    if gradient is None:
        return "none"
    if not torch.isfinite(gradient).all():
        return "not finite"
    return None if gradient.any() else "all 0"


def run_case(arguments: list[str], case: dict) -> dict:
    """One case in a new process, so that its peak is its own."""
    found = measure_in_child(MODULE, *arguments, "--case", json.dumps(case))
    return {**case, **found} if "failed" in found else found


def extrapolate(first: dict, second: dict, blocks: int = BLOCKS) -> dict:
    """Computed, not measured: two depths of one case carried on to `blocks`."""
    grows = second["peak_gb"] - first["peak_gb"]
    trained = second["trained_weights"] + (blocks - 2) * (
        second["trained_weights"] - first["trained_weights"]
    )
    return {
        "checkpointing": first["checkpointing"],
        "lora_rank": first["lora_rank"],
        "measured_gb_per_block": round(grows, 3),
        "computed_blocks": blocks,
        "computed_peak_gb": round(
            second["peak_gb"] + (blocks - 2) * grows + trained * MOMENTS / 1e9, 1
        ),
        "computed_trained_weights": trained,
        "computed_state_gb": round(trained * BYTES_KEPT / 1e9, 1),
    }


def compare_moments(dropped: dict, kept: dict) -> dict | None:
    """Peak with AdamW's moments, measured and as the formula adds them; None if a case failed."""
    if "failed" in dropped or "failed" in kept:
        return None
    return {
        "measured_gb": kept["peak_gb"],
        "computed_gb": round(dropped["peak_gb"] + dropped["trained_weights"] * MOMENTS / 1e9, 3),
    }


def measure(asked: argparse.Namespace, arguments: list[str]) -> dict:
    """All cases, and what follows for the full depth."""
    measured, computed = [], []
    for case in CASES:
        pair = [run_case(arguments, {**case, "blocks": blocks}) for blocks in (1, 2)]
        for found in pair:
            print(json.dumps(found), file=sys.stderr)
        measured += pair
        if not any("failed" in found for found in pair):
            computed.append(extrapolate(*pair))
    kept = run_case(arguments, CHECK)
    print(json.dumps(kept), file=sys.stderr)
    whole = SamaDiT(dit_config(BLOCKS, asked.sizes), device="meta")
    return {
        "ran": describe_run(
            sizes=asdict(dit_config(BLOCKS, asked.sizes)),
            latent=[1, asked.side, asked.side],
            video_tokens=2 * (asked.side // 2) ** 2,
            text_rows=TEXT_ROWS,
        ),
        "weights_at_full_depth": sum(weight.numel() for weight in whole.parameters()),
        "measured": [*measured, kept],
        "computed": computed,
        "check_of_added_moments": compare_moments(measured[0], kept),
        "formula": "M(40) = M(2) + 38 * (M(2) - M(1)) + 8 bytes per trained weight; "
        "state: 20 bytes per trained weight",
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line\'s options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=4, help="latent height and width, even")
    parser.add_argument("--json", type=Path, help="write the result here too")
    parser.add_argument(
        "--sizes", type=json.loads, default=SIZES, help="the model's widths as JSON; SAMA-14B's"
    )
    parser.add_argument("--case", type=json.loads, help="run one case in this process")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """0 if every case ran with good gradients, else 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    asked = parse(arguments)
    if asked.case:
        print(json.dumps(one_step(**asked.case, side=asked.side, sizes=asked.sizes)))
        return 0
    result = measure(asked, arguments)
    finish(result, asked.json)
    faults = ("failed", "gradient_faults", "tensors_not_moved")
    return 1 if any(case.get(fault) for case in result["measured"] for fault in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
