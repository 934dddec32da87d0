"""What an alignment costs: memory of its losses, and its share of a training step.

    OMP_NUM_THREADS=1 python -m benchmarks.alignment_cost --json alignment_cost.json

Memory is how far a loss with its gradient lifts the peak (VmHWM) of a fresh process above its
inputs: all 531 million pairs of 40 frames of 576 tokens, and the flow of 21 x 30 x 53 tokens of 256
channels with its divergence. The value and gradient of pairs are compared with the dense form where
that fits. Shares are of one step of SAMA-Shapes on four clips of 17 frames of 64 x 64, one thread,
with random features in the form of the real teachers', by the processor's clock.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from benchmarks.own_process import measure_in_child, reset_peak, resident
from benchmarks.report import check_folder, check_least, describe_run, finish
from sama_core import embedded
from sama_core.model.dit import SamaDiT
from sama_core.training.alignment import ARMS, flow_divergence, local_gram_flow, routed_trd
from sama_core.training.config import TrainConfig
from sama_core.training.objective import SamaObjective, TrainBatch
from sama_core.training.objectives.noising import stream
from sama_core.training.trainee import Trainee

PAIRS, SMALL_PAIRS = (40, 576, 64), (4, 24, 16)
"""Frames, tokens of a frame, and width of the loss of pairs."""
FLOW = (21, 30, 53, 256)
"""Frames, rows, columns and channels of the flow."""
LIMITS = {"pairs": 600, "flow": 150}
"""MiB by which each may grow the process."""
METHODS = {
    "repa": (17, 1024),
    "trd": (9, 1408),
    "sara_changed": (9, 1408),
    "sam2videox": (17, 256),
}
"""Slices and width of each method's teacher for 17 frames: DINOv3 L, V-JEPA 2 g, SAM 2."""
_BATCH, _FRAMES, _SIDE = 4, 17, 64


def measure_memory(case: str, shape: tuple[int, ...]) -> dict:
    """Growth of this process by one loss and its gradient, in MiB, and seconds."""
    draw = torch.Generator().manual_seed(0)
    student = torch.randn(1, *shape, generator=draw, requires_grad=True)
    teacher = torch.randn(1, *shape, generator=draw)
    saliency = torch.rand(1, *shape[:2], generator=draw)
    if case == "flow":
        teacher = local_gram_flow(teacher)
    before, start = reset_peak(), perf_counter()
    if case == "pairs":
        loss = routed_trd(student, teacher, saliency)
    else:
        loss = flow_divergence(teacher, local_gram_flow(student))
    loss.sum().backward()
    seconds = perf_counter() - start
    return {
        "shape": shape,
        "growth_mib": (resident("VmHWM") - before) / 2**20,
        "limit_mib": LIMITS[case],
        "seconds": seconds,
        "loss": loss.item(),
    }


def compare_with_dense(shape: tuple[int, int, int] = SMALL_PAIRS) -> dict:
    """Largest differences of `routed_trd` from all pairs at once, of value and gradient."""
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(1, *shape, generator=draw) for _ in range(2))
    weights = torch.rand(1, *shape[:2], generator=draw)
    found = []
    for loss_of in (routed_trd, dense_trd):
        leaf = student.clone().requires_grad_()
        loss = loss_of(leaf, teacher, weights)
        found.append((loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]))
    (loss, gradient), (expected, wanted) = found
    return {
        "shape": shape,
        "value": (loss - expected).abs().max().item(),
        "gradient": (gradient - wanted).abs().max().item(),
    }


def dense_trd(student: Tensor, teacher: Tensor, saliency: Tensor) -> Tensor:
    """SARA Eq. 9 to 11 with the router "or", all pairs (T·N)² at once → (B,)."""
    frames, count = student.shape[1:3]
    grams = []
    for tokens in (student, teacher):
        flat = functional.normalize(tokens, dim=-1).flatten(1, 2)
        grams.append(flat @ flat.mT)
    flat = saliency.flatten(1)
    weight = flat[:, :, None] + flat[:, None] - flat[:, :, None] * flat[:, None]
    number = torch.arange(frames).repeat_interleave(count)
    within = number[:, None] == number[None]
    difference = (grams[0] - grams[1]).abs() * weight
    parts = [
        difference[:, same].sum(1) / (weight[:, same].sum(1) + 1e-6) for same in (within, ~within)
    ]
    return parts[0] + parts[1]


