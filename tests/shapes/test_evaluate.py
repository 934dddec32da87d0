"""Held-out clips, the row of an edit, and its verdict."""

import json

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.shapes.gate import Gate, evaluate, summary
from sama_core.shapes.gate.clip_scores import ClipScores
from sama_core.shapes.gate.core_editor import clip_seed
from sama_core.shapes.gate.evaluate import held_out_clips
from sama_core.shapes.world import EditBatch

from .conftest import FakeEditor


def clip(right=True, whole=30.0, kept=33.0, track=1.0) -> ClipScores:
    """Scores of a clip whose codec keeps 35 dB and whose source is at 20 dB."""
    ceiling, copy = (
        {"whole": 34.0, "edit": 30.0, "kept": 35.0},
        {"whole": 20.0, "edit": 10.0, "kept": 60.0},
    )
    return ClipScores(right, {"whole": whole, "edit": 25.0, "kept": kept}, ceiling, copy, track)


def test_summary_with_literal_numbers():
    """Three of four right, means of the rest; what cannot be measured is left out."""
    nothing = float("nan")
    row = summary(
        [clip(), clip(whole=26.0), clip(right=False, track=5.0), clip(kept=nothing, track=nothing)],
        6.0,
    )
    assert row["clips"] == 4 and row["accuracy"] == 0.75 and row["seconds_per_clip"] == 1.5
    assert row["accuracy_95"] == pytest.approx([0.30064, 0.95441], abs=1e-4)
    assert row["psnr"]["output"] == {"whole": 29.0, "edit": 25.0, "kept": 33.0}
    assert row["motion"] == {
        "clips": 3,
        "pixels": pytest.approx(7 / 3),
        "within_2px": pytest.approx(2 / 3),
    }
    assert row["gate"] == {"passes": False, "accuracy": False, "kept": True, "copy": True}
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, None),
        ({"right": False}, "accuracy"),
        ({"kept": 31.9}, "kept"),
        ({"kept": 32.0}, None),
        ({"whole": 22.9}, "copy"),
        ({"whole": 23.0}, None),
    ],
)
def test_verdict(changes, failed):
    verdict = summary([clip(**changes)], 1.0)["gate"]
    assert verdict == {
        "passes": failed is None,
        **{name: name != failed for name in ("accuracy", "kept", "copy")},
    }


def test_nothing_kept_is_no_failure_and_limits_can_be_set():
    nothing = float("nan")
    regions = [{"whole": whole, "edit": whole, "kept": nothing} for whole in (28.0, 30.0, 9.0)]
    row = summary([ClipScores(True, *regions, track=0.0)], 1.0)
    assert (
        row["psnr"]["output"]["kept"] is None
        and row["gate"]["kept"] is None
        and row["gate"]["passes"]
    )
    assert not Gate(above_copy=20.0).verdict(row)["passes"]
    assert Gate(accuracy=0.9).verdict({**row, "accuracy": 0.9})["accuracy"]


def test_evaluate_gives_every_edit_its_row_whatever_the_batch():
    """Returning the source is never right; three clips are the same in batches of 2 and 3."""
    idle = FakeEditor(lambda frames: frames / 255)
    seen: list[EditBatch] = []
    rows = evaluate(
        idle,
        ["recolour", "style"],
        seed=3,
        count=3,
        batch=2,
        watch=lambda batch, *_: seen.append(batch),
    )
    assert list(rows) == ["recolour", "style"] and [len(batch) for batch in seen] == [2, 1, 2, 1]
    assert all(row["accuracy"] == 0 and row["seconds_per_clip"] == 2 for row in rows.values())
    assert not any(row["gate"]["passes"] or row["gate"]["copy"] for row in rows.values())
    again = held_out_clips("recolour", 3, 0, 3)
    assert again.target.equal(torch.cat([seen[0].target, seen[1].target]))
    assert again.instructions == seen[0].instructions + seen[1].instructions
    assert set(again.kinds) == {"recolour"} and not again.target.equal(
        held_out_clips("recolour", 4, 0, 3).target
    )


def test_a_clips_seed_depends_on_run_and_index():
    assert [clip_seed(0, 0), clip_seed(0, 5), clip_seed(2, 1)] == [0, 5, 2_000_007]
    assert clip_seed(2**40, 0) < 2**32


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kinds": ["recolor"]}, "--edits: got recolor, needs one or more of recolour, remove"),
        ({"kinds": []}, "--edits: got none"),
        ({"count": 0}, "--n: got 0, needs 1 or more"),
        ({"batch": -1}, "--batch: got -1, needs 1 or more"),
    ],
)
def test_plans_that_cannot_be(plan, message):
    with pytest.raises(SamaError) as error:
        evaluate(FakeEditor(None), **plan)
    assert message in str(error.value)
