"""What the runs of an experiment say together: a JSON, a table beside the paper's order, a picture.

Per arm the mean over seeds; per contrast the paired differences of runs with the same seed (what
decides), McNemar's test of the same clips (of these trainings alone), and the difference that the
spread over seeds permits to see. The primary contrast is tested alone; the others, each arm against
`sft`, are corrected by Holm and claim nothing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.report import save_plot, write_json
from benchmarks.shapes.alignment_arms import EXPERIMENTS, Experiment
from benchmarks.shapes.alignment_run import BASELINE, unpack
from benchmarks.shapes.paired import LEVEL, compare_clips, compare_pairs, correct_by_holm

Runs = Mapping[str, Mapping[int, dict]]
"""Arm → seed → the run's result."""
EXTRA = {
    "A": ("counted", "whole", "kept"),
    "B": ("identity", "smoothness", "background", "subject", "dynamic"),
}
"""Other measures of the table, beside the outcome. They decide nothing."""


def read_runs(folder: Path, experiment: str) -> dict[str, dict[int, dict]]:
    """The results in `folder`, arms in the experiment's order."""
    found: dict[str, dict[int, dict]] = {arm: {} for arm in EXPERIMENTS[experiment].arms}
    for path in sorted(folder.glob(f"{experiment}_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found[result["arm"]][result["seed"]] = result
    return {arm: dict(sorted(runs.items())) for arm, runs in found.items() if runs}


def analyse(experiment: str, runs: Runs) -> dict[str, Any]:
    """Arms, the primary contrast, and every other arm against the baseline."""
    chosen = EXPERIMENTS[experiment]
    names = (chosen.outcome, *EXTRA[experiment])
    others = {
        f"{arm} - {BASELINE}": contrast(chosen, runs[arm], runs[BASELINE])
        for arm in runs
        if arm != BASELINE and BASELINE in runs
    }
    adjusted = correct_by_holm({name: part["p"] for name, part in others.items()})
    for name, p in adjusted.items():
        others[name]["p_holm"] = p
    first, second = chosen.primary
    primary = None
    if first in runs and second in runs:
        primary = {
            "contrast": f"{first} - {second}",
            **contrast(chosen, runs[first], runs[second]),
        }
        primary["verdict"] = judge(primary, chosen.better, len(chosen.seeds(first)))
    arms = {
        arm: {
            **{name: _spread(by_seed, name) for name in names},
            **_mistakes(by_seed),
            **_agreement(by_seed),
            **_teacher(by_seed, "saliency"),
            **_teacher(by_seed, "tracker"),
        }
        for arm, by_seed in runs.items()
    }
    seconds = [sum(run["seconds"].values()) for part in runs.values() for run in part.values()]
    return {
        "outcome": chosen.outcome,
        "unit": chosen.unit,
        "better": chosen.better,
        "arms": arms,
        "primary": primary,
        "others": others,
        "codec": _limits(runs.get(BASELINE, {}), names),
        "hours": sum(seconds) / 3600,
    }


def contrast(chosen: Experiment, first: Mapping[int, dict], second: Mapping[int, dict]) -> dict:
    """First − second over the seeds that both have, and the clips that differ.

    All NaN are null; without a common seed there are no pairs.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return {"seeds": [], "pairs": 0, "p": math.nan}
    pairs = compare_pairs(
        [first[seed]["means"][chosen.outcome] - second[seed]["means"][chosen.outcome]
         for seed in seeds]
    )  # fmt: skip
    bits: tuple[list[bool], list[bool]] = ([], [])
    for seed in seeds:
        columns = [unpack(run[seed]["clips"][chosen.bit]) for run in (first, second)]
        for values in zip(*columns, strict=True):
            if not any(map(math.isnan, values)):
                for part, value in zip(bits, values, strict=True):
                    part.append(value == 1)
    return {"seeds": seeds, **asdict(pairs), "clips": asdict(compare_clips(*bits))}


def judge(primary: Mapping[str, Any], better: str, planned: int) -> str:
    """The primary contrast in words: which arm is better, or that they cannot be told apart.

    Decided once, with all `planned` seeds: looking after each would find differences by chance.
    """
    if primary["pairs"] < planned:
        return f"not decided: {primary['pairs']} of {planned} seeds"
    if primary["p"] >= LEVEL:
        return "not distinguishable"
    first, second = primary["contrast"].split(" - ")
    ahead = (primary["mean"] > 0) == (better == "higher")
    return f"{first if ahead else second} is better"


def _spread(by_seed: Mapping[int, dict], name: str) -> dict[str, Any]:
    values = [run["means"][name] for run in by_seed.values() if run["means"][name] is not None]
    return {
        "seeds": len(values),
        "mean": mean(values) if values else None,
        "spread": stdev(values) if len(values) > 1 else None,
    }


def _limits(by_seed: Mapping[int, dict], names: Sequence[str]) -> dict[str, float]:
    """What the codec alone makes of the truth: no arm can be better."""
    found = [run["codec"] for run in by_seed.values() if run.get("codec")]
    return {name: mean(each[name] for each in found) for name in names} if found else {}


def _mistakes(by_seed: Mapping[int, dict]) -> dict[str, Any]:
    """Share of clips by what they are nearest to, over all seeds; experiment A alone has it."""
    words = [word for run in by_seed.values() for word in run["clips"].get("nearest", "").split()]
    shares = {word: words.count(word) / len(words) for word in sorted(set(words))}
    return {"nearest": shares} if shares else {}


def _agreement(by_seed: Mapping[int, dict]) -> dict[str, Any]:
    """Mean share of moving object cells where the student's flow points right."""
    shares = [run["agreement"]["share"] for run in by_seed.values() if run["agreement"]]
    return {"agreement": mean(shares)} if shares else {}


def _teacher(by_seed: Mapping[int, dict], name: str) -> dict[str, Any]:
    """How good the tracker or the learned saliency is, over all seeds' clips."""
    found = [run[name] for run in by_seed.values() if run.get(name)]
    if not found:
        return {}
    known = [key for key in found[0] if all(key in each for each in found)]
    return {name: {key: mean(each[key] for each in found) for key in known}}


def write_report(folder: Path) -> str:
    """Write report.json, report.md and report.png into `folder`; returns the table."""
    found = {name: read_runs(folder, name) for name in EXPERIMENTS}
    reports = {name: analyse(name, runs) for name, runs in found.items() if runs}
    table = "\n\n".join(markdown(name, report) for name, report in reports.items())
    write_json(folder / "report.json", clean(reports))
    (folder / "report.md").write_text(table + "\n", encoding="utf-8")
    if reports:
        plot({name: found[name] for name in reports}, folder / "report.png")
    return table


def clean(value: Any) -> Any:
    """The same with null for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {name: clean(part) for name, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def markdown(experiment: str, report: Mapping[str, Any]) -> str:
    """A table of arms beside the paper's order, and the contrasts under it."""
    chosen = EXPERIMENTS[experiment]
    arms, names = report["arms"], (chosen.outcome, *EXTRA[experiment])
    extra = ["nearest to"] if experiment == "A" else ["flow right"]
    head = ["arm", "seeds", *names, *extra, "our rank", "paper's rank", "paper"]
    ours = rank(
        {arm: row[chosen.outcome]["mean"] for arm, row in arms.items()}, chosen.better == "higher"
    )
    papers = rank({arm: chosen.paper[arm] for arm in arms if arm in chosen.paper}, True)
    lines = [f"### {experiment}: {report['unit']} ({report['better']} is better)", "", _line(head)]
    lines.append(_line(["---"] * len(head)))
    for arm, row in arms.items():
        values = [_with_spread(row[name]) for name in names]
        shares = _shares(row) if experiment == "A" else _number(row.get("agreement"), ".1%")
        place = [ours.get(arm), papers.get(arm), chosen.paper.get(arm)]
        cells = [arm, row[chosen.outcome]["seeds"], *values, shares]
        lines.append(_line([*cells, *("–" if each is None else each for each in place)]))
    if report["codec"]:
        limits = [_number(report["codec"][name], ".3f") for name in names]
        lines.append(_line(["codec alone", "", *limits, *[""] * 4]))
    for arm, row in arms.items():
        for name in ("saliency", "tracker"):
            if name in row:
                told = ", ".join(f"{key} {value:.3f}" for key, value in row[name].items())
                lines += ["", f"{name.capitalize()} of {arm}: {told}."]
    lines += ["", f"Paper: {chosen.paper_score}. {report['hours']:.1f} core-hours.", ""]
    return "\n".join(lines + _contrast_lines(report))


def _contrast_lines(report: Mapping[str, Any]) -> list[str]:
    head = ["contrast", "seeds", "difference (95 %)", "p", "p by Holm", "visible from",
            "clips gained, lost", "McNemar's p"]  # fmt: skip
    lines = [_line(head), _line(["---"] * len(head))]
    primary = report["primary"]
    rows = [(f"**{primary['contrast']}**", primary)] if primary else []
    for name, part in [*rows, *report["others"].items()]:
        if not part["pairs"]:
            continue
        low, high = (_number(part[end], "+.3f") for end in ("low", "high"))
        clips = part["clips"]
        chances = [_number(part.get(name), ".3f") for name in ("p", "p_holm", "detectable")]
        changes = [f"{clips['gained']}, {clips['lost']}", f"{clips['p']:.3g}"]
        difference = f"{part['mean']:+.3f} ({low} to {high})"
        cells = [name, part["pairs"], difference, *chances, *changes]
        lines.append(_line(cells))
    if primary:
        lines += ["", f"Primary contrast: **{primary['verdict']}**."]
    return lines


def rank(scores: Mapping[str, float], higher: bool) -> dict[str, int]:
    """Arm → its place, 1 the best."""
    order = sorted(scores, key=lambda arm: scores[arm], reverse=higher)
    return {arm: place for place, arm in enumerate(order, 1)}


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _with_spread(part: Mapping[str, Any]) -> str:
    if part["mean"] is None:
        return "–"
    spread = "" if part["spread"] is None else f" ± {part['spread']:.3f}"
    return f"{part['mean']:.3f}{spread}"


def _shares(row: Mapping[str, Any]) -> str:
    order = sorted(row["nearest"].items(), key=lambda pair: -pair[1])
    return ", ".join(f"{kind} {share:.0%}" for kind, share in order)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)


def plot(found: Mapping[str, Runs], path: Path) -> None:
    """The outcome of every run, a dot each, arm by arm, with lines between runs of a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * len(found), 4.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (experiment, runs) in zip(panels, found.items(), strict=True):
        chosen, arms = EXPERIMENTS[experiment], list(runs)
        for seed in range(max(len(part) for part in runs.values())):
            points = [
                (place, runs[arm][seed]["means"][chosen.outcome])
                for place, arm in enumerate(arms)
                if seed in runs[arm]
            ]
            axes.plot(*zip(*points, strict=True), "o-", color=f"C{seed}", alpha=0.5, linewidth=0.7)
        for place, arm in enumerate(arms):
            middle = mean(run["means"][chosen.outcome] for run in runs[arm].values())
            axes.hlines(middle, place - 0.3, place + 0.3, color="black", linewidth=2)
        axes.set_xticks(range(len(arms)), arms, rotation=30, ha="right")
        axes.set(ylabel=chosen.unit, title=f"{experiment} ({chosen.better} is better)")
    save_plot(figure, path)
