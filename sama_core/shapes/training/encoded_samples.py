"""SAMA-Shapes' samples, encoded: procedural pairs and pretext clips as latents, tokens and
wordings.

    edits     EditSampler ──render──▶ source, target ──VAE──▶ latents; frame 0 ──▶ semantic tokens
    pretexts  sample_scenes ──render──▶ target, perturbed ▶ source; the text is the pretext's tag

Every function depends on its arguments only.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ...encoders.latent_space import LatentSpace
from ...encoders.umt5 import Tokens
from ...encoders.vae import WanVae
from ...text import add_tag, clean_instruction
from ...training.objectives.noising import stream
from ...training.pretext import PRETEXTS, RATIOS, Pretext, PretextMix
from ...training.pretext.operators import SPEED_TAG, speed_perturbation
from ...training.semantics import PixelEncoder
from ...training.semantics.encoder import anchor_frame
from ..world import EditSampler, Movement, Scenes, generator_for, render, sample_scenes
from ..world.drawings import draw, render_drawn
from ..world.wordings import drawn_instructions, instructions
from .latent_pool import Samples
from .scene_reader import edit_labels

WORDINGS = 4
"""Wordings of a pair's instruction; a draw takes one of them."""

CLIPS_AT_ONCE = 8
"""Clips of 17 frames that are encoded together."""

_STOPPED = 0.2
"""Share of instructions that end with a full stop."""

_PRETEXT_SEED = 77_003


class ShapesEncoder:
    """Frames and words of the embedded world to what the DiT sees."""

    def __init__(self, vae: WanVae, semantics: PixelEncoder, tokens: Tokens, text_length: int):
        """`vae` is used as it is, on the device it is on; call `skip_idle` on it for speed."""
        self.vae, self.semantics, self.tokens, self.text_length = (
            vae,
            semantics,
            tokens,
            text_length,
        )
        self.space = LatentSpace(vae)
        self.device = self.space.device

    @torch.no_grad()
    def latents(self, clips: Tensor) -> Tensor:
        """(B, F, H, W, 3) in 0..1 → normalised (B, 16, T, H/8, W/8) float16."""
        at_once = CLIPS_AT_ONCE * max(1, 17 // clips.shape[1])
        return torch.cat([self.space.encode(part) for part in clips.split(at_once)]).half()

    def samples(self, source: Tensor, target: Tensor, wordings: list[list[str]]) -> Samples:
        """Clips (B, F, H, W, 3) of both, and per wording B tagged texts."""
        return self.join(self.latents(source), target, wordings)

    def join(self, source: Tensor, target: Tensor, wordings: list[list[str]]) -> Samples:
        """As `samples`, of latents (B, 16, T, h, w) of the source."""
        return {
            "source": source,
            "target": self.latents(target),
            "semantic": self.semantics.encode(anchor_frame(target)).half(),
            "text": torch.stack(
                [self.tokens.rows(texts, self.text_length) for texts in wordings], 1
            )
            .short()
            .to(self.device),
        }


def edit_samples(encoder: ShapesEncoder, sampler: EditSampler, size: int, number: int) -> Samples:
    """`size` pairs, number `number` of their kind, each in WORDINGS wordings."""
    batch = sampler.batch(number, size)
    generator = stream(sampler.seed, "wordings", sampler.split, number)
    texts = [
        batch.instructions,
        *(
            instructions(batch.source_scenes, batch.edits, sampler.split, generator)
            for _ in range(WORDINGS - 1)
        ),
    ]
    stops = (torch.rand(WORDINGS, size, generator=generator) < _STOPPED).tolist()
    return encoder.samples(
        batch.source,
        batch.target,
        [
            [
                add_tag(clean_instruction(text + "." * stop))
                for text, stop in zip(row, row_stops, strict=True)
            ]
            for row, row_stops in zip(texts, stops, strict=True)
        ],
    )


def drawing_samples(
    encoder: ShapesEncoder, sampler: EditSampler, size: int, number: int
) -> Samples:
    """`size` clips, number `number` of their kind, an object of which becomes a random drawing.

    Two drawings come for each source clip, side by side: the source is encoded once.
    """
    sources = -(-size // 2)
    scenes, edits, _ = sampler.plan(number, sources)
    generator = stream(sampler.seed, "drawings", sampler.split, number)
    twice, slot = scenes.repeat(2)[slice(0, size)], edits.slot.repeat_interleave(2)[:size]
    area = (sampler.frames, sampler.height, sampler.width)
    target = render_drawn(twice, slot, draw(generator, size), *area)
    asked = edits.repeat(2)[slice(0, size)]
    texts = [
        [
            add_tag(clean_instruction(text))
            for text in drawn_instructions(twice, asked, sampler.split, generator)
        ]
        for _ in range(WORDINGS)
    ]
    before = encoder.latents(render(scenes, *area)).repeat_interleave(2, 0)[:size]
    return encoder.join(before, target, texts)


def label_samples(sampler: EditSampler, size: int, number: int) -> Samples:
    """What is where in the pairs of `edit_samples`."""
    source, edits, _ = sampler.plan(number, size)
    return {"labels": edit_labels(source, edits, sampler.frames, sampler.height, sampler.width)}


def draw_clips(seed: int, movement: Movement, frames: int, number: int, size: int) -> Scenes:
    """`size` scenes without an edit, number `number` of their kind."""
    generator = generator_for(seed + _PRETEXT_SEED, "train", number)
    return sample_scenes(generator, size, frames, movement=movement)


def pretext_samples(
    encoder: ShapesEncoder,
    seed: int,
    draw: Callable[[int, int], Scenes],
    size: int,
    frames: int,
    height: int,
    width: int,
    number: int,
    ratios: Mapping[str, float] = RATIOS,
) -> Samples:
    """`size` clips to restore from their perturbed selves; `ratios` of the pretexts as in
    `PretextMix`, `draw(number, size)` gives the clips' scenes.

    Deviation: 2x speed as a time warp, for the released resampling would show half of a 17-frame
    clip.
    """
    target = render(draw(number, size).to(encoder.device), frames, height, width)
    mix, texts, sources = _mix(ratios), [], []
    for row, clip in enumerate(target):
        perturbed = mix.perturb(clip, "", stream(seed, "pretext", number, row))
        sources.append(perturbed.source)
        texts.append(perturbed.caption)
    return encoder.samples(torch.stack(sources), target, [texts] * WORDINGS)


def _mix(ratios: Mapping[str, float]) -> PretextMix:
    warped: Callable[..., Tensor] = partial(speed_perturbation, time_warp=True)
    return PretextMix(
        ratios, {**PRETEXTS, "speed_perturbation": Pretext("speed_perturbation", SPEED_TAG, warped)}
    )
