"""The embedded model's samples, encoded: procedural pairs and pretext clips as latents, tokens and wordings.

    edits     EditSampler ──render──▶ source, target ──VAE──▶ latents; target's frame 0 ──▶ semantic tokens
    pretexts  sample_scenes ──render──▶ target; perturbed ▶ source; the pretext's tag is the whole text

Every function depends on its arguments only.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ..text import clean_instruction, tagged
from .codec.latent_space import LatentSpace
from .codec.wan_vae import WanVae
from .data import EditSampler, generator_for, render, sample_scenes
from .data.labels import edit_labels
from .data.wordings import instructions
from .latent_pool import Samples
from .pretext import PRETEXTS, RATIOS, Pretext, PretextMix
from .pretext.speed import TAG as SPEED_TAG
from .pretext.speed import speed_perturbation
from .randomness import stream
from .semantics import PixelEncoder
from .semantics.encoder import anchor_frame
from .vocabulary import Tokens

WORDINGS = 4
"""Ways in which the instruction of a pair is told; a draw takes one of them."""
CLIPS_AT_ONCE = 8
_STOPPED = 0.2
"""Share of instructions that end with a full stop."""
_PRETEXT_SEED = 77_003


class ShapesEncoder:
    """Frames and words of the embedded world to what the DiT sees."""

    def __init__(self, vae: WanVae, semantics: PixelEncoder, tokens: Tokens, text_length: int):
        """`vae` is used as it is, on the device it is on; call `skip_idle` on it for speed."""
        self.vae, self.semantics, self.tokens, self.text_length = vae, semantics, tokens, text_length
        self.space = LatentSpace(vae)
        self.device = self.space.device

    @torch.no_grad()
    def latents(self, clips: Tensor) -> Tensor:
        """(B, F, H, W, 3) in 0..1 → normalised (B, 16, T, H/8, W/8) float16."""
        at_once = CLIPS_AT_ONCE * max(1, 17 // clips.shape[1])
        return torch.cat([self.space.encode(part) for part in clips.split(at_once)]).half()

    def samples(self, source: Tensor, target: Tensor, wordings: list[list[str]]) -> Samples:
        """Clips (B, F, H, W, 3) of both, and per wording B tagged texts."""
        return {
            "source": self.latents(source), "target": self.latents(target),
            "semantic": self.semantics.encode(anchor_frame(target)).half(),
            "text": torch.stack([self.tokens.rows(texts, self.text_length) for texts in wordings], 1).short()
                         .to(self.device)}


def edit_samples(encoder: ShapesEncoder, sampler: EditSampler, size: int, number: int) -> Samples:
    """`size` pairs, number `number` of their kind, each told in WORDINGS ways."""
    batch = sampler.batch(number, size)
    generator = stream(sampler.seed, "wordings", sampler.split, number)
    texts = [batch.instructions, *(instructions(batch.source_scenes, batch.edits, sampler.split, generator)
                                   for _ in range(WORDINGS - 1))]
    stops = (torch.rand(WORDINGS, size, generator=generator) < _STOPPED).tolist()
    return encoder.samples(batch.source, batch.target, [
        [tagged(clean_instruction(text + "." * stop)) for text, stop in zip(row, row_stops, strict=True)]
        for row, row_stops in zip(texts, stops, strict=True)])


def label_samples(sampler: EditSampler, size: int, number: int) -> Samples:
    """What is where in the pairs of `edit_samples`."""
    source, edits, _ = sampler.plan(number, size)
    return {"labels": edit_labels(source, edits, sampler.frames, sampler.height, sampler.width)}


def pretext_samples(encoder: ShapesEncoder, seed: int, size: int, frames: int, height: int, width: int,
                    number: int, ratios: Mapping[str, float] = RATIOS) -> Samples:
    """`size` clips to restore from their perturbed selves; `ratios` of the pretexts as in `PretextMix`.

    Deviation: 2x speed as a time warp, for the released resampling would show half of a 17-frame clip.
    """
    scenes = sample_scenes(generator_for(seed + _PRETEXT_SEED, "train", number), size, frames)
    target = render(scenes.to(encoder.device), frames, height, width)
    mix, texts, sources = _mix(ratios), [], []
    for row, clip in enumerate(target):
        perturbed = mix.perturb(clip, "", stream(seed, "pretext", number, row))
        sources.append(perturbed.source)
        texts.append(perturbed.caption)
    return encoder.samples(torch.stack(sources), target, [texts] * WORDINGS)


def _mix(ratios: Mapping[str, float]) -> PretextMix:
    warped: Callable[..., Tensor] = partial(speed_perturbation, time_warp=True)
    return PretextMix(ratios, {**PRETEXTS, "speed_perturbation": Pretext("speed_perturbation", SPEED_TAG, warped)})
