"""One edit's row of the gate table, and whether the edit may be advertised.

A summary is plain JSON: means over clips, null where no clip had anything to measure.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .clip_scores import REGIONS, ClipScores
from .metrics import wilson
from .motion import WITHIN_PIXELS


@dataclass(frozen=True)
class Gate:
    """What an edit needs to be advertised."""

    accuracy: float = 0.90
    """Least share of clips nearest to the truth."""
    kept_below_ceiling: float = 3.0
    """Most decibels that the kept region may lie under the codec's own."""
    above_copy: float = 3.0
    """Least decibels of the whole clip over returning the source."""

    def verdict(self, row: dict) -> dict:
        """{"passes", "accuracy", "kept", "copy"} as bools for a `summary`; "kept" is null where nothing is kept."""
        kept, limit = row["psnr"]["output"]["kept"], row["psnr"]["ceiling"]["kept"]
        found = {
            "accuracy": row["accuracy"] >= self.accuracy,
            "kept": None if kept is None or limit is None else kept >= limit - self.kept_below_ceiling,
            "copy": row["psnr"]["output"]["whole"] >= row["psnr"]["copy"]["whole"] + self.above_copy}
        return {"passes": all(part is not False for part in found.values()), **found}


def summary(clips: Sequence[ClipScores], seconds: float, gate: Gate | None = None) -> dict:
    """The row of one edit: accuracy with its interval, mean decibels, tracks, seconds per clip, verdict.

    `seconds` is the time all clips took together, scoring not counted.
    """
    right, count = sum(clip.right for clip in clips), len(clips)
    tracks = [clip.track for clip in clips if not math.isnan(clip.track)]
    row = {
        "clips": count, "accuracy": right / count, "accuracy_95": list(wilson(right, count)),
        "psnr": {name: {region: mean(getattr(clip, name)[region] for clip in clips) for region in REGIONS}
                 for name in ("output", "ceiling", "copy")},
        "motion": {"clips": len(tracks), "pixels": mean(tracks),
                   "within_2px": mean(float(track <= WITHIN_PIXELS) for track in tracks)},
        "seconds_per_clip": seconds / count}
    return {**row, "gate": (gate or Gate()).verdict(row)}


def mean(values: Iterable[float]) -> float | None:
    """Mean of the values that are no NaN, None if there are none."""
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else None
