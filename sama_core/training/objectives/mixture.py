"""SAMA's whole loss, by name: L = L_FM + λ·L_sem (Eq. 4), both from one prediction at one timestep.

`on_own_path` moves noisy latents to where the sampler meets them: on the model's own path instead
of the data's.

    noise ──one Euler step of the model──▶ x_σ = noise - (1 - σ)·v̂, where v = (x_σ - clean) / σ

On the data's path alone a model learns to take what is already drawn as correct, and the mistakes
of the sampler's first steps stay. Deviation: not SAMA's. One step instead of the sampler's many, so
that it costs one forward pass.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...errors import SamaError, needed
from .noising import Generators, Noised, level_for, model_timestep, per_sample
from .velocity_losses import FlowMatching, SemanticAnchoring

Prediction = tuple[Tensor, Tensor | None]
"""Video velocity (B, C, T, H, W) and semantic velocity (B, S, E) or None: what SamaDiT returns."""

LOWEST_SIGMA = 0.25
"""Below it samples stay on the data's path: the velocity that corrects a mistake d is
(1 - σ) / σ · d larger."""


@dataclass(frozen=True)
class Breakdown:
    """Losses of every sample by name, each (B,), float32, unreduced."""

    flow: Tensor
    """Flow matching on the video."""
    semantic: Tensor
    """Without λ; 0 where there is no semantic anchoring."""
    total: Tensor
    """flow + λ · semantic, and whatever was added: what is minimised."""
    added: Mapping[str, Tensor] = field(default_factory=dict)
    """Losses beside SAMA's by name, without their weights."""

    def parts(self) -> dict[str, Tensor]:
        """The losses by name."""
        return {"flow": self.flow, "semantic": self.semantic, **self.added, "total": self.total}

    def plus(self, name: str, losses: Tensor, weight: float) -> "Breakdown":
        """With another loss (B,) in the total."""
        return Breakdown(
            self.flow, self.semantic, self.total + weight * losses, {**self.added, name: losses}
        )

    def broken(self) -> list[int]:
        """Samples with a loss that is not a finite number."""
        finite = torch.stack(list(self.parts().values())).isfinite().all(0)
        return (~finite).nonzero().flatten().tolist()


@dataclass(frozen=True)
class JointInputs:
    """What the model is given and measured by."""

    sigma: Tensor
    """(B,) exact noise level of both streams."""
    timestep: Tensor
    """(B,) in 0…1000, rounded to bfloat16: what the model takes."""
    video: Noised
    """Latents (B, C, T, H, W)."""
    semantic: Noised | None
    """Tokens (B, S, E)."""


