"""What the runs of the experiments on alignment are measured by: a value per clip and measure.

    A   held-out images edited as the gate does ──▶ mistakes.judge_edits
    B   held-out clips with hidden frames, restored ──▶ hidden_frames.score_hidden

Clips are the same for all arms of a seed, and so is the noise that a clip is sampled from.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import cast

import torch
from torch import Tensor

from benchmarks.shapes.alignment_arms import EVALUATION_SEED
from sama_core import embedded
from sama_core.encoders.umt5 import Tokens, Umt5Encoder
from sama_core.shapes.gate import CoreEditor, Settings
from sama_core.shapes.gate.clip_scores import from_bytes, to_bytes
from sama_core.shapes.gate.core_editor import clip_seed
from sama_core.shapes.gate.evaluate import held_out_clips
from sama_core.shapes.gate.hidden_frames import score_hidden
from sama_core.shapes.gate.mistakes import judge_edits
from sama_core.shapes.learned_saliency import (
    InstructionEncoder,
    LearnedSaliency,
    draw_named,
    measure_saliency,
)
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.world import (
    TAUGHT,
    EditSampler,
    Movement,
    Scenes,
    generator_for,
    join,
    render,
    sample_scenes,
)
from sama_core.text import MAX_TOKENS
from sama_core.training.pretext.operators import CUBE_TAG, MASK_RATIO, blacken

Columns = dict[str, list]
"""Name → one value per clip; None where there is nothing to measure."""

SAMPLING = {"A": Settings(embedded.STEPS, cfg=embedded.CFG), "B": Settings(8, cfg=1.0)}
"""A edits as the gate does; restoring frames needs no guidance."""
AT_ONCE = {"A": 40, "B": 20}
"""Clips edited together."""
_DRAWN = 4
"""Scenes drawn for a clip, of which the first that has an object is taken."""


class PretextEditor(CoreEditor):
    """Edits by a pretext's tag, which stands alone: `[Video edit]` is not put before it."""

    def token_rows(self, instructions: list[str]) -> Tensor:
        """See `CoreEditor`; ids of the unchanged texts."""
        longest = max(len(self.tokens.pieces.encode(text)) for text in instructions)
        return self.tokens.rows(instructions, min(longest + 2, MAX_TOKENS))


def make_editor(run: ShapesRun, experiment: str) -> CoreEditor:
    """An editor of the run's weights as they are."""
    kind = PretextEditor if experiment == "B" else CoreEditor
    return kind(
        run.trainee.dit,
        cast(Umt5Encoder, run.trainee.text_encoder),
        Tokens(run.vocabulary),
        run.data.encoder.vae,
        SAMPLING[experiment],
    )


def evaluate_edits(
    run: ShapesRun, seed: int, count: int, replayed: int, codec: bool = False
) -> Columns:
    """A: held-out images of `add`, and a few of each edit that was taught before.

    With `codec` nothing is edited: the truth goes through the codec, which no edit can better.

    Columns: nearest (a word), right, counted, whole and kept as in `EditOutcome`; `old_KIND`, right
    or not, of the others.
    """
    columns = _edit("add", run, seed, count, codec)
    for kind in TAUGHT if replayed else ():
        columns[f"old_{kind}"] = _edit(kind, run, seed, replayed, codec)["right"]
    return columns


def _edit(kind: str, run: ShapesRun, seed: int, count: int, codec: bool) -> Columns:
    editor, clip_source = make_editor(run, "A"), EVALUATION_SEED + seed
    outcomes = []
    for first in range(0, count, AT_ONCE["A"]):
        size = min(AT_ONCE["A"], count - first)
        batch = held_out_clips(kind, clip_source, first, size, frames=1)
        seeds = [clip_seed(clip_source, first + row) for row in range(size)]
        if codec:
            frames = editor.round_trip(to_bytes(batch.target))
        else:
            frames = editor.edit(to_bytes(batch.source), batch.instructions, seeds).frames
        outcomes += judge_edits(batch, frames)
    return {
        "nearest": [outcome.nearest for outcome in outcomes],
        "right": [int(outcome.right) for outcome in outcomes],
        "counted": [int(outcome.counted == 1) for outcome in outcomes],
        "whole": [round_number(outcome.whole) for outcome in outcomes],
        "kept": [round_number(outcome.kept) for outcome in outcomes],
    }


