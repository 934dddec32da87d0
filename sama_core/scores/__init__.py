"""Scores of one edit, without the true result to compare with.

    source, edit ──┬─ exclusivity    change inside the region against outside    needs a mask
                   ├─ flicker        what the edit adds from frame to frame      needs two frames
                   └─ motion_follow  motion of the edit against the source's     needs two frames

`measure` takes all three; `report` says them in words, `draw` shows them per frame. Clips are
(F, H, W, 3) float32 in 0…1; NaN stands for what cannot be measured. `fidelity.psnr` is the pack's
one PSNR. Needs torch and Pillow.
"""

from .measure import Scores, draw, measure, report

__all__ = ["Scores", "draw", "measure", "report"]
