"""The embedded model's data: procedural scenes and edits on them. Torch only.

    worlds ──▶ Scenes ──edits──▶ Scenes ──render──▶ frames (B, F, H, W, 3)
                  │        └──wordings──▶ instructions
                  └──wrong──▶ what a result must not resemble more than the truth

`EditSampler` yields paired edits, `sample_scenes` unpaired clips; both from explicit seeds, without end.
"""

from .draw import sample_scenes
from .edits import KINDS, TAUGHT, Edits, apply, edit_mask, wrong_scenes
from .render import render
from .sampling import EditBatch, EditSampler, generator_for, world_fingerprint
from .scene import Scenes, join
from .wordings import corpus, vocabulary

__all__ = [
    "KINDS",
    "TAUGHT",
    "EditBatch",
    "EditSampler",
    "Edits",
    "Scenes",
    "apply",
    "corpus",
    "edit_mask",
    "generator_for",
    "join",
    "render",
    "sample_scenes",
    "vocabulary",
    "world_fingerprint",
    "wrong_scenes",
]