def restore_clips(
    run: ShapesRun, seed: int, count: int, replayed: int, codec: bool = False
) -> Columns:
    """B: clips of the fast, crossing world, with frames hidden, restored.

    Columns: those of `HiddenScores`; identity is 1 if every object of the clip is what it is.
    `replayed` has no effect; `codec` as in `evaluate_edits`.
    """
    editor, clip_source, scores = make_editor(run, "B"), EVALUATION_SEED + seed, []
    for first in range(0, count, AT_ONCE["B"]):
        size = min(AT_ONCE["B"], count - first)
        scenes, hidden = draw_hidden(clip_source, first, size, run.config.movement)
        truth = render(scenes, run.config.frames)
        source = torch.stack(
            [blacken(clip, range(*_ends(row))) for clip, row in zip(truth, hidden, strict=True)]
        )
        seeds = [clip_seed(clip_source, first + row) for row in range(size)]
        if codec:
            frames = editor.round_trip(to_bytes(truth))
        else:
            frames = editor.edit(to_bytes(source), [CUBE_TAG] * size, seeds).frames
        scores += score_hidden(truth, from_bytes(frames), scenes, hidden)
    rows = [asdict(score) for score in scores]
    columns: Columns = {name: [round_number(row[name]) for row in rows] for name in rows[0]}
    columns["identity"] = [
        None if share is None else int(share == 1) for share in columns["identity"]
    ]
    return columns


def draw_hidden(
    seed: int, first: int, count: int, movement: Movement, frames: int = 17
) -> tuple[Scenes, Tensor]:
    """Scenes with an object, and which of their frames are hidden (B, F) bool.

    As many in a row as the pretext hides, with two shown frames or more on both sides. A clip is a
    function of the seed and its number alone.
    """
    parts, hidden = [], torch.zeros(count, frames, dtype=torch.bool)
    length = round(MASK_RATIO * frames)
    for row in range(count):
        generator = generator_for(seed, "test", first + row)
        scenes = sample_scenes(generator, _DRAWN, frames, "test", movement)
        parts.append(scenes[int(scenes.present.any(1).long().argmax())])
        start = int(torch.randint(2, frames - length - 1, (1,), generator=generator))
        hidden[row, start : start + length] = True
    return join(parts), hidden


def _ends(hidden: Tensor) -> tuple[int, int]:
    """First hidden frame, and the first shown one after it."""
    numbers = hidden.nonzero()[:, 0]
    return int(numbers[0]), int(numbers[-1]) + 1


def round_number(value: float) -> float | None:
    """Three decimals; None for NaN."""
    return None if math.isnan(value) else round(value, 3)


SALIENCY_IMAGES = 128
"""Images that a learned saliency is described on, as many as SARA's clips (Tab. 4)."""


@torch.no_grad()
def measure_learned(model: LearnedSaliency, seed: int) -> dict[str, float]:
    """SARA's diagnostics of a learned saliency on held-out images of `add`, see
    `measure_saliency`.
    """
    sampler = EditSampler(EVALUATION_SEED + seed, "test", ["add"], frames=1)
    frames, texts, masks = draw_named(sampler, 0, SALIENCY_IMAGES)
    return measure_saliency(model(frames, *InstructionEncoder()(texts))[1], masks)


EVALUATIONS: dict[str, Callable[..., Columns]] = {"A": evaluate_edits, "B": restore_clips}
"""Run, seed, clips and replayed clips → the columns of an experiment."""
