"""What core's EasyCache saves and costs on the embedded model, beside simply sampling fewer steps.

    .venv/bin/python benchmarks/step_saving.py --n 32 --json benchmarks/results/step_saving.json

Held-out clips (17 frames of 64x64) are edited through ComfyUI's own sampling, on the CPU in float32, with the EasyCache
node of core on the model. All settings edit the same clips from the same noise, batch by batch: ratios are of one run.
The full sampling has 20 steps at cfg 1, not the embedded model's 10: a cache is for samplings of many steps.

to full    dB of the frames against those of the full sampling without a cache
accuracy   share of edits nearest, in pixels, to the truth among truth, source and all wrong edits
to truth   dB of the frames against the truth
calls      share of the full sampling's model calls that were computed
seconds    share of the full sampling's processor time, sampling alone

EasyCache decides once for a whole batch; clips edited singly may differ by a step.
"""

import argparse
import importlib.util
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if "sama_core" not in sys.modules:
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.shapes.report import what_ran, write_json  # noqa: E402
from sama_core import embedded  # noqa: E402
from sama_core.errors import RuntimeSetupError, SamaError, needed  # noqa: E402
from sama_core.launch.places import Places  # noqa: E402
from sama_core.launch.server.comfy_main import declare_vision_operators  # noqa: E402
from sama_core.launch.setup.comfyui_source import find_comfyui  # noqa: E402
from sama_core.model.schedule import flow_sigmas  # noqa: E402
from sama_core.scores.fidelity import psnr  # noqa: E402
from sama_core.shapes.gate import Settings, load_core_editor  # noqa: E402
from sama_core.shapes.gate.clip_scores import (  # noqa: E402
    from_bytes,
    is_right,
    to_bytes,
    wilson,
)
from sama_core.shapes.gate.core_editor import (  # noqa: E402
    ModelFiles,
    clip_seed,
    joint_noise,
)
from sama_core.shapes.gate.evaluate import check_plan, held_out  # noqa: E402
from sama_core.shapes.world import EditBatch  # noqa: E402

FILES = ModelFiles(embedded.DIT, embedded.TEXT_ENCODER, embedded.VAE)
FULL = "full"
CFG = 1.0
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


@dataclass
class Setting:
    """One way to sample, and what it came to, clip by clip."""

    name: str
    steps: int
    patch: Callable[[Any], Any] = lambda model: model
    """ModelPatcher → ModelPatcher."""
    values: dict = field(default_factory=dict)
    """What `name` says, as numbers."""
    calls: list[float] = field(default_factory=list)
    """Per batch: model calls over the full sampling's."""
    seconds: list[float] = field(default_factory=list)
    """Per batch: processor time over the full sampling's."""
    to_full: list[float] = field(default_factory=list)
    to_truth: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def row(self) -> dict:
        """Means over what was measured so far."""
        return {
            "setting": self.name,
            **self.values,
            "steps": self.steps,
            "clips": len(self.right),
            "to_full_db": statistics.fmean(self.to_full),
            "to_full_db_worst": min(self.to_full),
            "to_truth_db": statistics.fmean(self.to_truth),
            "accuracy": statistics.fmean(self.right),
            "accuracy_95": list(wilson(sum(self.right), len(self.right))),
            "calls": statistics.fmean(self.calls),
            "seconds": statistics.fmean(self.seconds),
            "seconds_spread": [min(self.seconds), max(self.seconds)],
        }


class Sampled(NamedTuple):
    """One sampling run of a batch."""

    latents: Tensor
    """(B, 16, T, h, w), normalised."""
    calls: int
    """Times the model was computed."""
    seconds: float
    """Processor time."""


def start_comfyui(asked: str | None) -> None:
    """Make ComfyUI's modules importable in this process, on the CPU. Raises RuntimeSetupError if there is none."""
    found = find_comfyui(Places(), asked)
    if found is None:
        raise RuntimeSetupError(
            needed(
                "--comfyui",
                "no ComfyUI here",
                "a ComfyUI folder",
                "Give it with --comfyui, or run `python3 run.py edit` once, which fetches one.",
            )
        )
    vision = importlib.util.find_spec("torchvision")
    if vision is not None:
        declare_vision_operators(Path(vision.origin).parent)
    sys.path.insert(0, str(found.folder))
    import comfy.options  # noqa: F401  before cli_args: leaves sys.argv alone
    from comfy.cli_args import args

    args.cpu = True
    logging.getLogger().setLevel(logging.WARNING)


