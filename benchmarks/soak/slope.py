"""The least-squares line through a server's memory over its edits, and its plot."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.report import save_plot

WARM_SHARE = 0.2
"""The first edits of a server, as a part of all, are left out: caches fill, threads start."""


def fit_slope(rows: Sequence[dict], total: int, key: str = "rss") -> dict:
    """Bytes per edit by least squares, with its standard error, over all but the warm-up.

    `rows` have `server`, `number`, `quiet` and `key`; those count behind which the server was
    quiet, for a running edit takes what it gives back. A run that was stopped and went on has
    several servers: each warms up anew, and has a height of its own; the slope is common to all.
    Where too few rows are left, slope and error are None.
    """
    groups = _groups(rows, total)
    used = [row for group in groups for row in group]
    across = up = square = 0.0
    for group in groups:
        places = [row["number"] for row in group]
        values = [row[key] for row in group]
        place, value = sum(places) / len(places), sum(values) / len(values)
        across += sum((one - place) ** 2 for one in places)
        up += sum((x - place) * (y - value) for x, y in zip(places, values, strict=True))
        square += sum((one - value) ** 2 for one in values)
    free = len(used) - len(groups) - 1
    if across == 0 or free < 1:
        return {"edits": len(used), "slope": None, "standard_error": None}
    slope = up / across
    rest = max(0.0, square - slope * up)
    return {
        "edits": len(used),
        "slope": slope,
        "standard_error": math.sqrt(rest / free / across),
    }


def list_floors(rows: Sequence[dict], parts: int = 10) -> list[int]:
    """The least memory in each of so many parts of the edits, in bytes.

    An allocator keeps a block or gives it back; what was leaked it cannot give back.
    """
    bounds = [round(part * len(rows) / parts) for part in range(parts + 1)]
    return [
        min(row["rss"] for row in rows[first:behind])
        for first, behind in pairwise(bounds)
        if first < behind
    ]


def plot(rows: Sequence[dict], total: int, path: Path) -> None:
    """Memory and files over the edits; what does not count for the slope is pale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    used = {row["number"] for group in _groups(rows, total) for row in group}
    for key, colour, name in (("rss", "C0", "resident"), ("anonymous", "C1", "not of a file")):
        for counted, alpha in ((False, 0.3), (True, 1.0)):
            shown = [row for row in rows if (row["number"] in used) == counted]
            above.plot(
                [row["number"] for row in shown],
                [row[key] / 1e6 for row in shown],
                ".",
                color=colour,
                alpha=alpha,
                markersize=3,
                label=name if counted else None,
            )
    above.set(ylabel="server's memory, MB")
    above.legend()
    numbers = [row["number"] for row in rows]
    below.plot(numbers, [sum(row["files"].values()) for row in rows], color="C2", label="files")
    below.plot(numbers, [row["handles"] for row in rows], color="C3", label="open handles")
    below.set(xlabel="edit", ylim=(0, None))
    below.legend()
    save_plot(figure, path)


def _groups(rows: Sequence[dict], total: int) -> list[list[dict]]:
    """The quiet rows of each server behind its warm-up, where there are at least two."""
    by_server: dict[int, list[dict]] = {}
    for row in rows:
        by_server.setdefault(row["server"], []).append(row)
    warm = round(WARM_SHARE * total)
    quiet = [[row for row in group[warm:] if row["quiet"]] for group in by_server.values()]
    return [group for group in quiet if len(group) > 1]
