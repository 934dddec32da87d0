"""The embedded model's data as batches: what a step sees is a function of the settings and the
step.

Stage 0 mixes image edits with pretext clips, stage 1 image edits with paired clips (SAMA §3.3, Tab.
1).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ...text import EDIT_TAG
from ...training.objectives.noising import stream
from ..config import ShapesConfig
from .encoded_samples import WORDINGS, ShapesEncoder
from .latent_pool import LatentPool, Samples
from .sample_pools import SamplePools
from .scene_reader import ShapesBatch


class ShapesData:
    """A `BatchSource` of procedural samples, from the pool where the settings give it a size."""

    def __init__(self, config: ShapesConfig, encoder: ShapesEncoder, identity: str):
        """`identity`: of VAE, semantic encoder and vocabulary, for the pool's file names."""
        self.config, self.encoder = config, encoder
        self.tag = encoder.tokens.rows([EDIT_TAG], config.text_length)[0].to(encoder.device)
        images, clips = (
            SamplePools(config, encoder, identity, frames) for frames in (1, config.frames)
        )
        self.images, self.clips = images.edits(), clips.edits() if config.stage else clips.clips()
        self.drawings = clips.drawings() if config.drawings else None
        self.labels: dict[LatentPool, LatentPool] = {}
        if config.reading_weight:
            self.labels[self.images] = images.labels()
            if config.stage:
                self.labels[self.clips] = clips.labels()
        self.teachers: dict[LatentPool, LatentPool] = {}
        self.teacher_width = 0
        if config.align:
            teacher = clips.teacher(config.align)
            self.teacher_width = teacher.width
            self.teachers[self.clips] = clips.targets(teacher, of_edits=bool(config.stage))
            if config.align.relation != "flow":  # a picture has no flow
                self.teachers[self.images] = images.targets(images.teacher(config.align))

    def batch(self, step: int, part: slice) -> ShapesBatch:
        """See `BatchSource`."""
        image, size = self.config.is_image_step(step), self.config.size_at(step)
        pool = self.images if image else self.clips
        draw = self._draw(pool, step, size)
        samples, known = draw(pool), draw(self.labels[pool]) if pool in self.labels else {}
        taught = draw(self.teachers[pool]) if pool in self.teachers else {}
        drawn = None if image else self._choose_drawings(step, size)
        if drawn is not None and self.drawings is not None and drawn.any():
            samples = _mix(drawn, self._draw(self.drawings, step, size)(self.drawings), samples)
        rows = range(size)[part]
        return ShapesBatch(
            target_latents=samples["target"][part].float(),
            source_latents=samples["source"][part].float(),
            text=torch.stack([self._text(samples["text"][row].long(), step, row) for row in rows]),
            semantic=samples["semantic"][part].float()
            if self.config.is_semantic_step(step)
            else None,
            names=[f"step {step} {'image' if image else 'clip'} {row}" for row in rows],
            labels=known["labels"][part] if known else None,
            teacher={name: value[part].float() for name, value in taught.items()} or None,
            anchored=None if drawn is None else drawn[part],
        )

    def pools(self) -> list[LatentPool]:
        """Those that can be filled ahead."""
        beside = (*self.labels.values(), *self.teachers.values())
        drawings = [self.drawings] if self.drawings else []
        return [pool for pool in (self.images, self.clips, *drawings, *beside) if pool.shards]

    def _choose_drawings(self, step: int, size: int) -> Tensor | None:
        """(size,) bool: the clips of `step` that become drawings; None in a run without them."""
        if self.drawings is None:
            return None
        return torch.rand(size, generator=stream(self.config.seed, "drawn", step)) < (
            self.config.drawings
        )

    def _draw(self, pool: LatentPool, step: int, size: int) -> Callable[[LatentPool], Samples]:
        """What takes this step's samples from a pool: any of its open shards, or new samples."""
        if not pool.shards:
            return lambda pool: pool.make(number=step, size=size)
        growing = max(1.0, self.config.pool_growth * self.config.steps)
        shards = max(1, round(pool.shards * min(1.0, (step + 1) / growing)))
        drawn = torch.randint(
            shards * pool.size, (size,), generator=stream(self.config.seed, "draw", step)
        )
        return lambda pool: pool.samples(drawn)

    def _text(self, wordings: Tensor, step: int, row: int) -> Tensor:
        """One of the wordings (WORDINGS, L), or the bare tag."""
        generator = stream(self.config.seed, "text", step, row)
        if torch.rand(1, generator=generator).item() < self.config.text_dropout:
            return self.tag
        return wordings[int(torch.randint(WORDINGS, (1,), generator=generator))]


def _mix(chosen: Tensor, one: Samples, other: Samples) -> Samples:
    """`one` where `chosen` (B,), `other` elsewhere."""
    return {
        name: torch.where(
            chosen.to(value.device).view(-1, *[1] * (value.dim() - 1)), one[name], value
        )
        for name, value in other.items()
    }
