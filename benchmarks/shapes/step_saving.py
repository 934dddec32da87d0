"""What core's EasyCache saves and costs on the embedded model, beside simply sampling fewer steps.

    python -m benchmarks.shapes.step_saving --n 32 --json step_saving.json

Held-out clips (17 frames of 64x64) are edited through ComfyUI's own sampling, on the CPU in
float32, with the EasyCache node of core on the model. All settings edit the same clips from the
same noise, batch by batch: ratios are of one run. The full sampling has 20 steps at cfg 1, not the
embedded model's 10: a cache is for samplings of many steps.

to full    dB of the frames against those of the full sampling without a cache
accuracy   share of edits nearest, in pixels, to the truth among truth, source and all wrong edits
to truth   dB of the frames against the truth
calls      share of the full sampling's model calls that were computed
seconds    share of the full sampling's processor time, sampling alone

EasyCache decides once for a whole batch; clips edited singly may differ by a step.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.comfyui import find, start_here
from benchmarks.report import check_folder, check_least, write_json
from benchmarks.shapes.comfyui_sampling import CFG, FILES, Clips, Setting
from benchmarks.shapes.report import describe_models
from sama_core.errors import SamaError
from sama_core.scores.fidelity import psnr
from sama_core.shapes.gate import Settings
from sama_core.shapes.gate.clip_scores import from_bytes, is_right, to_bytes
from sama_core.shapes.gate.core_editor import clip_seed
from sama_core.shapes.gate.evaluate import check_plan, held_out_clips

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

FULL = "full"
# Reuse threshold, start and end: the node's own defaults are 0.2, 0.15, 0.95.
EASYCACHE = (
    (0.01, 0.15, 0.95),
    (0.02, 0.15, 0.95),
    (0.05, 0.15, 0.95),
    (0.1, 0.15, 0.95),
    (0.2, 0.15, 0.95),
    (0.1, 0.0, 1.0),
    (0.2, 0.3, 0.95),
    (0.2, 0.15, 0.8),
)
FEWER_STEPS = (14, 10, 7)


def easycache(threshold: float, start: float, end: float, steps: int) -> Setting:
    """Full steps with core's EasyCache node on the model."""

    def patch(model: "ModelPatcher") -> "ModelPatcher":
        from comfy_extras.nodes_easycache import EasyCacheNode

        return EasyCacheNode.execute(model, threshold, start, end, False).args[0]

    return Setting(
        f"EasyCache {threshold:g}, {start:g} to {end:g}",
        steps,
        patch,
        {"reuse_threshold": threshold, "start_percent": start, "end_percent": end},
    )


def default_settings(steps: int) -> list[Setting]:
    """Full sampling first, then every cache setting, then plainly fewer steps."""
    return [
        Setting(FULL, steps),
        *(easycache(*values, steps) for values in EASYCACHE),
        *(Setting(f"{fewer} steps", fewer) for fewer in FEWER_STEPS if fewer < steps),
    ]


@torch.inference_mode()
def measure(
    clips: Clips, settings: list[Setting], kind: str, seed: int, first: int, count: int
) -> None:
    """Edit one batch with every setting and add what it came to."""
    batch = held_out_clips(kind, seed, first, count)
    clips.prepare(batch, [clip_seed(seed, first + row) for row in range(count)])
    truth = from_bytes(to_bytes(batch.target))
    full, frames = None, None
    for setting in settings:
        done = clips.sample(setting)
        output = from_bytes(clips.core.decode(done.latents))
        full, frames = (done, output) if full is None else (full, frames)
        setting.calls.append(done.calls / full.calls)
        setting.seconds.append(done.seconds / full.seconds)
        setting.to_full += psnr(output, frames).tolist()
        setting.to_truth += psnr(output, truth).tolist()
        setting.right += [is_right(batch, row, output[row]) for row in range(count)]


def report(settings: list[Setting], options: argparse.Namespace, started: float) -> dict:
    """What ran, and a row per setting."""
    sampling = Settings(options.steps, options.shift, CFG)
    return {
        "ran": describe_models(
            FILES,
            sampling,
            seed=options.seed,
            edits=options.edits,
            clips_per_edit=options.n,
            batch=options.batch,
            dtype="float32",
            minutes=(time.perf_counter() - started) / 60,
        ),
        "settings": [setting.row() for setting in settings],
    }


def table(rows: list[dict]) -> str:
    """The rows in Markdown."""
    head = "| setting | calls | seconds | to full, dB (worst) | accuracy | to truth, dB |"
    return "\n".join(
        [
            head,
            "|---" * 6 + "|",
            *(
                f"| {row['setting']} | {row['calls']:.0%} | {row['seconds']:.0%} "
                f"| {row['to_full_db']:.1f} ({row['to_full_db_worst']:.1f}) "
                f"| {row['accuracy']:.0%} | {row['to_truth_db']:.1f} |"
                for row in rows
            ),
        ]
    )


def check(options: argparse.Namespace) -> None:
    """Raises SamaError for what cannot be measured or stored, before anything is loaded."""
    check_plan(options.edits, options.n, options.batch)
    check_least(options, steps=1, seed=0, threads=1)
    check_folder("--json", options.json)


def run(options: argparse.Namespace, settings: list[Setting]) -> dict:
    """Measure batch by batch and print the table; returns what is in the JSON, which is written
    anew after each batch, so that a run broken off leaves what it had.
    """
    check(options)
    torch.set_num_threads(options.threads)
    start_here(find(options.comfyui).folder, cpu=True)
    clips, started = Clips(options.shift), time.perf_counter()
    for first in range(0, options.n, options.batch):
        for kind in options.edits:
            measure(
                clips, settings, kind, options.seed, first, min(options.batch, options.n - first)
            )
            found = report(settings, options, started)
            if options.json:
                write_json(options.json, found)
            print(
                f"{found['settings'][0]['clips']} of {options.n * len(options.edits)} clips",
                file=sys.stderr,
                flush=True,
            )
    print(table(found["settings"]))
    return found


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--n", type=int, default=32, help="clips per edit (32)")
    found.add_argument(
        "--edits", nargs="+", default=["recolour", "remove"], help="kinds of edit (recolour remove)"
    )
    found.add_argument("--seed", type=int, default=0, help="decides clips and noise (0)")
    found.add_argument("--steps", type=int, default=20, help="of the full sampling (20)")
    found.add_argument("--shift", type=float, default=5.0, help="schedule shift (5)")
    found.add_argument("--batch", type=int, default=8, help="clips edited at once (8)")
    found.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    found.add_argument("--json", type=Path, help="write all numbers here")
    found.add_argument("--comfyui", help="ComfyUI's folder (found as run.py does)")
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        run(options, default_settings(options.steps))
    except SamaError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
