"""Semantic anchoring: the semantic tokens of an anchor frame are denoised along with the video. SAMA §3.2, Eq. 3.

L_sem = ‖ŝ - s‖₁, mean over the 65 tokens and their channels

Unverified, because the code that builds the target is not released:
  * ŝ and s are velocities (noise - clean) here, not clean tokens. The paper's text reads as regression of clean
    tokens, but the released head is named an "eps/v" predictor and its output drives the video's own Euler step.
  * The semantic noise level is the video's, sample by sample: the released model takes one timestep for both.
  * No timestep weighting. The released loss is the plain mean of the absolute difference, in float32.
"""

from dataclasses import dataclass

from torch import Tensor

from .noising import Generators, Noised, add_noise, check_same_shape


@dataclass(frozen=True)
class SemanticAnchoring:
    """Prepares noisy semantic tokens and measures the predicted semantic velocity."""

    weight: float = 0.1
    """λ of SAMA Eq. 4 (§4.1): the share of this loss in the total. With 0 the tokens are there but not supervised."""

    def prepare(self, clean: Tensor, sigma: Tensor, generators: Generators) -> Noised:
        """Clean tokens (B, S, E) and the video's levels (B,) → noisy tokens and their velocity.

        The noise goes on the raw E-wide tokens, before the projector. Deviation: §3.2 words it as noise on the
        projected tokens; the released code, and with it the released weights, do it this way.
        """
        return add_noise(clean, sigma, generators)

    def losses(self, predicted: Tensor, velocity: Tensor) -> Tensor:
        """Predicted and true velocity (B, S, E) → mean absolute error (B,), float32, without λ."""
        check_same_shape("predicted semantic velocity", predicted, velocity)
        return (predicted.float() - velocity.float()).abs().flatten(1).mean(1)
