"""Numbers on one edit without a truth to compare with: what leaked, what flickers, does it move as the source?

    source, edit ──┬─ exclusivity    change inside the region against change outside      needs a mask
                   ├─ flicker        what the edit adds from frame to frame               needs two frames
                   └─ motion_follow  motion of the edit against motion of the source      needs two frames

`measure` takes all three; `report` puts them into words, `draw` into a picture.
Needs torch and Pillow. Clips are (F, H, W, 3) float32 in 0…1; nan stands for what cannot be measured.
"""

from .measure import Scores, draw, measure, report

__all__ = ["Scores", "draw", "measure", "report"]
