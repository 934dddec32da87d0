"""Scores in plain words."""

import math

from .exclusivity import Exclusivity
from .measure import Scores


def report(scores: Scores) -> str:
    """A short table, one line per score: name, number, and what the number means."""
    frames, height, width = scores.shape
    rows = [("Exclusivity", *_exclusivity(scores.exclusivity)), ("Flicker", *_flicker(scores.flicker.levels)),
            ("Motion follow", *_motion(scores.motion.follow, scores.motion.pixels))]
    lines = [f"{name:<15}{number:<8}{words}" for name, number, words in rows]
    return "\n".join([f"{frames} frame{'s' * (frames != 1)} of {width}x{height}", *lines])


def _exclusivity(found: Exclusivity | None) -> tuple[str, str]:
    if found is None:
        return "–", "not measured: connect the mask of the region that was to change"
    inside = f"{found.share:.1%} of the change lies in the region"
    if math.isnan(found.outside_db):
        return f"{found.share:.3f}", f"{inside}, which is the whole clip"
    return f"{found.share:.3f}", f"{inside}; outside: {found.outside_db:.1f} dB, best is 60"


def _flicker(levels: float) -> tuple[str, str]:
    if math.isnan(levels):
        return "–", "not measured: there are no two neighbouring frames of one shot"
    return f"{levels:.2f}", "grey levels of 255 that the edit adds from frame to frame; best is 0"


def _motion(follow: float, pixels: float) -> tuple[str, str]:
    if math.isnan(follow):
        return "–", "not measured: nothing with distinct structure stays in source and edit"
    apart = f"{pixels:.2f} pixels per frame apart where something moves"
    return f"{follow:.3f}", f"1 moves as the source, 0 does not; {apart}"
