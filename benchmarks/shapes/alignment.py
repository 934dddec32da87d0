"""SARA and SAM2VideoX at a scale for a CPU: does an alignment help, and which part of it?

    python -m benchmarks.shapes.alignment --experiment A --arm or --seed 0     one run
    python -m benchmarks.shapes.alignment --experiment A --all                 all of A, or the rest
    python -m benchmarks.shapes.alignment --estimate                           what all would cost
    python -m benchmarks.shapes.alignment --report                             table, JSON, picture

Arms, seeds, the primary contrast of each experiment and all settings are written in
alignment_arms.py, before the first run. Every run leaves one JSON in --results, with a value per
clip; one that is there is not done again, and a training that was stopped goes on from its
checkpoint in --work. A and B may run side by side.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.own_process import ROOT
from benchmarks.report import check_least, write_json
from benchmarks.shapes.alignment_arms import EXPERIMENTS, Experiment
from benchmarks.shapes.alignment_report import write_report
from benchmarks.shapes.alignment_run import (
    Plan,
    make_config,
    pool_folder,
    prepare_saliency,
    prepare_tracker,
    run_arm,
)
from benchmarks.shapes.alignment_scores import EVALUATIONS
from sama_core.errors import SamaError, needed
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.training.recipe import ConfigError
from sama_core.training.trainer import Trainer

RESULTS = ROOT / "benchmarks" / "results" / "alignment"
BUDGET_HOURS = 14.0
"""Core-hours that all runs of both experiments may take."""
DEAREST = {"A": "or", "B": "separate"}
"""The arm whose step costs most; the estimate counts it for every arm with an alignment."""
TRIAL_STEPS, TRIAL_CLIPS = 6, 8


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        return run(options)
    except SamaError as error:
        print(error, file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Do what the options ask for."""
    check_least(options, steps=0, clips=1, replayed=0, teacher_steps=1, threads=1)
    chosen = [options.experiment] if options.experiment else list(EXPERIMENTS)
    if options.estimate:
        estimate(chosen)
        return 0
    if not options.report:
        options.results.mkdir(parents=True, exist_ok=True)
        for experiment in chosen:
            for arm, seed in choose_runs(experiment, options):
                finish_run(experiment, arm, seed, options)
    print(write_report(options.results))
    return 0


def choose_runs(experiment: str, options: argparse.Namespace) -> list[tuple[str, int]]:
    """The runs that the options name. Raises SamaError for an arm or a seed that is none."""
    planned: Experiment = EXPERIMENTS[experiment]
    if options.all:
        return planned.runs()
    if options.arm not in planned.arms:
        arms = ", ".join(planned.arms)
        raise SamaError(needed("--arm", options.arm, f"one of {arms}", "Or give --all."))
    seeds = planned.seeds(options.arm)
    if options.seed not in seeds:
        need = f"0 to {seeds[-1]} for {options.arm}"
        raise SamaError(needed("--seed", options.seed, need, "Its seeds were fixed beforehand."))
    return [(options.arm, options.seed)]


def finish_run(experiment: str, arm: str, seed: int, options: argparse.Namespace) -> None:
    """Do one run and write its result, unless it is there. An arm that cannot be is named."""
    path = options.results / f"{experiment}_{arm}_{seed}.json"
    plan = read_plan(options)
    if not path.is_file():
        try:
            result = run_arm(experiment, arm, seed, plan)
        except ConfigError as impossible:
            if not options.all:
                raise
            print(f"{experiment} {arm} {seed}: left out. {impossible}", file=sys.stderr)
            return
        write_json(path, result)
        shown = {name: result[name] for name in ("arm", "seed", "means", "seconds")}
        print(json.dumps(shown), file=sys.stderr, flush=True)
    # Results are safe: checkpoints have served, and pools when all arms of the seed are done.
    shutil.rmtree(make_config(experiment, arm, seed, plan).output, ignore_errors=True)
    if options.all and is_last(experiment, arm, seed):
        shutil.rmtree(pool_folder(experiment, seed, plan), ignore_errors=True)


def is_last(experiment: str, arm: str, seed: int) -> bool:
    """Whether no later run of the experiment has this seed."""
    return [run for run in EXPERIMENTS[experiment].runs() if run[1] == seed][-1][0] == arm


