"""The goals of `python -m benchmarks.gpu`, read off its points, and its table for the screen.

share of the card's own ceiling     at least 0.6 of its fastest bf16 matrix product
step against the official code      at most 0.7 of its time, on the same card and clip
prefetch                            the step with it, of the step without it
"""

import statistics

SHARE, OF_OFFICIAL = 0.6, 0.7
_CLIP = ("frames", "width", "height")
_SAME = (*_CLIP, "weights", "cap", "attention", "compile", "code")


def step_seconds(point: dict) -> float | None:
    """The median step; None where the point did not run."""
    steps = point.get("seconds_per_step")
    return statistics.median(steps) if steps else None


def add_ratios(points: list[dict]) -> list[dict]:
    """The points with `of_official` and `of_no_prefetch`; None without another to compare with."""
    official = {_key(point, _CLIP): step_seconds(point) for point in points if _is_official(point)}
    plain = {_key(point, _SAME): step_seconds(point) for point in points if not point["prefetch"]}
    return [
        {
            **point,
            "of_official": None
            if _is_official(point)
            else _ratio(point, official.get(_key(point, _CLIP))),
            "of_no_prefetch": _ratio(point, plain.get(_key(point, _SAME)))
            if point["prefetch"]
            else None,
        }
        for point in points
    ]


def summarise(points: list[dict]) -> dict:
    """The goals: what is asked, the best that was found, whether it is reached (null: unknown)."""
    shares = [point["ceiling_fraction"] for point in points if _is_plain(point, "ceiling_fraction")]
    ratios = [point["of_official"] for point in points if _is_plain(point, "of_official")]
    gains = [point["of_no_prefetch"] for point in points if point.get("of_no_prefetch")]
    return {
        "ceiling_fraction": _goal(SHARE, max(shares, default=None), lambda best: best >= SHARE),
        "of_official": _goal(
            OF_OFFICIAL, min(ratios, default=None), lambda best: best <= OF_OFFICIAL
        ),
        "of_no_prefetch": _goal(1.0, min(gains, default=None), lambda best: best < 1.0),
    }


def table(report: dict) -> str:
    """Every point that ran, in Markdown, and the goals."""
    head = "| clip | weights | memory | attention | s a step | of the ceiling | of official |"
    lines = [
        f"| {point['frames']} x {point['width']}x{point['height']} | {point['weights']} "
        f"| {'all' if point['cap'] is None else point['cap']} "
        f"| {point['code'] if _is_official(point) else point['attention']}"
        f"{', compiled' if point['compile'] else ''}{', prefetch' if point['prefetch'] else ''} "
        f"| {step_seconds(point):.3g} | {_share(point.get('ceiling_fraction'))} "
        f"| {_share(point.get('of_official'))} |"
        for point in report["points"]
        if step_seconds(point)
    ]
    goals = [
        f"{name}: best {_share(goal['best'])}, goal {goal['goal']:.0%}: "
        + {True: "reached", False: "missed", None: "not measured"}[goal["reached"]]
        for name, goal in report["goals"].items()
    ]
    return "\n".join([head, "|---" * 7 + "|", *lines, *goals])


def _is_official(point: dict) -> bool:
    return point["code"] == "official"


def _is_plain(point: dict, number: str) -> bool:
    """Whether the pack's own code ran exactly with all memory, and has this number."""
    return bool(
        point.get(number)
        and not _is_official(point)
        and point["cap"] is None
        and point["attention"].startswith("pytorch")
    )


def _key(point: dict, names: tuple[str, ...]) -> tuple:
    return tuple(point[name] for name in names)


def _ratio(point: dict, other: float | None) -> float | None:
    mine = step_seconds(point)
    return mine / other if mine and other else None


def _goal(asked: float, best: float | None, is_reached) -> dict:
    return {"goal": asked, "best": best, "reached": None if best is None else is_reached(best)}


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
