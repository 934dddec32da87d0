"""Every setting of a training, in one documented dataclass. `recipe` reads it from a TOML file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..geometry import WAN_21, Lattice
from .alignment.config import AlignConfig
from .alignment.saliency_config import SaliencyConfig
from .former_settings import without_shapes
from .memory.config import MemoryConfig
from .objectives.noising import chance
from .recipe import (
    Check,
    check_ranges,
    check_types,
    read_settings,
    refuse_bad,
    settings_of,
)
from .rows.clips_config import ClipsConfig
from .tracking import TRACKERS, are_trackers
from .validation.config import ValidationConfig

SHARES = (
    "image_share",
    "semantic_share",
    "text_dropout",
    "decay_from",
    "own_path_share",
    "anchor_share",
)
POSITIVE = ("learning_rate", "shift", "checkpoint_every", "log_every")
NOT_NEGATIVE = (
    "muon_rate",
    "weight_decay",
    "warmup",
    "clip_norm",
    "semantic_weight",
    "edit_weight",
    "lora_rank",
    "lora_alpha",
    "image_batch_size",
    "keep_checkpoints",
)


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Values in brackets are the paper's (App. B, §4.1), where it gives them.
    """

    FREE_TO_CHANGE: ClassVar[frozenset[str]] = frozenset(
        "output checkpoint_every keep_checkpoints log_every track validation saliency new_rows "
        "trigger init steps learning_rate muon_rate warmup decay_from clip_norm shard "
        "align.features align.rate align.least_rate align.warmup "
        "clips.workers clips.cache clips.cache_folder clips.cache_gb "
        "gradient_checkpointing memory.block_swap memory.activations_in_ram".split()
    )
    """Settings that a resumed run may change: how it is steered, saved and logged."""

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
    """"pixels", or the folder of a SigLIP model for semantic targets; or its hub's name, where it
    was downloaded before."""
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
    anchor_share: float = 0.0
    """Share of the clips whose first latent frame of the target is given clean, without a loss on
    it, so that the model learns to carry an edited frame. Its files say so in their metadata.
    Deviation: not SAMA's, see `objectives.anchors`."""
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
    lora_alpha: float = 0.0
    """α of the LoRA: it is applied at α / rank. 0 means the rank: applied as it is."""
    lora_dropout: float = 0.0
    """Share of the inputs of a LoRA's layers that a step leaves out, 0 up to, not including, 1."""
    lora_targets: str = ""
    """The LoRA's layers by parts of their names, e.g. "self_attn cross_attn.k blocks.3"; empty
    takes the attention and feed-forward layers of all blocks."""
    init: str = ""
    """A LoRA file to go on from, of this pack or with the names of PEFT or kohya."""
    trigger: str = ""
    """A word that the instructions of the LoRA begin with. It is written into the file's metadata;
    the rows must have it themselves."""
    align: AlignConfig | None = None
    """The table `[align]`: hidden states of a block held to a frozen teacher's relations, see
    `alignment`. Without it there is no such loss."""
    saliency: SaliencyConfig | None = None
    """The table `[saliency]`: how the task `saliency` trains the model of a learned saliency."""
    clips: ClipsConfig | None = None
    """The table `[clips]`: buckets, windows and rates of the rows' clips, and the cache on disk."""
    memory: MemoryConfig = MemoryConfig()  # noqa: RUF009
    """The table `[memory]`: how a LoRA's run saves card memory. Without it nothing is saved."""
    precision: str = "no"
    """accelerate's mixed precision: "no" or "bf16"."""
    gradient_checkpointing: bool = False
    """Recompute the blocks' activations in the backward pass to save memory."""
    shard: bool = False
    """Shard weights, gradients and optimisers over the processes (FSDP2)."""
    checkpoint_every: int = 500
    """Steps between resumable checkpoints."""
    keep_checkpoints: int = 0
    """The last checkpoints that are kept under their step's number, in `checkpoints`, each with the
    weights for the loaders; 0 keeps the newest alone, and writes weights at the end."""
    log_every: int = 10
    """Steps between lines of the log."""
    track: str = ""
    """accelerate's trackers beside the log: "tensorboard", "wandb" or both."""
    new_rows: bool = False
    """Whether a resumed run may have other rows than its checkpoint was trained on."""
    validation: ValidationConfig | None = None
    """The table `[validation]`: losses and clips of rows that are held out, see `validation`."""

    def __post_init__(self) -> None:
        check_types(self)
        refuse_bad(self.checks())

    def checks(self) -> list[Check]:
        """What a value must be beyond its type, see `refuse_bad`."""
        sizes = (self.batch_size, self.image_batch_size)
        parts = self.trained_parts
        return [
            (self.stage in (0, 1), "stage", self.stage, "0 or 1"),
            (self.data != "", "data", "nothing", "a file or a folder of rows"),
            (-(2**63) <= self.seed < 2**64, "seed", self.seed, "a number of 64 bits"),
            (self.steps > 0, "steps", self.steps, "at least 1"),
            (self.batch_size > 0, "batch_size", self.batch_size, "at least 1"),
            *(self._check_accumulation(size) for size in sizes),
            *self.clip_checks(),
            *check_ranges(self, SHARES, POSITIVE, NOT_NEGATIVE),
            (not (parts and self.lora_rank), "trained_parts", parts, "empty with a lora_rank"),
            self._check_cells(),
            self._check_aligned_clips(),
            (0 <= self.ema < 1, "ema", self.ema, "0 up to, not including, 1"),
            (self.precision in ("no", "bf16"), "precision", self.precision, '"no" or "bf16"'),
            (0 <= self.lora_dropout < 1, "lora_dropout", self.lora_dropout, "0 up to 1"),
            *self._check_lora(),
            *self._check_memory(),
            (are_trackers(self.track), "track", self.track, " or ".join(TRACKERS)),
        ]

    def _check_lora(self) -> list[Check]:
        """Settings of a LoRA without a LoRA."""
        return [
            (self.lora_rank or not getattr(self, name), name, getattr(self, name), "a lora_rank")
            for name in ("lora_alpha", "lora_dropout", "lora_targets", "trigger")
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

    def _check_memory(self) -> list[Check]:
        half = self.precision == "bf16"
        return self.memory.checks_with(self.lora_rank > 0, self.gradient_checkpointing, half)

    def _check_aligned_clips(self) -> Check:
        """A teacher's features are of a clip's first frames, in the one size."""
        other = ", ".join(self.clips.list_changes()) if self.align and self.clips else ""
        return not other, "clips", other, "none of it with [align]"

    def _check_cells(self) -> Check:
        cell = self.align.cell if self.align else 1
        good = self.width % cell == 0 and self.height % cell == 0
        return good, "align.cell", cell, f"a divisor of {self.width} and {self.height}"

    @property
    def gives_anchors(self) -> bool:
        """Whether the model learns to carry the first frame that is given."""
        return self.anchor_share > 0

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
    values = without_shapes(read_settings(path, **overrides))
    return settings_of(TrainConfig, values, Path(path).name)
