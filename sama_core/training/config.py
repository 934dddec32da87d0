"""Every setting of a training, in one documented dataclass. `recipe` reads it from a TOML file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..errors import needed
from ..geometry import WAN_21, Lattice
from .alignment.config import AlignConfig
from .alignment.saliency_config import SaliencyConfig
from .objectives.noising import chance
from .recipe import (
    Check,
    ConfigError,
    check_ranges,
    check_types,
    read_settings,
    refuse_bad,
    settings_of,
)
from .rows.clips_config import ClipsConfig

SHARES = ("image_share", "semantic_share", "text_dropout", "decay_from", "own_path_share")
POSITIVE = ("learning_rate", "shift", "checkpoint_every", "log_every")
NOT_NEGATIVE = (
    "muon_rate",
    "weight_decay",
    "warmup",
    "clip_norm",
    "semantic_weight",
    "edit_weight",
    "lora_rank",
    "image_batch_size",
)

UNUSED = (
    "edits",
    "shades",
    "image_pairs",
    "clip_pairs",
    "pool_growth",
    "pool",
    "start",
    "text_length",
)
"""Settings of SAMA-Shapes that a recipe for rows could name in version 0.1.0: they have no
effect."""

REFUSED = {
    "reading_weight": (0.0, "0", "Only procedural scenes say what is where."),
    "pixel_weight": (0.0, "0", "It is measured on the procedural clips."),
    "init": ("", "nothing", "Set model to the sama.safetensors of the earlier stage."),
}
"""Others that would change what is trained: the value without effect, its name, and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Values in brackets are the paper's (App. B, §4.1), where it gives them.
    """

    FREE_TO_CHANGE: ClassVar[frozenset[str]] = frozenset(
        {
            "output",
            "checkpoint_every",
            "log_every",
            "align.features",
            "saliency",
            "clips.workers",
            "clips.cache",
            "clips.cache_folder",
            "clips.cache_gb",
        }
    )
    """Settings that a resumed run may change: they do not alter what is computed."""

    stage: int
    """0: image edits and pretext video. 1: paired edits."""
    data: str
    """Path of a JSONL file of pairs or clips, or of a folder of them, see `rows.rows`. "shapes" is
    for the recipes of SAMA-Shapes, see `sama_core.shapes`."""
    model: str
    """Path of what is trained: a SAMA file, full or delta, or plain Wan 2.1."""
    output: str
    """Folder for checkpoints, logs and weights."""
    steps: int
    """Optimiser steps of this stage (paper: not given)."""
    batch_size: int
    """Samples per step over all processes (112 videos)."""
    image_batch_size: int = 0
    """Samples of a step on image edits (448); 0 means `batch_size`."""
    seed: int = 0
    """Decides data order, noise, timesteps, text dropout and new weights."""
    base_model: str = ""
    """Path of the Wan 2.1 shards that a SAMA delta file lies over; the result is a delta file
    again."""
    vae: str = ""
    """Path of a VAE in Wan 2.1's layout."""
    text_encoder: str = ""
    """Path of umT5."""
    semantic_encoder: str = "pixels"
    """"pixels", or the path of a SigLIP model for semantic targets."""
    frames: int = 17
    """Frames per clip, 4k+1 (paper: not given)."""
    height: int = 64
    """Frame height in pixels (480)."""
    width: int = 64
    """Frame width in pixels (832)."""
    image_share: float = 0.2
    """Share of steps on one-frame clips, i.e. image edits (paper: ratio not given)."""
    learning_rate: float = 2e-5
    """AdamW's rate (2e-5)."""
    muon_rate: float = 0.0
    """Rate of Muon for the blocks' matrices; 0 gives them to AdamW too.

    Deviation: the paper names no optimiser.
    """
    weight_decay: float = 0.01
    """Of both optimisers (framework default)."""
    warmup: int = 50
    """Steps of linear warm-up (paper: not given)."""
    decay_from: float = 1.0
    """Part of the steps after which the rate falls linearly to 0; 1 never.

    Steps, not time, drive it.
    """
    clip_norm: float = 1.0
    """Largest gradient norm; 0 does not clip."""
    accumulation: int = 1
    """Backward passes per optimiser step."""
    ema: float = 0.9998
    """Decay of the averaged weights, updated every step (0.9998)."""
    semantic_weight: float = 0.1
    """λ of the semantic loss (0.1); 0 trains without semantic anchoring."""
    semantic_share: float = 1.0
    """Share of steps with semantic tokens in the sequence.

    Deviation: less than 1, for speed, is not SAMA's.
    """
    pretexts: bool = True
    """Stage 0: motion pretexts on clips; without them the source is the clip itself."""
    edit_weight: float = 0.0
    """Extra weight of the velocity loss where source and target latents differ.

    Deviation: not SAMA's.
    """
    own_path_share: float = 0.0
    """Share of samples whose noisy latents lie where a first step of the model leads, and not on
    the data's path. Costs a forward pass of them. Deviation: not SAMA's, see `on_own_path`."""
    shift: float = 5.0
    """Shift of the sampled timesteps (5)."""
    text_dropout: float = 0.1
    """Share of samples whose text is the bare tag, for guidance (paper: not given)."""
    trained_parts: str = ""
    """How the names of the DiT's trained weights begin, e.g. "blocks.38. blocks.39. head."; empty
    trains all. The other weights stay as they are, bit for bit. A text encoder that is trained
    along stays too."""
    lora_rank: int = 0
    """Rank of a LoRA on the attention and feed-forward layers; 0 trains all weights."""
    align: AlignConfig | None = None
    """The table `[align]`: hidden states of a block held to a frozen teacher's relations, see
    `alignment`. Without it there is no such loss."""
    saliency: SaliencyConfig | None = None
    """The table `[saliency]`: how the task `saliency` trains the model of a learned saliency."""
    clips: ClipsConfig | None = None
    """The table `[clips]`: buckets, windows and rates of the rows' clips, and the cache on disk."""
    precision: str = "no"
    """accelerate's mixed precision: "no" or "bf16"."""
    gradient_checkpointing: bool = False
    """Recompute the blocks' activations in the backward pass to save memory."""
    checkpoint_every: int = 500
    """Steps between resumable checkpoints."""
    log_every: int = 10
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        check_types(self)
        refuse_bad(self.checks())

    def checks(self) -> list[Check]:
        """What a value must be beyond its type, see `refuse_bad`."""
        sizes = (self.batch_size, self.image_batch_size)
        parts = self.trained_parts
        return [
            (self.stage in (0, 1), "stage", self.stage, "0 or 1"),
            (self.steps > 0, "steps", self.steps, "at least 1"),
            (self.batch_size > 0, "batch_size", self.batch_size, "at least 1"),
            *(self._check_accumulation(size) for size in sizes),
            *self.clip_checks(),
            *check_ranges(self, SHARES, POSITIVE, NOT_NEGATIVE),
            (not (parts and self.lora_rank), "trained_parts", parts, "empty with a lora_rank"),
            self._check_cells(),
            (0 <= self.ema < 1, "ema", self.ema, "0 up to, not including, 1"),
            (self.precision in ("no", "bf16"), "precision", self.precision, '"no" or "bf16"'),
        ]

    def clip_checks(self, lattice: Lattice = WAN_21) -> list[Check]:
        """What the clips' length and size must be for a model that divides them as `lattice` says.

        Wan 2.1's until the model's file has been read.
        """
        size, sides = (self.width, self.height), f"multiples of {lattice.side_multiple}"
        return [
            (lattice.takes_count(self.frames), "frames", self.frames, lattice.frame_rule),
            (lattice.takes_size(*size), "size", "{}x{}".format(*size), sides),
        ]

    def _check_accumulation(self, size: int) -> Check:
        count = self.accumulation
        good = count > 0 and size % count == 0
        return good, "accumulation", count, f"a divisor of batch_size {size}"

    def _check_cells(self) -> Check:
        cell = self.align.cell if self.align else 1
        good = self.width % cell == 0 and self.height % cell == 0
        return good, "align.cell", cell, f"a divisor of {self.width} and {self.height}"

    def is_image_step(self, step: int) -> bool:
        """Whether `step` trains on image edits."""
        return chance(self.image_share, self.seed, "image step", step)

    def is_semantic_step(self, step: int) -> bool:
        """Whether `step` has semantic tokens in the sequence."""
        return self.semantic_weight > 0 and chance(
            self.semantic_share, self.seed, "semantic step", step
        )

    def size_at(self, step: int) -> int:
        """Samples of `step`, over all processes."""
        return (
            self.image_batch_size or self.batch_size
            if self.is_image_step(step)
            else self.batch_size
        )


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """The settings of a recipe for rows of a file, see `read_recipe`."""
    values = _without_shapes(read_settings(path, **overrides))
    return settings_of(TrainConfig, values, Path(path).name)


def _without_shapes(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without those of SAMA-Shapes alone.

    Raises ConfigError for one that rows cannot have.
    """
    for name, (idle, need, fix) in REFUSED.items():
        if values.get(name, idle) != idle:
            raise ConfigError(needed(name, values[name], f"{need} with data of your own", fix))
    return {name: value for name, value in values.items() if name not in (*UNUSED, *REFUSED)}
