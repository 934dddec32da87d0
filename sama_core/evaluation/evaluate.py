"""The whole evaluation: n held-out clips per edit through an editor, scored, summed up."""

from collections.abc import Callable, Sequence

from ..errors import SamaError, needed
from ..training.data import KINDS, TAUGHT, EditBatch
from .clip_scores import ClipScores, score_batch
from .gate import Gate, summary
from .held_out import FRAMES, held_out
from .metrics import to_bytes
from .noise import clip_seed
from .shapes_edit import Edited, Editor

Watch = Callable[[EditBatch, Edited, list[ClipScores]], None]


def evaluate(editor: Editor, kinds: Sequence[str] = TAUGHT, seed: int = 0, count: int = 200, batch: int = 25,
             gate: Gate | None = None, watch: Watch | None = None, frames: int = FRAMES) -> dict[str, dict]:
    """Kind of edit → its `gate.summary`, over `count` held-out clips each.

    Clips and noise are functions of (seed, index), so neither `batch` nor `count` changes a clip's result.
    `watch` sees every batch with its output and scores. Raises SamaError for an unknown edit or a count below 1.
    """
    check_plan(kinds, count, batch)
    return {kind: _evaluate_kind(editor, kind, seed, count, batch, gate, watch, frames) for kind in kinds}


def check_plan(kinds: Sequence[str], count: int, batch: int) -> None:
    """Raises SamaError unless all kinds exist and both numbers are at least 1."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise SamaError(needed("--edits", ", ".join(unknown) or "none", "one or more of " + ", ".join(KINDS),
                               "Name edits from this list."))
    for option, value in (("--n", count), ("--batch", batch)):
        if value < 1:
            raise SamaError(needed(option, value, "1 or more", f"Give {option} a positive number."))


def _evaluate_kind(editor: Editor, kind: str, seed: int, count: int, batch: int, gate: Gate | None,
                   watch: Watch | None, frames: int) -> dict:
    scores, seconds = [], 0.0
    for first in range(0, count, batch):
        clips = held_out(kind, seed, first, min(batch, count - first), frames)
        seeds = [clip_seed(seed, first + row) for row in range(len(clips))]
        edited = editor.edit(to_bytes(clips.source), clips.instructions, seeds)
        found = score_batch(clips, edited.frames, editor.round_trip(to_bytes(clips.target)))
        scores, seconds = scores + found, seconds + edited.seconds
        if watch is not None:
            watch(clips, edited, found)
    return summary(scores, seconds, gate)