@dataclass(frozen=True)
class JointObjective:
    """Flow matching, and semantic anchoring beside it."""

    flow: FlowMatching = field(default_factory=FlowMatching)
    """The video's part."""
    anchoring: SemanticAnchoring | None = field(default_factory=SemanticAnchoring)
    """None trains without semantic tokens in the sequence: the paper's baseline (Tab. 5)."""

    def prepare(
        self, latents: Tensor, semantics: Tensor | None, generators: Generators
    ) -> JointInputs:
        """Clean latents (B, C, T, H, W) and tokens (B, S, E) → noisy ones, one timestep a sample.

        Drawn in this order: timestep, video noise, semantic noise; so the video's do not depend on
        anchoring. Without anchoring `semantics` is left out. Raises SamaError where anchoring lacks
        its tokens.
        """
        sigma = self.flow.draw_sigmas(len(latents), generators).to(latents.device)
        video = self.flow.prepare(latents, sigma, generators)
        if self.anchoring is None:
            return JointInputs(sigma, model_timestep(sigma), video, None)
        if semantics is None or len(semantics) != len(latents):
            raise SamaError(
                needed(
                    "semantic targets",
                    "none" if semantics is None else f"{len(semantics)} samples",
                    f"the tokens of {len(latents)} anchor frames",
                    "Encode the anchor frames, or train without semantic anchoring.",
                )
            )
        return JointInputs(
            sigma,
            model_timestep(sigma),
            video,
            self.anchoring.prepare(semantics, sigma, generators),
        )

    @staticmethod
    def predict(
        model: Callable[..., Prediction],
        inputs: JointInputs,
        context: Tensor,
        source_latents: Tensor | None,
    ) -> Prediction:
        """What `model` makes of the noisy inputs."""
        noisy_tokens = None if inputs.semantic is None else inputs.semantic.noisy
        return model(inputs.video.noisy, inputs.timestep, context, source_latents, noisy_tokens)

    def losses(
        self, prediction: Prediction, inputs: JointInputs, element_weight: Tensor | None = None
    ) -> Breakdown:
        """The prediction against its inputs' velocities.

        `element_weight` is the flow loss's alone.
        """
        flow = self.flow.losses(prediction[0], inputs.video.velocity, inputs.sigma, element_weight)
        if self.anchoring is None or prediction[1] is None or inputs.semantic is None:
            return Breakdown(flow, torch.zeros_like(flow), flow)
        semantic = self.anchoring.losses(prediction[1], inputs.semantic.velocity)
        return Breakdown(flow, semantic, flow + self.anchoring.weight * semantic)

    def __call__(
        self,
        model: Callable[..., Prediction],
        latents: Tensor,
        context: Tensor,
        source_latents: Tensor | None,
        semantics: Tensor | None,
        generators: Generators,
        element_weight: Tensor | None = None,
    ) -> Breakdown:
        """Noise, one forward pass, losses. `model` takes what SamaDiT.forward takes.

        latents, source_latents (B, C, T, H, W) clean · context (B, L, text_dim) · semantics (B, S,
        E) clean.
        """
        inputs = self.prepare(latents, semantics, generators)
        return self.losses(
            self.predict(model, inputs, context, source_latents), inputs, element_weight
        )


@torch.no_grad()
def on_own_path(
    model: Callable[..., Prediction],
    inputs: JointInputs,
    context: Tensor,
    source_latents: Tensor | None,
    share: float,
    generators: Generators,
) -> JointInputs:
    """`inputs`, with about `share` of the samples moved to where the model's first step leads.

    Draws one number per sample. The model is called even if no sample takes part: sharded processes
    wait for it.
    """
    drawn = per_sample(
        len(context),
        generators,
        lambda count, generator: torch.rand(count, generator=generator, device=generator.device),
    ).to(inputs.sigma.device)
    chosen = (drawn < share) & (inputs.sigma >= LOWEST_SIGMA)
    rows = (chosen if chosen.any() else drawn == drawn.min()).nonzero().flatten()
    predicted = JointObjective.predict(
        model,
        _pure_noise(inputs, rows),
        context[rows],
        None if source_latents is None else source_latents[rows],
    )
    if not chosen.any():
        return inputs
    sigma = inputs.sigma[rows]
    video, semantic = _take_step(inputs.video, rows, sigma, predicted[0]), inputs.semantic
    if semantic is not None and predicted[1] is not None:
        semantic = _take_step(semantic, rows, sigma, predicted[1])
    return replace(inputs, video=video, semantic=semantic)


def _pure_noise(inputs: JointInputs, rows: Tensor) -> JointInputs:
    """These samples where the sampler begins."""

    def noise(stream: Noised) -> Noised:
        whole = stream.noisy.float() + (1 - level_for(inputs.sigma, stream.noisy)) * stream.velocity
        return Noised(whole[rows].to(stream.noisy.dtype), stream.velocity[rows])

    sigma = torch.ones_like(inputs.sigma[rows])
    semantic = None if inputs.semantic is None else noise(inputs.semantic)
    return JointInputs(sigma, model_timestep(sigma), noise(inputs.video), semantic)


def _take_step(stream: Noised, rows: Tensor, sigma: Tensor, predicted: Tensor) -> Noised:
    """`stream` with `rows` moved from pure noise down to `sigma` by the predicted velocity."""
    level, velocity = level_for(sigma, stream.noisy), stream.velocity[rows]
    clean = stream.noisy[rows].float() - level * velocity
    noisy = clean + velocity - (1 - level) * predicted.float()
    return Noised(
        stream.noisy.index_copy(0, rows, noisy.to(stream.noisy.dtype)),
        stream.velocity.index_copy(0, rows, (noisy - clean) / level),
    )
