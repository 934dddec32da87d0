"""The pools of one training: which samples of the procedural world it keeps, under which names.

    SamplePools.edits, .clips    latents, texts and semantic tokens
               .labels, .targets what is where in them, and what a teacher makes of them

A pool's name says all that its samples depend on. Pools beside one another have the same shards.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...training.alignment import AlignConfig
from ...training.pretext import RATIOS
from ..config import ShapesConfig
from ..world import EditSampler, world_fingerprint
from .encoded_samples import (
    ShapesEncoder,
    draw_clips,
    drawing_samples,
    edit_samples,
    label_samples,
    pretext_samples,
)
from .latent_pool import LatentPool, Samples
from .teacher_samples import SceneTeacher, plan_clips, plan_edits

IMAGE_SHARD, CLIP_SHARD = 512, 64
"""Samples of one shard."""
_DRAWING_SEED = 55_001
"""Added to the seed for drawings, so that their clips are not those of the edits."""


class SamplePools:
    """Pools of samples of one length, images or clips."""

    def __init__(self, config: ShapesConfig, encoder: ShapesEncoder, identity: str, frames: int):
        """`identity`: of VAE, semantic encoder and vocabulary."""
        self.config, self.encoder = config, encoder
        self.identity = f"{identity}:{world_fingerprint(config.movement)}"
        self.area: dict[str, Any] = {
            "frames": frames,
            "height": config.height,
            "width": config.width,
        }
        self.sampler = EditSampler(
            config.seed,
            "train",
            config.edits.split(),
            **self.area,
            device=encoder.device,
            shades=config.shades,
            movement=config.movement,
        )
        self.draw = partial(draw_clips, config.seed, config.movement, frames)

    def edits(self) -> LatentPool:
        """Paired edits."""
        return self._pool("edit", partial(edit_samples, self.encoder, self.sampler), self._edits())

    def clips(self) -> LatentPool:
        """Clips to restore from what a pretext made of them, or from themselves."""
        config = self.config
        make = partial(pretext_samples, self.encoder, config.seed, self.draw, **self.area)
        if not config.pretexts:
            return self._pool("clip", partial(make, ratios={"none": 1}))
        if config.pretext:
            only = partial(make, ratios={config.pretext: 1})
            return self._pool("pretext", only, (config.pretext,))
        return self._pool("pretext", partial(make, ratios=RATIOS))

    def drawings(self) -> LatentPool:
        """Clips in which an object becomes a drawing."""
        config = self.config
        sampler = EditSampler(
            config.seed + _DRAWING_SEED,
            "train",
            ["replace"],
            **self.area,
            device="cpu",
            shades=config.shades,
            movement=config.movement,
        )
        make = partial(drawing_samples, self.encoder, sampler)
        return self._pool("drawing", make, (config.shades,), config.drawing_pairs)

    def labels(self) -> LatentPool:
        """What is where in the pairs of `edits`."""
        return self._pool("labels", partial(label_samples, self.sampler), self._edits())

    def teacher(self, align: AlignConfig) -> SceneTeacher:
        """The alignment's teacher for samples of this length."""
        return SceneTeacher(align, **self.area)

    def targets(self, teacher: SceneTeacher, of_edits: bool = True) -> LatentPool:
        """What `teacher` makes of the samples of `edits`, or of `clips`."""
        plan = plan_edits(self.sampler) if of_edits else plan_clips(self.draw)
        depends = (*(self._edits() if of_edits else ()), teacher.key)
        kind = "edit_teacher" if of_edits else "clip_teacher"
        return self._pool(kind, partial(teacher.samples, plan), depends)

    def _edits(self) -> tuple[object, ...]:
        return self.config.edits, self.config.shades

    def _pool(
        self,
        kind: str,
        make: Callable[..., Samples],
        depends: tuple[object, ...] = (),
        pairs: int | None = None,
    ) -> LatentPool:
        """A pool of `pairs`, by default those that the settings give to samples of this length."""
        config, frames = self.config, self.area["frames"]
        size, usual = (
            (IMAGE_SHARD, config.image_pairs) if frames == 1 else (CLIP_SHARD, config.clip_pairs)
        )
        pairs = usual if pairs is None else pairs
        facts = (kind, config.seed, depends, config.text_length, self.area, self.identity)
        key = hashlib.sha256(repr(facts).encode()).hexdigest()[:10]
        folder = Path(config.pool) if config.pool else Path(config.output) / "pool"
        return LatentPool(
            folder,
            f"{kind}_{frames}f_{key}",
            -(-pairs // size),
            size,
            partial(make, size=size),
            self.encoder.device,
        )
