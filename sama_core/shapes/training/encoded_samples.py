"""SAMA-Shapes' samples, encoded: procedural pairs and pretext clips as latents, tokens and
wordings.

    edits     EditSampler ──render──▶ source, target ──VAE──▶ latents; frame 0 ──▶ semantic tokens
    pretexts  sample_scenes ──render──▶ target, perturbed ▶ source; the text is the pretext's tag

Every function depends on its arguments only. `LatentPool` keeps samples on disk in shards, so that
a pass through them costs no rendering and no encoding. A shard is a function of its number: any
process may make it, in any order, and a second process may fill the pool ahead of the trainer.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
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
from ...weights.write import write_safetensors
from ..world import EditSampler, Movement, Scenes, generator_for, render, sample_scenes
from ..world.drawings import draw, render_drawn
from ..world.wordings import drawn_instructions, instructions
from .scene_reader import edit_labels

Samples = dict[str, Tensor]
"""Named tensors that all start with the number of samples."""


WORDINGS = 4
"""Wordings of a pair's instruction; a draw takes one of them."""

CLIPS_AT_ONCE = 8
"""Clips of 17 frames that are encoded together."""

PROBE = 0.2
"""Deviation of the noise that a channel is probed with, in normalised latents."""

_STOPPED = 0.2
"""Share of instructions that end with a full stop."""

_PRETEXT_SEED = 77_003


class LatentPool:
    """`shards` files of `size` samples in `folder`; `make(number=…)` makes missing ones."""

    def __init__(
        self,
        folder: Path,
        name: str,
        shards: int,
        size: int,
        make: Callable[..., Samples],
        device: torch.device | str = "cpu",
    ):
        """`name` says all that the samples depend on: pools of different names share nothing.
        `device` keeps the loaded shards.
        """
        self.folder, self.name, self.device = Path(folder), name, torch.device(device)
        self.shards, self.size, self.make = shards, size, make
        self._loaded: dict[int, Samples] = {}

    def path(self, number: int) -> Path:
        """The file of one shard."""
        return self.folder / f"{self.name}_{number:04}.safetensors"

    def samples(self, rows: Tensor) -> Samples:
        """The samples of these numbers (B,), 0 to shards · size - 1, in order."""
        shards = rows // self.size
        order = torch.argsort(shards, stable=True)
        groups: list[Samples] = []
        for shard in shards.unique().tolist():
            within = (rows[shards == shard] % self.size).to(self.device)
            groups.append({name: value[within] for name, value in self._shard(shard).items()})
        back = torch.argsort(order).to(self.device)
        return {name: torch.cat([group[name] for group in groups])[back] for name in groups[0]}

    def fill(self, number: int) -> bool:
        """Make one shard; False if it is there."""
        if self.path(number).exists():
            return False
        write_safetensors(self.path(number), self.make(number=number))
        return True

    def _shard(self, number: int) -> Samples:
        if number not in self._loaded:
            self.fill(number)
            try:
                self._loaded[number] = load_file(self.path(number), device=str(self.device))
            except (SafetensorError, OSError):  # damaged: it can be made again
                os.unlink(self.path(number))
                self.fill(number)
                self._loaded[number] = load_file(self.path(number), device=str(self.device))
        return self._loaded[number]


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


@torch.no_grad()
def channel_weights(space: LatentSpace, latents: Tensor, power: float) -> Tensor:
    """Normalised latents (B, C, T, H, W) to probe around → (C,) weights on the CPU, with mean 1.

    Codecs are uneven: an error in the embedded one's first channel decodes to ten times the squared
    pixel error of one in the next. A weight is the mean squared pixel error that noise in the
    channel decodes to, to `power`. The same on every call.
    """
    latents = latents.float().to(space.device)
    clean, generator = space.decode(latents).float(), torch.Generator().manual_seed(0)
    noise = PROBE * torch.randn(latents[:, 0].shape, generator=generator).to(space.device)
    shares = []
    for channel in range(latents.shape[1]):
        probed = latents.clone()
        probed[:, channel] += noise
        shares.append((space.decode(probed).float() - clean).square().mean())
    weights = torch.stack(shares).cpu() ** power
    return weights / weights.mean()
