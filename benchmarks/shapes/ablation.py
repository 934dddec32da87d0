"""The paper's ablation (SAMA Tab. 5) at a scale for a CPU: do anchoring and the pretexts help?

    python -m benchmarks.shapes.ablation --output truth --json truth.json --plot truth.png

Four arms, equal in steps, data, first weights and noise; each trains stage 0 (image edits and
clips) and stage 1 (image edits and paired clips):

arm        semantic tokens and loss    clips of stage 0
base       no                          restored from themselves
sa         yes                         restored from themselves
ma         no                          restored from pretexts (1 : 2 : 3 : 4)
sama       yes                         restored from pretexts

Measured: flow loss over the last 100 steps and how rough it runs there; accuracy and PSNR of edits
of held-out clips (as in gate.py). A run that was stopped goes on; a run that is done is
only measured again if its result file is gone.
"""

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.own_process import ROOT
from benchmarks.report import describe_run, save_plot, write_json
from sama_core.encoders.umt5 import Tokens
from sama_core.shapes.config import ShapesConfig, load_config
from sama_core.shapes.gate import CoreEditor, Settings, evaluate
from sama_core.shapes.training.shapes_run import WEIGHTS, ShapesRun
from sama_core.shapes.world import TAUGHT
from sama_core.training.outputs import TrainLog
from sama_core.training.trainer import Trainer

ARMS = {"base": (0.0, False), "sa": (0.1, False), "ma": (0.0, True), "sama": (0.1, True)}
PAPER = {"base": 6.312, "sa": 6.696, "ma": 6.711, "sama": 7.095}
SIZES = {"num_layers": 3, "ffn_dim": 512}
# What distinguishes this scale from the embedded model's recipes.
SCALE = {
    "frames": 9,
    "batch_size": 16,
    "image_batch_size": 48,
    "image_pairs": 8192,
    "clip_pairs": 1024,
    "semantic_share": 1.0,
    "ema": 0.98,
    "warmup": 20,
    "decay_from": 0.7,
    "checkpoint_every": 50,
    "log_every": 1,
    "image_share": 0.5,
    "pool_growth": 0.5,
}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    results = []
    for seed in options.seeds:
        for arm in ARMS:
            results.append(run_arm(arm, seed, options))
            print(
                json.dumps(
                    {
                        key: results[-1][key]
                        for key in ("arm", "seed", "flow", "accuracy", "psnr", "minutes")
                    }
                ),
                file=sys.stderr,
                flush=True,
            )
    print(table(results))
    if options.json:
        write_json(
            options.json,
            {
                "ran": describe_run(
                    sizes=SIZES,
                    scale=SCALE,
                    seeds=options.seeds,
                    steps=options.steps,
                    clips=options.clips,
                ),
                "paper": PAPER,
                "runs": results,
            },
        )
    if options.plot:
        plot(results, options.output, options.plot)
    return 0


def run_arm(arm: str, seed: int, options: argparse.Namespace) -> dict:
    """Train and measure one arm with one seed, or read what was measured before."""
    folder = options.output / f"{arm}_{seed}"
    done = folder / "result.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    started, init = time.process_time(), ""
    for stage, steps in enumerate(options.steps):
        config = stage_config(arm, seed, stage, steps, init, options)
        run = ShapesRun.of(config, **SIZES)
        trainer = Trainer(config, run.trainee, run.data, run.objective)
        trainer.run()
        averaged = trainer.average()
        run.write(averaged, trainer.step)
        init = str(Path(config.output) / WEIGHTS)
    minutes = (time.process_time() - started) / 60
    run.trainee.load_state_dict(averaged)
    result = {"arm": arm, "seed": seed, "minutes": minutes, **measure(run, config, options)}
    write_json(done, result)
    return result


def stage_config(
    arm: str, seed: int, stage: int, steps: int, init: str, options: argparse.Namespace
) -> ShapesConfig:
    """One stage of one arm; all arms of a seed see the same samples, timesteps and noise."""
    weight, pretexts = ARMS[arm]
    recipe = load_config(ROOT / "sama_core" / "shapes" / "recipes" / f"shapes_stage{stage}.toml")
    return replace(
        recipe,
        **SCALE,
        seed=seed,
        steps=steps,
        init=init,
        semantic_weight=weight,
        pretexts=pretexts,
        output=str(options.output / f"{arm}_{seed}" / f"stage{stage}"),
        pool=str(options.output / "pool"),
    )


