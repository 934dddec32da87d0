"""Joins and drift of a long clip cut into segments, and what the store of segments costs.

    .venv/bin/python -m benchmarks.long_joins --segments 10 --seed 0 --json long_joins.json

An artificial identity edit: each segment is encoded and decoded by the pack's own VAE, with a
colour shift of its own planted before encoding, as a model that drifts would. Through the same
plan, blend and colour anchoring as SAMA Long Edit. Errors are in 0..1; "join" is the largest step
of the error's mean from one frame to the next, less what the same clip encoded whole has, "drift"
the largest mean error of a frame.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.report import describe_run, write_json
from sama_core import embedded
from sama_core.encoders.latent_space import LatentSpace
from sama_core.encoders.vae import load_wan_vae
from sama_core.geometry import WAN_21
from sama_core.long import SegmentStore, anchor_colours, blend_segments, plan_segments
from sama_core.shapes.world import generator_for, render, sample_scenes

LENGTH, OVERLAP = 5, 1
"""Latent frames of a segment (17 frames), and those that neighbours share."""


def draw_clip(segments: int, seed: int) -> Tensor:
    """(F, 64, 64, 3): one scene over as many frames as the segments need."""
    latents = LENGTH + (segments - 1) * (LENGTH - 1 - OVERLAP)
    frames = WAN_21.frames_of(latents)
    return render(sample_scenes(generator_for(seed, "test", 0), 1, frames), frames, 64, 64)[0]


def edit_identically(
    space: LatentSpace, source: Tensor, shift: float, seed: int, cut: bool = True
) -> Tensor:
    """The identity edit of `source`, whole or cut, with planted shifts of up to `shift`."""
    latents = WAN_21.latents_of(len(source))
    segments = plan_segments(latents, LENGTH if cut else latents, OVERLAP)
    shifts = shift * (
        2 * torch.rand(len(segments), 3, generator=torch.Generator().manual_seed(seed)) - 1
    )
    parts = [
        (segment, space.encode((source[segment.frames] + own).clamp(0, 1)[None]))
        for segment, own in zip(segments, shifts, strict=True)
    ]
    return space.decode(blend_segments(parts, latents))[0].clamp(0, 1)


def measure_errors(frames: Tensor, source: Tensor) -> dict[str, float]:
    """Largest mean error of a frame, and largest step of that mean from a frame to the next."""
    mean = (frames - source).mean((1, 2))
    return {"drift": mean.abs().max().item(), "step": mean.diff(dim=0).abs().max().item()}


def measure_store(size: tuple[int, ...], times: int) -> dict[str, float]:
    """Median milliseconds to keep and to get one latent of this size."""
    latent, spent = {"latent": torch.randn(size)}, {"put": [], "get": []}
    with tempfile.TemporaryDirectory() as folder:
        store = SegmentStore(Path(folder), 2**40)
        for number in range(times):
            for name, call in (("put", lambda key: store.put(key, latent, {})), ("get", store.get)):
                start = time.perf_counter()
                call(f"{number:08x}")
                spent[name].append(1000 * (time.perf_counter() - start))
    return {f"{name}_ms": statistics.median(values) for name, values in spent.items()}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--shift", type=float, default=0.06, help="largest planted shift of a segment's colours"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    torch.set_grad_enabled(False)
    vae = load_wan_vae(load_file(embedded.VAE)).eval()
    space, source = LatentSpace(vae), draw_clip(asked.segments, asked.seed)
    whole = edit_identically(space, source, 0.0, asked.seed, cut=False)
    measured = {"whole clip, nothing planted": measure_errors(whole, source)}
    for shift, name in ((0.0, "nothing planted"), (asked.shift, f"shifts up to {asked.shift}")):
        frames = edit_identically(space, source, shift, asked.seed + 1)
        measured[f"segments, {name}"] = measure_errors(frames, source)
        measured[f"segments, {name}, anchored"] = measure_errors(
            anchor_colours(frames, source), source
        )
    report = {
        "ran": describe_run(segments=asked.segments, frames=len(source), seed=asked.seed),
        "errors": measured,
        "store, 81 frames of 832x480": measure_store((1, 16, 21, 60, 104), 5),
    }
    for name, values in measured.items():
        print(f"{name:44} drift {values['drift']:.4f}   largest step {values['step']:.4f}")
    print("store:", report["store, 81 frames of 832x480"])
    if asked.json:
        write_json(asked.json, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
