"""Motion pretexts of stage 0: the source clip is perturbed, the target never is. Torch only.

    none                 ratio 1   the clip itself
    cube_inpainting      ratio 2   one block of frames is black
    speed_perturbation   ratio 3   twice as fast
    tube_shuffle         ratio 4   2 x 2 x 2 blocks in random order

Every operator is a pure function of frames (F, H, W, C) or (B, F, H, W, C), any dtype, and an
explicit generator; it returns new frames of the same shape. `PretextMix` draws one of them with its
text tag. Source: SAMA §3.3 and App. C (ratios, settings, tags); release `trainers/pretext.py`
(operators).
"""

from .mix import PRETEXTS, RATIOS, Perturbed, Pretext, PretextMix, pretexts_for
from .operators import cube_inpainting, none, speed_perturbation, tube_shuffle

__all__ = [
    "PRETEXTS",
    "RATIOS",
    "Perturbed",
    "Pretext",
    "PretextMix",
    "cube_inpainting",
    "none",
    "pretexts_for",
    "speed_perturbation",
    "tube_shuffle",
]
