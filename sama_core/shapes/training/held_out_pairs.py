"""Pairs of the procedural world that no training sees: `[validation]` of SAMA-Shapes."""

from typing import TYPE_CHECKING

from torch import Tensor

from ...errors import needed
from ...released_files import SAMA_SHAPES
from ...text import add_tag
from ...training.recipe import ConfigError
from ...training.semantics.encoder import anchor_frame
from ...training.validation.clips import to_levels
from ...training.validation.held_out_loss import HeldOutRow
from ..world import EditSampler
from .encoded_samples import ShapesEncoder
from .scene_reader import ShapesBatch

if TYPE_CHECKING:
    from ..config import ShapesConfig

SPLIT, PLACE = "test", 990_017
"""Streams that training does not draw from, and a batch of them that no gate measures."""
FPS = 8.0


class HeldOutPairs:
    """A number of edits of other scenes in other words. A `HeldOut`."""

    guidance = SAMA_SHAPES.cfg

    def __init__(self, config: "ShapesConfig", encoder: ShapesEncoder, tag: Tensor):
        """`tag`: the token rows of the bare tag. ConfigError unless `rows` is a number."""
        settings = config.validation
        assert settings is not None
        if not isinstance(settings.rows, int):
            got, fix = repr(settings.rows), "Scenes are drawn: there are no files and no lines."
            raise ConfigError(needed("validation.rows", got, 'a number with data "shapes"', fix))
        self.encoder = encoder
        sampler = EditSampler(
            config.seed,
            SPLIT,
            config.edits.split(),
            config.frames,
            config.height,
            config.width,
            encoder.device,
            config.shades,
            config.movement,
        )
        pairs = sampler.batch(PLACE, settings.rows)
        texts = encoder.tokens.rows(
            [add_tag(text) for text in pairs.instructions], config.text_length
        )
        clips = (pairs.source, pairs.target)
        source, target = (encoder.latents(clip).float().cpu() for clip in clips)
        semantic = encoder.semantics.encode(anchor_frame(pairs.target)).cpu()
        self.rows = [
            HeldOutRow(
                row + 1,
                ShapesBatch(
                    target_latents=target[row : row + 1],
                    source_latents=source[row : row + 1],
                    text=texts[row : row + 1].cpu(),
                    semantic=semantic[row : row + 1] if config.semantic_weight else None,
                    names=[f"held-out pair {row + 1}"],
                ),
                tag[None].cpu(),
                to_levels(pairs.source[row]),
                to_levels(pairs.target[row]),
                FPS,
            )
            for row in range(settings.rows)
        ]

    def frames(self, latents: Tensor) -> Tensor:
        """See `HeldOut`."""
        return self.encoder.space.decode(latents.to(self.encoder.device))[0].float().cpu()
