"""The gate: held-out clips through an editor, a row of numbers per kind of edit, and a verdict.

The clips are of the split `test`, each a pure function of (seed, edit, index). A row is plain JSON:
means over clips, null where no clip had anything to measure.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...errors import SamaError, needed
from ..world import KINDS, TAUGHT, EditBatch, EditSampler, apply, join, render
from .clip_scores import REGIONS, WITHIN_PIXELS, ClipScores, score_batch, to_bytes, wilson
from .core_editor import Edited, Editor, clip_seed

FRAMES, SIDE = 17, 64
"""Frames, height and width of the clips."""
_STEPS_PER_KIND = 1_000_000
"""Steps of the sampler per kind, so that different edits are measured on different scenes."""

Watch = Callable[[EditBatch, Edited, list[ClipScores]], None]
"""Called with every batch, its result and its scores."""


def held_out_clips(kind: str, seed: int, first: int, count: int, frames: int = FRAMES) -> EditBatch:
    """Clips `first` … `first + count − 1` of one kind of edit, at SIDE x SIDE pixels.

    A clip does not depend on its batch. Raises SamaError on an unknown kind.
    """
    sampler = EditSampler(seed, "test", [kind], frames, SIDE, SIDE)
    start = _STEPS_PER_KIND * KINDS.index(kind) + first
    plans = [sampler.plan(step, 1) for step in range(start, start + count)]
    source, edits = join(plan[0] for plan in plans), join(plan[1] for plan in plans)
    target = apply(source, edits)
    clips = render(join([source, target]), frames, SIDE, SIDE)
    words = [line for plan in plans for line in plan[2]]
    kinds = [KINDS[number] for number in edits.kind.tolist()]
    return EditBatch(clips[:count], clips[count:], words, kinds, source, target, edits)


@dataclass(frozen=True)
class Gate:
    """The conditions under which a kind of edit may be advertised."""

    accuracy: float = 0.90
    """Least share of clips that are nearest to the truth."""
    kept_below_ceiling: float = 3.0
    """Most decibels of the kept region below those of the codec alone."""
    above_copy: float = 3.0
    """Least decibels of the whole clip above those of the unchanged source."""

    def verdict(self, row: dict) -> dict:
        """{"passes", "accuracy", "kept", "copy"} as bools for a row of `summary`.

        "kept" is None for edits that keep nothing.
        """
        output, ceiling, copy = (row["psnr"][name] for name in ("output", "ceiling", "copy"))
        kept = None
        if output["kept"] is not None and ceiling["kept"] is not None:
            kept = output["kept"] >= ceiling["kept"] - self.kept_below_ceiling
        verdicts = {
            "accuracy": row["accuracy"] >= self.accuracy,
            "kept": kept,
            "copy": output["whole"] >= copy["whole"] + self.above_copy,
        }
        return {"passes": all(part is not False for part in verdicts.values()), **verdicts}


def summary(clips: Sequence[ClipScores], seconds: float, gate: Gate | None = None) -> dict:
    """The row of one kind: accuracy with interval, mean decibels, tracks, seconds, verdict.

    `seconds` is the time of all clips together, without scoring.
    """
    right, count = sum(clip.right for clip in clips), len(clips)
    tracks = [clip.track for clip in clips if not math.isnan(clip.track)]
    row = {
        "clips": count,
        "accuracy": right / count,
        "accuracy_95": list(wilson(right, count)),
        "psnr": {
            name: {
                region: mean(getattr(clip, name)[region] for clip in clips) for region in REGIONS
            }
            for name in ("output", "ceiling", "copy")
        },
        "motion": {
            "clips": len(tracks),
            "pixels": mean(tracks),
            "within_2px": mean(float(track <= WITHIN_PIXELS) for track in tracks),
        },
        "seconds_per_clip": seconds / count,
    }
    return {**row, "gate": (gate or Gate()).verdict(row)}


def mean(values: Iterable[float]) -> float | None:
    """Mean of the values that are not NaN, None if there are none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else None


def evaluate(
    editor: Editor,
    kinds: Sequence[str] = TAUGHT,
    seed: int = 0,
    count: int = 200,
    batch: int = 25,
    gate: Gate | None = None,
    watch: Watch | None = None,
    frames: int = FRAMES,
) -> dict[str, dict]:
    """Kind of edit → its `summary`, over `count` held-out clips each.

    Clips and noise are functions of (seed, index): neither `batch` nor `count` changes the result
    of a clip. Raises SamaError for an unknown edit or a count below 1.
    """
    check_plan(kinds, count, batch)
    return {
        kind: _evaluate_kind(editor, kind, seed, count, batch, gate, watch, frames)
        for kind in kinds
    }


def check_plan(kinds: Sequence[str], count: int, batch: int) -> None:
    """Raise SamaError unless all kinds exist and both numbers are at least 1."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise SamaError(
            needed(
                "--edits",
                ", ".join(unknown) or "none",
                "one or more of " + ", ".join(KINDS),
                "Name edits from this list.",
            )
        )
    for option, value in (("--n", count), ("--batch", batch)):
        if value < 1:
            raise SamaError(needed(option, value, "1 or more", f"Give {option} a positive number."))


def _evaluate_kind(
    editor: Editor,
    kind: str,
    seed: int,
    count: int,
    batch: int,
    gate: Gate | None,
    watch: Watch | None,
    frames: int,
) -> dict:
    scores: list[ClipScores] = []
    seconds = 0.0
    for first in range(0, count, batch):
        clips = held_out_clips(kind, seed, first, min(batch, count - first), frames)
        seeds = [clip_seed(seed, first + row) for row in range(len(clips))]
        edited = editor.edit(to_bytes(clips.source), clips.instructions, seeds)
        part = score_batch(clips, edited.frames, editor.round_trip(to_bytes(clips.target)))
        scores += part
        seconds += edited.seconds
        if watch is not None:
            watch(clips, edited, part)
    return summary(scores, seconds, gate)