def read_plan(options: argparse.Namespace) -> Plan:
    """The size of the runs. Raises SamaError for a trial that would lie among the results."""
    plan = Plan(options.work, options.steps, options.clips, options.replayed, options.teacher_steps)
    if plan != Plan(options.work) and options.results.resolve() == RESULTS:
        need = "another folder for runs of another size"
        raise SamaError(needed("--results", options.results, need, "Give --results."))
    return plan


def estimate(experiments: list[str]) -> None:
    """Time a few steps and clips of each experiment, and print what all runs would cost."""
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for experiment in experiments:
            hours = estimate_hours(experiment, Path(folder))
            total += sum(hours.values())
            parts = ", ".join(f"{name} {value:.2f}" for name, value in hours.items())
            print(f"{experiment}: {sum(hours.values()):.1f} core-hours ({parts})")
    print(f"together {total:.1f} of {BUDGET_HOURS:.0f} core-hours")


def estimate_hours(experiment: str, work: Path) -> dict[str, float]:
    """Core-hours of all runs by part, from a short run without and one with an alignment."""
    planned = EXPERIMENTS[experiment]
    size = {"A": {"image_pairs": 512}, "B": {"clip_pairs": 64}}[experiment]
    plan = Plan(work, teacher_steps=10, changes=size)
    prepare = {"A": prepare_saliency, "B": prepare_tracker}[experiment]
    teacher = prepare(plan) / plan.teacher_steps * Plan.teacher_steps
    plain, pool = time_steps(experiment, "sft", plan)
    dear, targets = time_steps(experiment, DEAREST[experiment], plan)
    scored = time_clips(experiment, plan)
    runs, steps = planned.runs(), planned.settings["steps"]
    aligned = sum(arm != "sft" for arm, _ in runs)
    pools = sum(planned.settings.get(name, 0) / count for name, count in size.items())
    seconds = {
        "pools": len({seed for _, seed in runs}) * pools * pool,
        "teacher": teacher + aligned * pools * targets,
        "training": steps * (len(runs) * plain + aligned * max(0.0, dear - plain)),
        "evaluation": len(runs) * scored,
    }
    return {name: value / 3600 for name, value in seconds.items()}


def time_steps(experiment: str, arm: str, plan: Plan) -> tuple[float, float]:
    """CPU seconds of a step, and of making the pool that the arm needs and no other has made."""
    config = make_config(experiment, arm, 0, plan)
    run = ShapesRun.of(config)
    trainer = Trainer(config, run.trainee, run.data, run.objective)
    started = time.process_time()
    for pool in run.data.pools():
        for number in range(pool.shards):
            pool.fill(number)
    filled = time.process_time() - started
    trainer.train_step()
    started = time.process_time()
    for trainer.step in range(1, TRIAL_STEPS):
        trainer.train_step()
    return (time.process_time() - started) / (TRIAL_STEPS - 1), filled


def time_clips(experiment: str, plan: Plan) -> float:
    """CPU seconds of measuring one whole run."""
    run = ShapesRun.of(make_config(experiment, "sft", 0, plan))
    run.trainee.eval()
    started = time.process_time()
    EVALUATIONS[experiment](run, 0, TRIAL_CLIPS, 0)
    replayed = 5 * plan.replayed if experiment == "A" else 0
    return (time.process_time() - started) / TRIAL_CLIPS * (plan.clips + replayed)


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--experiment", choices=EXPERIMENTS, help="(both)")
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("--arm", help="one arm, with one --seed")
    what.add_argument("--all", action="store_true", help="every run that has no result yet")
    what.add_argument("--estimate", action="store_true", help="time a few steps and clips")
    what.add_argument("--report", action="store_true", help="only read the results")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    made.add_argument(
        "--work", type=Path, default=Path("alignment_work"), help="checkpoints and pools"
    )
    made.add_argument("--threads", type=int, default=1)
    trial = made.add_argument_group("trials, which need --results of their own")
    trial.add_argument("--steps", type=int, default=0, help="of the training (the experiment's)")
    trial.add_argument("--clips", type=int, default=Plan.clips, help=f"({Plan.clips})")
    trial.add_argument("--replayed", type=int, default=Plan.replayed, help=f"({Plan.replayed})")
    trial.add_argument("--teacher-steps", type=int, default=Plan.teacher_steps)
    return made


if __name__ == "__main__":
    sys.exit(main())