def measure(run: ShapesRun, config: ShapesConfig, options: argparse.Namespace) -> dict:
    """Flow loss, accuracy and decibels of the averaged weights on held-out clips."""
    run.trainee.eval()
    editor = CoreEditor(
        run.trainee.dit,
        run.trainee.text_encoder,
        Tokens(run.vocabulary),
        run.data.encoder.vae,
        Settings(options.sampling_steps, cfg=1.0, semantics=config.semantic_weight > 0),
    )
    edits = evaluate(editor, TAUGHT, seed=1000, count=options.clips, frames=config.frames)
    rows = list(edits.values())
    losses = last_losses(Path(config.output))
    return {
        "flow": statistics.mean(losses),
        "roughness": roughness(losses),
        "edits": edits,
        "accuracy": statistics.mean(row["accuracy"] for row in rows),
        "psnr": statistics.mean(row["psnr"]["output"]["whole"] for row in rows),
    }


def last_losses(folder: Path, steps: int = 100) -> list[float]:
    """Flow losses of the last steps of training.

    Every one of them on samples hardly seen before.
    """
    return flow_losses(folder)[-steps:]


def flow_losses(folder: Path) -> list[float]:
    """Flow losses of all logged steps."""
    return [line["flow"] for line in TrainLog.read(folder / "log.jsonl")]


def roughness(losses: list[float]) -> float:
    """Mean jump from one step to the next, as a part of the mean loss.

    All arms of a seed see the same samples.
    """
    jumps = [abs(later - earlier) for earlier, later in pairwise(losses)]
    return statistics.mean(jumps) / statistics.mean(losses)


def table(results: list[dict]) -> str:
    """A row per arm: means over seeds with 95 % intervals (Student's t), and the paper's score."""
    lines = [
        "| arm | seeds | flow loss, end | its roughness | accuracy | PSNR, dB | paper's score |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        runs = [result for result in results if result["arm"] == arm]
        cells = [
            interval([run[name] for run in runs], form)
            for name, form in (
                ("flow", ".3f"),
                ("roughness", ".3f"),
                ("accuracy", ".3f"),
                ("psnr", ".2f"),
            )
        ]
        lines.append(f"| {arm} | {len(runs)} | {' | '.join(cells)} | {PAPER[arm]} |")
    return "\n".join(lines)


def interval(values: list[float], form: str) -> str:
    """ "mean ± half of the 95 % interval"."""
    student = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(values))
    centre = format(statistics.mean(values), form)
    if student is None:
        return centre
    return f"{centre} ± {format(student * statistics.stdev(values) / math.sqrt(len(values)), form)}"


def plot(results: list[dict], output: Path, path: Path) -> None:
    """Flow loss of both stages against the step, smoothed over 20 steps: the mean of all seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, stage in zip(figure.subplots(1, 2), (0, 1), strict=True):
        for arm in ARMS:
            seeds = [result["seed"] for result in results if result["arm"] == arm]
            losses = torch.tensor(
                [flow_losses(output / f"{arm}_{seed}" / f"stage{stage}") for seed in seeds]
            ).mean(0)
            axes.plot(losses.unfold(0, min(20, len(losses)), 1).mean(1), label=arm, linewidth=1)
        axes.set(xlabel="step", ylabel="flow loss", yscale="log", title=f"stage {stage}")
        axes.legend()
    save_plot(figure, path)


def parser() -> argparse.ArgumentParser:
    """The command line\'s options."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--output", type=Path, default=Path("truth"), help="folder of the runs, resumed from"
    )
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument(
        "--steps", type=int, nargs=2, default=[150, 250], help="of stage 0 and stage 1"
    )
    made.add_argument("--clips", type=int, default=32, help="held-out clips per edit")
    made.add_argument("--sampling-steps", type=int, default=8)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--json", type=Path)
    made.add_argument("--plot", type=Path)
    return made


if __name__ == "__main__":
    sys.exit(main())