class Clips:
    """Encodes and samples batches of held-out clips with the embedded model, through ComfyUI."""

    def __init__(self, shift: float):
        from sama_core.comfyui import loaders
        from sama_core.comfyui.register import register

        register()
        self.model, self.clip = (
            load(str(path))
            for load, path in (
                (loaders.load_diffusion_model, FILES.dit),
                (loaders.load_text_encoder, FILES.text_encoder),
            )
        )
        self.core, self.shift = load_core_editor(FILES, Settings()), shift

    def prepare(self, batch: EditBatch, seeds: Sequence[int]) -> None:
        """The batch that `sample` edits from now on."""
        from sama_core.comfyui.conditioning import attach_source, encode_instruction

        config, form = self.model.model.dit_config, self.model.model.latent_format
        source = form.process_out(self.core.encode(to_bytes(batch.source)))
        size = (config.semantic_tokens, config.semantic_dim)
        self.noise = torch.stack([joint_noise(source.shape[1:], size, seed)[0] for seed in seeds])
        prompts = [encode_instruction(self.clip, words) for words in batch.instructions]
        self.prompts = [
            attach_source(
                [[torch.cat([pair[side][0][0] for pair in prompts]), prompts[0][side][0][1]]],
                source,
            )
            for side in (0, 1)
        ]
        self.empty, self.seed = torch.zeros_like(source), seeds[0]
        self.sample(Setting("warm-up", 1))

    def sample(self, setting: Setting) -> Sampled:
        """Edit the batch."""
        import comfy.sample
        import comfy.samplers
        from comfy.patcher_extension import WrappersMP

        calls = []

        def count(executor, *args, **kwargs):
            calls.append(1)
            return executor(*args, **kwargs)

        model = setting.patch(self.model).clone()
        # Wrappers added first are outermost: this one sees the calls that a cache lets through.
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count", count)
        started = time.process_time()
        latents = comfy.sample.sample_custom(
            model,
            self.noise,
            CFG,
            comfy.samplers.sampler_object("euler"),
            flow_sigmas(setting.steps, self.shift),
            *self.prompts,
            self.empty,
            disable_pbar=True,
            seed=self.seed,
        )
        seconds = time.process_time() - started
        return Sampled(self.model.model.latent_format.process_in(latents), len(calls), seconds)


def easycache(threshold: float, start: float, end: float, steps: int) -> Setting:
    """Full steps with core's EasyCache node on the model."""

    def patch(model):
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
    batch = held_out(kind, seed, first, count)
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
        "ran": what_ran(
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
                f"| {row['setting']} | {row['calls']:.0%} | {row['seconds']:.0%} | {row['to_full_db']:.1f} "
                f"({row['to_full_db_worst']:.1f}) | {row['accuracy']:.0%} | {row['to_truth_db']:.1f} |"
                for row in rows
            ),
        ]
    )


def check(options: argparse.Namespace) -> None:
    """Raises SamaError for what cannot be measured or stored, before anything is loaded."""
    check_plan(options.edits, options.n, options.batch)
    for name, value, least in (
        ("--steps", options.steps, 1),
        ("--seed", options.seed, 0),
        ("--threads", options.threads, 1),
    ):
        if value < least:
            raise SamaError(needed(name, value, f"{least} or more", f"Give another {name}."))
    if options.json and not options.json.absolute().parent.is_dir():
        raise RuntimeSetupError(
            needed(
                "--json",
                f"{options.json}, in a folder that is not there",
                "a folder that exists",
                "Make the folder first.",
            )
        )


def run(options: argparse.Namespace, settings: list[Setting]) -> dict:
    """Measure batch by batch and print the table; returns what is in the JSON, which is written anew after each batch,
    so that a run broken off leaves what it had.
    """
    check(options)
    torch.set_num_threads(options.threads)
    start_comfyui(options.comfyui)
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
