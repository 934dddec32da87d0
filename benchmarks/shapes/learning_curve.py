"""The learning curve of stages that go on from one another: flow loss against the steps of all of
them.

    python -m benchmarks.shapes.learning_curve \\
        "stage 0=shapes_stage0/log.jsonl" "stage 1=shapes_stage1/log.jsonl" \\
        --json curve.json --plot curve.png

Each argument is a name and one of the trainer's logs. Two logs of one name are one stage: the
second replaces what the first has from its own first step on. What a stage weighs or draws
differently shows as a jump at its beginning. `--after curve.json` puts the stages of an earlier run
before them, whose logs need not be there any more.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean

from benchmarks.report import save_plot, write_json
from sama_core.training.outputs import TrainLog


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parser().parse_args(arguments)
    before = (
        json.loads(options.after.read_text(encoding="utf-8"))["stages"] if options.after else []
    )
    stages = join_stages(options.stages, before)
    for stage in stages:
        print(
            f"{stage['stage']}: steps {stage['steps'][0]} to {stage['steps'][-1]}, "
            f"flow loss of the last tenth {tail(stage['flow']):.3f}"
        )
    if options.json:
        write_json(options.json, {"stages": stages})
    if options.plot:
        plot(stages, options.plot)
    return 0


def join_stages(named: list[str], before: list[dict]) -> list[dict]:
    """Steps and flow losses of every stage, its steps counted on from where the one before ended.

    `before` are stages joined already. Parts with one name are one stage; the later one must go on
    where the earlier is to end.
    """
    stages = list(before)
    for argument in named:
        name, _, place = argument.partition("=")
        lines = TrainLog.read(Path(place))
        if stages and stages[-1]["stage"] == name:
            stage, first = stages[-1], stages[-1]["steps"][0]
            kept = sum(step < first + lines[0]["step"] for step in stage["steps"])
            stage["steps"], stage["flow"] = stage["steps"][:kept], stage["flow"][:kept]
        else:
            first = stages[-1]["steps"][-1] + 1 if stages else 0
            stage = {"stage": name, "steps": [], "flow": []}
            stages.append(stage)
        stage["steps"] += [first + line["step"] for line in lines]
        stage["flow"] += [round(line["flow"], 4) for line in lines]
    return stages


def tail(losses: list[float]) -> float:
    """Mean of the last tenth."""
    return mean(losses[-max(1, len(losses) // 10) :])


def plot(stages: list[dict], path: Path, over: int = 10) -> None:
    """Every logged loss, pale, and the mean of `over` of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for index, stage in enumerate(stages):
        steps, flow, colour = stage["steps"], stage["flow"], f"C{index}"
        axes.plot(steps, flow, color=colour, alpha=0.25, linewidth=0.7)
        means = [mean(flow[end - over : end]) for end in range(over, len(flow) + 1)]
        axes.plot(steps[over - 1 :], means, color=colour, label=stage["stage"], linewidth=1.5)
    axes.set(xlabel="step", ylabel="flow loss", yscale="log")
    axes.legend()
    save_plot(figure, path)


def parser() -> argparse.ArgumentParser:
    """The command line\'s options."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("stages", nargs="+", help='"NAME=path/of/log.jsonl", in order')
    made.add_argument(
        "--after", type=Path, metavar="JSON", help="of an earlier run: its stages come first"
    )
    made.add_argument("--json", type=Path)
    made.add_argument("--plot", type=Path)
    return made


if __name__ == "__main__":
    sys.exit(main())
