"""The data of the embedded model: procedural scenes and edits on them. Torch only.

    draw ──▶ Scenes ──edits──▶ Scenes ──render──▶ frames (B, F, H, W, 3)
                │       └──wordings──▶ instructions
                └──wrong_scenes──▶ wrong edits, from which the right one must be told apart

`EditSampler` yields paired edits, `sample_scenes` unpaired clips: as many as wanted, from explicit
seeds.
"""

from .draw import USUAL, Movement, sample_scenes
from .edits import KINDS, TAUGHT, Edits, apply, edit_mask, wrong_scenes
from .render import render
from .sampling import EditBatch, EditSampler, generator_for, world_fingerprint
from .scene import Scenes, join
from .wordings import corpus, known_words, unknown_words, vocabulary

__all__ = [
    "KINDS",
    "TAUGHT",
    "USUAL",
    "EditBatch",
    "EditSampler",
    "Edits",
    "Movement",
    "Scenes",
    "apply",
    "corpus",
    "edit_mask",
    "generator_for",
    "join",
    "known_words",
    "render",
    "sample_scenes",
    "unknown_words",
    "vocabulary",
    "world_fingerprint",
    "wrong_scenes",
]
