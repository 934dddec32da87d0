"""What the film of a live preview costs in each step: seconds on one CPU thread, and bytes sent.

    OMP_NUM_THREADS=1 python -m benchmarks.film_cost --json film_cost.json

Latents are smooth noise, since noise without structure makes larger JPEGs than a picture does. The
seconds are the process's own, so that other work on the machine does not count. `share` compares
them with a step of `step` seconds: for SAMA-14B the shortest that `run.py plan` computes for the
README's table of cards, 5.2 minutes / 6 steps without guidance; for SAMA-Shapes the README's edit
of 7 seconds / 10 steps, at most one film in half a second.
"""

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.comfyui import find, start_here
from benchmarks.report import describe_run, finish

CASES = {
    "SAMA-14B, 81 frames of 832x480": ((16, 21, 60, 104), 5.2 * 60 / 6),
    "SAMA-Shapes, 17 frames of 64x64": ((16, 5, 8, 8), 0.7),
}
REPEATS, SEED = 9, 1


def measure(shape: tuple[int, ...], step: float) -> dict:
    """Seconds and bytes of one film of latents of this shape."""
    import comfy.latent_formats
    import torch

    from sama_core.comfyui.film import encode_frame, paint_with

    paint = paint_with(comfy.latent_formats.Wan21())
    coarse = [max(2, side // 6) for side in shape[1:]]
    noise = torch.randn(1, shape[0], *coarse, generator=torch.Generator().manual_seed(SEED))
    latent = torch.nn.functional.interpolate(noise, size=shape[1:], mode="trilinear")[0]
    seconds, size = [], 0
    for _ in range(REPEATS):
        started = time.process_time()
        size = sum(len(encode_frame(frame)) for frame in paint(latent))
        seconds.append(time.process_time() - started)
    middle = statistics.median(seconds)
    return {"seconds": middle, "bytes": size, "step": step, "share": middle / step}


def main(arguments: list[str] | None = None) -> None:
    """Measure all cases and finish the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--comfyui", metavar="DIR", help="ComfyUI's folder (default: as run.py finds it)"
    )
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args(arguments)
    start_here(find(options.comfyui).folder, cpu=True)
    ran = describe_run("pillow", repeats=REPEATS, seed=SEED)
    finish({"ran": ran, **{name: measure(*case) for name, case in CASES.items()}}, options.json)


if __name__ == "__main__":
    main()
