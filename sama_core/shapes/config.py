"""The settings of SAMA-Shapes: those of every training, and what only the procedural world has."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..training.config import TrainConfig
from ..training.pretext import PRETEXTS
from ..training.recipe import Check, check_ranges, read_recipe
from .world import Movement


@dataclass(frozen=True)
class ShapesConfig(TrainConfig):
    """One stage of SAMA-Shapes, whose `data` and `model` are "shapes".

    An empty `vae` is the pack's own; `text_encoder` and `semantic_encoder` have no effect: a small
    text encoder is trained along with the model, and the semantic targets are statistics of pixels.
    """

    FREE_TO_CHANGE: ClassVar[frozenset[str]] = (TrainConfig.FREE_TO_CHANGE | {"pool"}) - {"init"}
    """Settings that a resumed run may change: how it is steered, saved and logged."""

    init: str = ""
    """Weights to start from: a `weights.safetensors` of an earlier stage, or "embedded", the pack's
    own; empty starts as `start` says. A LoRA needs some: it lies over them. It goes on from a LoRA
    file that is named here, over the pack's own."""
    start: str = "copy"
    """First weights of a new model: "copy" returns the source from step 0 on, "random" noise.
    Deviation: SAMA starts from Wan."""
    edits: str = "recolour remove replace background style"
    """Kinds of edits to train; one that is named twice comes twice as often."""
    shades: float = 0.0
    """Share of the pairs' objects in any vivid colour that still has their colour's name. With
    eight colours alone a model learns which colour never has which shape, and draws no others."""
    speed: float = 1.0
    """Factor of the objects' speed. In the median they move by 0.54 pixels of 64 per frame; by 1.35
    with a speed of 3, and by 2.1 if they cross as well."""
    crossing: bool = False
    """Whether the two objects of a clip cover each other for a part of it, instead of keeping
    apart."""
    image_pairs: int = 0
    """Distinct image pairs kept as latents in `pool`; 0 renders and encodes new ones for every
    step."""
    clip_pairs: int = 0
    """The same for clips."""
    drawings: float = 0.0
    """Share of the clips whose object becomes a random drawing instead of an edit of `edits`. Their
    first frame is always given clean, see `anchor_share`; nothing else says what is drawn."""
    drawing_pairs: int = 0
    """Distinct clips with a drawing that are kept in `pool`, as `clip_pairs`."""
    pool_growth: float = 0.5
    """Part of the steps after which all pairs of the pool are in use: the first steps need not wait
    for them."""
    pool: str = ""
    """Folder of the pool, which several stages may share; empty keeps it in `output`."""
    pretext: str = ""
    """Stage 0: the only pretext of clips, one of `pretext.PRETEXTS`; empty mixes all as SAMA
    does."""
    pixel_weight: float = 0.0
    """How much the velocity loss weighs a latent channel by its share in the picture: its weight is
    the pixel error that an error in it decodes to, to this power; 0 weighs all alike. Deviation:
    not SAMA's."""
    reading_weight: float = 0.0
    """Weight of reading the scenes from the model's tokens, see `scene_reader`.

    Deviation: not SAMA's.
    """
    text_length: int = 40
    """Token rows of an instruction in training: the longest one and a padding row must fit. The
    rows that ComfyUI's 512 have beyond it are alike and are counted, not computed."""

    @property
    def movement(self) -> Movement:
        """How the world's objects move."""
        return Movement(self.speed, self.crossing)

    def checks(self) -> list[Check]:
        """See `TrainConfig.checks`."""
        parts, length = self.trained_parts, self.text_length
        alone = not (parts and self.reading_weight)
        counts = ("pixel_weight", "reading_weight", "image_pairs", "clip_pairs", "drawing_pairs")
        return [
            *super().checks(),
            (self.data == "shapes", "data", self.data, '"shapes"'),
            (self.init or not self.lora_rank, "init", "nothing", _LORA_INIT),
            *check_ranges(self, shares=("pool_growth", "shades", "drawings"), not_negative=counts),
            (alone, "trained_parts", parts, "empty with a reading_weight"),
            (self._can_draw(), "drawings", self.drawings, _DRAWN_NEED),
            (0 < self.speed < math.inf, "speed", self.speed, "more than 0"),
            (self.pretext in ("", *PRETEXTS), "pretext", self.pretext, " or ".join(PRETEXTS)),
            (self.start in ("copy", "random"), "start", self.start, '"copy" or "random"'),
            (2 <= length <= 512, "text_length", length, "2 to 512"),
            (self.saliency is None, "saliency", "a table", "none: it is for rows of a file"),
        ]

    @property
    def gives_anchors(self) -> bool:
        """See `TrainConfig.gives_anchors`."""
        return super().gives_anchors or self.drawings > 0

    def _can_draw(self) -> bool:
        """Drawings are for edited clips, and no one knows what a reader or a teacher says of
        them."""
        return not (self.drawings and (self.stage == 0 or self.reading_weight or self.align))


_DRAWN_NEED = "0 without stage 1, and with a reading_weight or [align]"


_LORA_INIT = 'weights for a LoRA to lie over, e.g. "embedded"'


def load_config(path: str | Path, **overrides: Any) -> ShapesConfig:
    """The settings of a recipe of SAMA-Shapes, see `read_recipe`."""
    return read_recipe(path, ShapesConfig, **overrides)
