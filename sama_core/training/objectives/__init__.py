"""What SAMA is trained on. Torch only.

    clean latents ──┐                      ┌─ FlowMatching ────── mean squared error ──────┐
                    ├─ one timestep ─ DiT ─┤                                               ├─ total
    clean tokens ───┘                      └─ SemanticAnchoring ─ mean absolute error · λ ─┘

An objective prepares inputs and returns unreduced losses (B,); `JointObjective` puts both together.
Everything random comes from explicit generators: one for the batch, or one per sample (see
`noising`). Source: SAMA §3.1–3.2, Eq. 1, 3 and 4.
"""

from .anchors import draw_anchored, keep_first_frame, spare_first_frame
from .mixture import Breakdown, JointInputs, JointObjective, on_own_path
from .noising import Generators, Noised, add_noise
from .velocity_losses import FlowMatching, SemanticAnchoring

__all__ = [
    "Breakdown",
    "FlowMatching",
    "Generators",
    "JointInputs",
    "JointObjective",
    "Noised",
    "SemanticAnchoring",
    "add_noise",
    "draw_anchored",
    "keep_first_frame",
    "on_own_path",
    "spare_first_frame",
]
