"""One run of an experiment on alignment: train an arm with a seed, measure it, keep the numbers.

make_config ──ShapesRun──▶ Trainer ──averaged weights──▶ EVALUATIONS ──▶ one value per clip
"""

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.report import describe_run, write_json
from benchmarks.shapes.alignment_arms import CLIPS, EXPERIMENTS, LEARNED, REPLAYED_CLIPS, TRACKER
from benchmarks.shapes.alignment_scores import (
    EVALUATIONS,
    SAMPLING,
    measure_learned,
)
from benchmarks.shapes.flow_agreement import measure_agreement, measure_tracker
from sama_core.shapes.config import ShapesConfig
from sama_core.shapes.learned_saliency import load_saliency, train_saliency
from sama_core.shapes.tracker import load_tracker, train_tracker
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.world import Movement
from sama_core.training.alignment import AlignConfig
from sama_core.training.outputs import TrainLog
from sama_core.training.trainer import Trainer
from sama_core.weights.write import write_safetensors

BASELINE = "sft"
"""The arm without an alignment, with which the codec's limits are measured."""
CODEC_CLIPS = 60
"""Clips on which they are measured."""


@dataclass(frozen=True)
class Plan:
    """How large a run is; the default is the experiment's own size."""

    work: Path
    """Folder of checkpoints, pools and the tracker"""
    steps: int = 0
    """Training steps; 0: the experiment's"""
    clips: int = CLIPS
    """Clips to measure on"""
    replayed: int = REPLAYED_CLIPS
    """A: clips of each edit taught before"""
    teacher_steps: int = 1000
    """Training steps of B's tracker and of A's learned saliency"""
    changes: dict[str, Any] | None = None
    """Other settings of the training, for trials"""


def make_config(experiment: str, arm: str, seed: int, plan: Plan) -> ShapesConfig:
    """The training of one arm; all arms of a seed see the same samples, timesteps and noise."""
    chosen = EXPERIMENTS[experiment]
    settings = {**chosen.settings, **(plan.changes or {})}
    align = chosen.arms[arm]
    if align is not None:
        if align.teacher == TRACKER:
            align = replace(align, teacher=f"{TRACKER}{tracker_file(plan)}")
        if align.saliency == LEARNED:
            align = replace(align, saliency_model=str(saliency_file(plan)))
        settings["align"] = align
    if plan.steps:
        settings["steps"] = plan.steps
    return ShapesConfig(
        **settings,
        seed=seed,
        output=str(plan.work / f"{experiment}_{arm}_{seed}"),
        pool=str(pool_folder(experiment, seed, plan)),
    )


def pool_folder(experiment: str, seed: int, plan: Plan) -> Path:
    """Samples and teachers' targets of all arms of a seed."""
    return plan.work / f"pool_{experiment}_{seed}"


def tracker_file(plan: Plan) -> Path:
    """Where the tracker of experiment B is kept."""
    return plan.work / f"tracker_{plan.teacher_steps}.safetensors"


def saliency_file(plan: Plan) -> Path:
    """Where the learned saliency of experiment A is kept."""
    return plan.work / f"saliency_{plan.teacher_steps}.safetensors"


def prepare_tracker(plan: Plan) -> float:
    """Train the tracker on the fast, crossing world if it is not there; CPU seconds."""
    path = tracker_file(plan)
    if path.is_file():
        return 0.0
    started = time.process_time()
    settings = EXPERIMENTS["B"].settings
    movement = Movement(settings["speed"], settings["crossing"])
    tracker = train_tracker(plan.teacher_steps, frames=settings["frames"], movement=movement)
    write_safetensors(path, tracker.state_dict())
    return time.process_time() - started


def prepare_saliency(plan: Plan) -> float:
    """Train the learned saliency on the edits of experiment A if it is not there; CPU seconds."""
    path = saliency_file(plan)
    if path.is_file():
        return 0.0
    started = time.process_time()
    model = train_saliency(EXPERIMENTS["A"].settings["edits"].split(), plan.teacher_steps)
    write_safetensors(path, model.state_dict())
    return time.process_time() - started


