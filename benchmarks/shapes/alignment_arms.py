"""The two experiments on alignment, fixed before their first run: arms, seeds, contrast, settings.

A   SARA on edits: the edit `add`, which the embedded model was never taught, with the five that it
    was as replay; images. Does weighing pairs of tokens by what the text names teach it better?
B   SAM2VideoX on motion: frames 5 of 17 hidden, objects three times as fast that cross. Does a
    teacher that was fused from both directions restore them better?

One contrast of each is its question, decided with ten seeds. All other arms have three, describe,
and claim nothing. What decides is the outcome below, nothing else that is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sama_core.training.alignment.config import ARMS, AlignConfig

PRIMARY_SEEDS, OTHER_SEEDS = 10, 3
"""Seeds of the two arms of the primary contrast, and of every other arm."""
CLIPS = 240
"""Images or clips that every run is measured on; the same for all arms of a seed."""
REPLAYED_CLIPS = 24
"""A: images of each edit that was taught before, to see what is forgotten."""
EVALUATION_SEED = 1000
"""Clips of run seed s are those of seed 1000 + s; the gate's seeds 0 to 9 stay unused."""

CELL = 4
"""B: pixels of the compared cells. With tokens of 16 pixels nothing would move by a whole one."""
TRACKER = "tracker:"
"""The teacher of experiment B; a run puts the tracker's file behind it."""
LEARNED = "learned"
"""The saliency whose model a run trains first."""


def _relate(name: str, **changes: Any) -> AlignConfig:
    """A: a row of SARA's tables, on the model's tokens.

    Deviation: the projector's rate is 1e-3 after 20 steps instead of 5e-4 after 150, which these
    runs would hardly reach, and it is as wide as the small model.
    """
    return _short(name, "scene", hidden=(256, 256), **changes)


def _track(name: str, **changes: Any) -> AlignConfig:
    """B: a row of SAM2VideoX' tables, with the same deviations, on cells of CELL pixels."""
    return _short(name, TRACKER, cell=CELL, width=32, hidden=(96, 64, 64), **changes)


def _short(name: str, teacher: str, **changes: Any) -> AlignConfig:
    paper = ARMS[name]
    assert paper is not None
    return replace(paper, teacher=teacher, rate=1e-3, warmup=20, **changes)


@dataclass(frozen=True)
class Experiment:
    """What is trained and measured, and what is asked of it."""

    arms: Mapping[str, AlignConfig | None]
    """Name → its alignment; None trains without one."""
    primary: tuple[str, str]
    """The two arms whose difference, first − second, is the experiment's question."""
    outcome: str
    """Decides the primary contrast: the mean over clips of this column."""
    better: str
    """"higher" or "lower"."""
    bit: str
    """Column of what is right or wrong of a clip, for McNemar's test."""
    unit: str
    """Of the outcome."""
    settings: Mapping[str, Any]
    """Of the training, beside seed, folders and alignment."""
    paper: Mapping[str, float]
    """Arm → the paper's own score (higher is better)."""
    paper_score: str
    """What the paper's score is."""

    def seeds(self, arm: str) -> range:
        """The seeds an arm is run with."""
        return range(PRIMARY_SEEDS if arm in self.primary else OTHER_SEEDS)

    def runs(self) -> list[tuple[str, int]]:
        """Every (arm, seed), seed by seed, the primary contrast first in each."""
        order = sorted(self.arms, key=lambda arm: arm not in self.primary)
        return [
            (arm, seed) for seed in range(PRIMARY_SEEDS) for arm in order if seed in self.seeds(arm)
        ]


_ALIKE = {
    "data": "shapes",
    "model": "shapes",
    "init": "embedded",
    "learning_rate": 2.5e-4,
    "muon_rate": 0.0,
    "ema": 0.98,
    "semantic_share": 0.2,
    "pool_growth": 0.0,
    "log_every": 1,
}
"""Of both: the shipped weights go on, in A with AdamW alone (Muon unlearns the other edits).

Rates were chosen in trials without an alignment, before any counted run (docs/lab/alignment.md).
A learnt 8 % of `add` at 1e-4 and 33 % at 2.5e-4, with the old edits as they were. B has Muon.
"""

EDITS = Experiment(
    arms={
        "or": _relate("sara_named"),
        "trd": _relate("trd"),
        "sft": None,
        "and": _relate("sara_named", router="and"),
        "xor": _relate("sara_named", router="xor"),
        "changed_or": _relate("sara_changed"),
        "learned_or": _relate("sara"),
    },
    primary=("or", "trd"),
    outcome="right",
    better="higher",
    bit="right",
    unit="share of edits nearest to the truth",
    settings={
        **_ALIKE,
        "stage": 1,
        "steps": 250,
        "batch_size": 48,
        "image_batch_size": 48,
        "image_share": 1.0,
        "image_pairs": 6144,
        "edits": "add add add add add recolour remove replace background style",
        "edit_weight": 0.3,
        "warmup": 20,
        "text_length": 20,
        "checkpoint_every": 50,
    },
    paper={
        "sft": 4.1209, "trd": 4.1252, "learned_or": 4.1543, "and": 4.1227, "xor": 4.1107,
    },
    paper_score="text alignment, 1 to 5 (SARA Tab. 1 and 3; trd: VideoREPA's row)",
)  # fmt: skip

MOTION = Experiment(
    arms={
        "lgf_fusion": _track("sam2videox"),
        "forward": _track("sam2videox_forward"),
        "sft": None,
        "features_l2": _track("sam2videox_without_flow"),
        "lgf_l2": _track("sam2videox_without_kl"),
        "feature_fusion": _track("sam2videox_features"),
        "lgf_salient": _track("sam2videox_salient"),
        "separate": _track("sam2videox_separate"),
    },
    primary=("lgf_fusion", "forward"),
    outcome="track",
    better="lower",
    bit="identity",
    unit="pixels from the true place in hidden frames",
    settings={
        **_ALIKE,
        "stage": 0,
        "steps": 150,
        "learning_rate": 6e-4,
        "muon_rate": 0.012,
        "frames": 17,
        "batch_size": 16,
        "image_batch_size": 16,
        "image_share": 0.0,
        "clip_pairs": 512,
        "speed": 3.0,
        "crossing": True,
        "pretext": "cube_inpainting",
        "warmup": 10,
        "text_length": 20,
        "checkpoint_every": 20,
    },
    paper={
        "sft": 94.02, "features_l2": 94.58, "lgf_l2": 94.51, "forward": 95.07, "separate": 94.68,
        "feature_fusion": 94.16, "lgf_fusion": 95.51,
    },
    paper_score="Motion score of VBench (SAM2VideoX Tab. 2)",
)  # fmt: skip

EXPERIMENTS = {"A": EDITS, "B": MOTION}