def measure_share(method: str, repeats: int) -> dict:
    """Processor seconds of a step without and with the method, and the share that it takes.

    Steps alternate; of each kind the middle one counts, and the first of all does not.
    """
    steps = {name: prepare_step(name) for name in ("sft", method)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 1):
        for name, step in steps.items():
            start = process_time()
            step(number)
            times[name].append(process_time() - start)
    alone, aligned = (median(found[1:]) for found in times.values())
    return {"seconds_without": alone, "seconds": aligned, "share": 1 - alone / aligned}


def prepare_step(method: str) -> Callable[[int], None]:
    """A step of a number, forward and backward, with a row of the papers' tables."""
    align = ARMS[method]
    slices, width = METHODS.get(method, (0, 0))
    weights = {name: value.float() for name, value in load_file(embedded.DIT).items()}
    config = TrainConfig(
        stage=1, data="none", model="", output="", steps=1, batch_size=_BATCH, frames=_FRAMES,
        height=_SIDE, width=_SIDE, align=align,
    )  # fmt: skip
    trainee = Trainee(SamaDiT.from_state_dict(weights), None, config, width)
    batch = draw_batch(trainee, method, slices, width)
    objective = SamaObjective(config, trainee.aligner)

    def step(number: int) -> None:
        generators = [stream(0, "noise", number, row) for row in range(_BATCH)]
        objective(trainee, batch, generators).total.sum().backward()
        trainee.zero_grad()

    return step


def draw_batch(trainee: Trainee, method: str, slices: int, width: int) -> TrainBatch:
    """Noise in the form of four clips, with a teacher's targets of them."""
    draw, dit = torch.Generator().manual_seed(0), trainee.dit.config
    latents = (_BATCH, 16, 1 + (_FRAMES - 1) // 4, _SIDE // 8, _SIDE // 8)
    target, source = (torch.randn(latents, generator=draw) for _ in range(2))
    cells = (_SIDE // 16, _SIDE // 16)
    teacher, align = None, ARMS[method]
    if align is not None:
        features = torch.randn(_BATCH, slices, *cells, width, generator=draw)
        flow = align.relation == "flow"
        teacher = {"flow": local_gram_flow(features)} if flow else {"features": features}
        teacher["saliency"] = torch.rand(_BATCH, slices, *cells, generator=draw)
    return TrainBatch(
        target,
        source,
        torch.randn(_BATCH, 40, dit.text_dim, generator=draw),
        torch.randn(_BATCH, dit.semantic_tokens, dit.semantic_dim, generator=draw),
        [f"clip {row}" for row in range(_BATCH)],
        teacher,
    )


def measure_case(case: str, repeats: int) -> dict:
    """One case, in this process."""
    if case in ("pairs", "flow"):
        return measure_memory(case, PAIRS if case == "pairs" else FLOW)
    return compare_with_dense() if case == "dense" else measure_share(case, repeats)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path)
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--case", choices=("pairs", "flow", "dense", *METHODS))
    options = made.parse_args(arguments)
    check_folder("--json", options.json)
    check_least(options, repeats=1)
    if options.case:
        torch.set_num_threads(1)
        print(json.dumps(measure_case(options.case, options.repeats)))
        return 0
    found = {
        case: measure_in_child(
            "benchmarks.alignment_cost", "--case", case, "--repeats", options.repeats,
            OMP_NUM_THREADS="1",
        )
        for case in ("pairs", "flow", "dense", *METHODS)
    }  # fmt: skip
    finish({"ran": describe_run(repeats=options.repeats), **found}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