def prepare_teacher(align: AlignConfig | None, plan: Plan) -> float:
    """Train what the alignment needs and is not there yet; CPU seconds."""
    seconds = 0.0
    if align and align.teacher == TRACKER:
        seconds += prepare_tracker(plan)
    if align and align.saliency == LEARNED:
        seconds += prepare_saliency(plan)
    return seconds


def measure_teacher(config: ShapesConfig, plan: Plan) -> dict[str, float] | None:
    """How good the run's tracker is; None without one. Measured once, kept beside its file."""
    if config.align is None or not config.align.teacher.startswith(TRACKER):
        return None
    path = tracker_file(plan).with_suffix(".json")
    if not path.is_file():
        write_json(path, measure_tracker(load_tracker(tracker_file(plan)), config.movement))
    return json.loads(path.read_text(encoding="utf-8"))


def run_arm(experiment: str, arm: str, seed: int, plan: Plan) -> dict:
    """Train, measure, and return all that a result file holds. Resumes a training that stopped.

    Raises ConfigError for an arm that the trainer has no means for.
    """
    prepared = prepare_teacher(EXPERIMENTS[experiment].arms[arm], plan)
    config = make_config(experiment, arm, seed, plan)
    started = time.process_time()
    run, losses = train(config)
    trained = time.process_time()
    columns = EVALUATIONS[experiment](run, seed, plan.clips, plan.replayed)
    agreement = measure_agreement(run, seed)
    learned = config.align.saliency_model if config.align else ""
    limits = None
    if arm == BASELINE:
        limits = EVALUATIONS[experiment](run, seed, min(plan.clips, CODEC_CLIPS), 0, codec=True)
    finished = time.process_time()
    return {
        "experiment": experiment,
        "arm": arm,
        "seed": seed,
        "ran": describe_run(settings=plain(asdict(config)), sampling=asdict(SAMPLING[experiment])),
        "seconds": {
            "teacher": prepared,
            "training": trained - started,
            "evaluation": finished - trained,
        },
        "losses": losses,
        "agreement": agreement,
        "means": {name: find_mean(values) for name, values in columns.items()},
        "tracker": measure_teacher(config, plan),
        "saliency": learned and measure_learned(load_saliency(Path(learned)), seed),
        "codec": limits and {name: find_mean(values) for name, values in limits.items()},
        "clips": {name: pack(values) for name, values in columns.items()},
    }


def train(config: ShapesConfig) -> tuple[ShapesRun, dict[str, float]]:
    """The run with its averaged weights, in eval mode, and its mean losses of the last 50 steps."""
    run = ShapesRun.of(config)
    trainer = Trainer(config, run.trainee, run.data, run.objective)
    trainer.run()
    run.trainee.load_state_dict(trainer.average())
    run.trainee.eval()
    lines = TrainLog.read(Path(config.output) / "log.jsonl")[-50:]
    names = [name for name in lines[0] if name not in ("step", "rate")]
    return run, {name: statistics.mean(line[name] for line in lines) for name in names}


def plain(value: Any) -> Any:
    """Settings as JSON has them: infinity as text, tuples as lists; no folders."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if name not in ("output", "pool")}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and value.startswith(TRACKER):
        return TRACKER + Path(value.removeprefix(TRACKER)).name
    if isinstance(value, str) and value.endswith(".safetensors"):
        return Path(value).name
    return value


def pack(values: list) -> str:
    """A column in one line of a result file; "-" where there is nothing."""
    return " ".join("-" if value is None else str(value) for value in values)


def unpack(line: str) -> list[float]:
    """The numbers of a packed column; NaN where there is nothing."""
    return [math.nan if value == "-" else float(value) for value in line.split()]


def find_mean(values: list) -> float | None:
    """Mean of the numbers of a column; None for a column of words or of nothing."""
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return statistics.mean(numbers) if numbers else None
