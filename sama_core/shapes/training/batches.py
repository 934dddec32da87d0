"""The embedded model's data as batches: what a step sees is a function of the settings and the
step.

Stage 0 mixes image edits with pretext clips, stage 1 image edits with paired clips (SAMA §3.3, Tab.
1).
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...text import EDIT_TAG
from ...training.objectives.noising import stream
from ..config import ShapesConfig
from ..world import EditSampler, world_fingerprint
from .encoded_samples import (
    WORDINGS,
    LatentPool,
    Samples,
    ShapesEncoder,
    edit_samples,
    label_samples,
    pretext_samples,
)
from .scene_reader import ShapesBatch

IMAGE_SHARD, CLIP_SHARD = 512, 64
"""Samples of one shard."""


class ShapesData:
    """A `BatchSource` of procedural samples, from the pool where the settings give it a size."""

    def __init__(self, config: ShapesConfig, encoder: ShapesEncoder, identity: str):
        """`identity`: of VAE, semantic encoder and vocabulary, for the pool's file names."""
        self.config, self.encoder, self.identity = (
            config,
            encoder,
            f"{identity}:{world_fingerprint()}",
        )
        self.tag = encoder.tokens.rows([EDIT_TAG], config.text_length)[0].to(encoder.device)
        self.images = self._pool("edit", frames=1, size=IMAGE_SHARD, pairs=config.image_pairs)
        clips = "edit" if config.stage else "pretext" if config.pretexts else "clip"
        self.clips = self._pool(
            clips, frames=config.frames, size=CLIP_SHARD, pairs=config.clip_pairs
        )
        self.teacher = _open_teacher(config)
        self.targets: dict[LatentPool, LatentPool] = {}
        if config.align and self.teacher:
            if config.align.relation != "flow":  # a picture has no flow
                self.targets[self.images] = self._teacher_pool("edit", 1, IMAGE_SHARD)
            self.targets[self.clips] = self._teacher_pool(clips, config.frames, CLIP_SHARD)
        self.labels: dict[LatentPool, LatentPool] = {}
        if config.reading_weight:
            self.labels[self.images] = self._pool("labels", 1, IMAGE_SHARD, config.image_pairs)
            if config.stage:
                self.labels[self.clips] = self._pool(
                    "labels", config.frames, CLIP_SHARD, config.clip_pairs
                )

    def batch(self, step: int, part: slice) -> ShapesBatch:
        """See `BatchSource`."""
        image, size = self.config.is_image_step(step), self.config.size_at(step)
        pool = self.images if image else self.clips
        draw = self._draw(pool, step, size)
        samples, known = draw(pool), draw(self.labels[pool]) if pool in self.labels else {}
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
        )

    def pools(self) -> list[LatentPool]:
        """Those that can be filled ahead."""
        return [pool for pool in (self.images, self.clips, *self.labels.values()) if pool.shards]

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

    def _pool(self, kind: str, frames: int, size: int, pairs: int) -> LatentPool:
        config = self.config
        area: dict[str, Any] = {
            "frames": frames,
            "height": config.height,
            "width": config.width,
        }
        sampler = EditSampler(
            config.seed,
            "train",
            config.edits.split(),
            **area,
            device=self.encoder.device,
            shades=config.shades,
        )
        make = {
            "edit": partial(edit_samples, self.encoder, sampler),
            "labels": partial(label_samples, sampler),
            "pretext": partial(pretext_samples, self.encoder, config.seed, **area),
            "clip": partial(pretext_samples, self.encoder, config.seed, ratios={"none": 1}, **area),
        }[kind]
        edits = (config.edits, config.shades) if kind in ("edit", "labels") else ()
        depends = (kind, config.seed, edits, config.text_length, area, self.identity)
        key = hashlib.sha256(repr(depends).encode()).hexdigest()[:10]
        folder = Path(config.pool) if config.pool else Path(config.output) / "pool"
        return LatentPool(
            folder,
            f"{kind}_{frames}f_{key}",
            -(-pairs // size),
            size,
            partial(make, size=size),
            self.encoder.device,
        )
