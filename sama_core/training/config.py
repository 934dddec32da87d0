"""Recipes: a TOML file's settings as a documented dataclass, with no place for a misspelt key.

Training settings: one documented dataclass.
"""

import tomllib
from collections.abc import Collection, Iterable
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import SamaError, needed
from .objectives.noising import chance

Settings = TypeVar("Settings")


class ConfigError(SamaError):
    """A setting that is unknown, missing or out of range, or a resume with other settings."""


def read_recipe(path: str | Path, kind: type[Settings], **overrides: Any) -> Settings:
    """The TOML file's settings as a `kind`, with `overrides` on top. ConfigError names an unknown or missing key."""
    try:
        values = {**tomllib.loads(Path(path).read_text(encoding="utf-8")), **overrides}
    except FileNotFoundError as missing:
        raise ConfigError(
            needed("recipe", f"no file {path}", "a TOML file", "Check the path.")
        ) from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError(
            needed(
                "recipe",
                f"{Path(path).name}, which is not TOML ({broken})",
                "key = value lines",
                "Correct that line.",
            )
        ) from broken
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            needed(
                "recipe",
                f"unknown settings {', '.join(unknown)}",
                "known ones",
                f"There are: {', '.join(known)}.",
            )
        )
    absent = [
        name for name, field in known.items() if field.default is MISSING and name not in values
    ]
    if absent:
        raise ConfigError(
            needed(
                "recipe",
                f"no {', '.join(absent)}",
                "all of them",
                f"Add them to {Path(path).name}.",
            )
        )
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
    )


def check_types(settings: Any) -> None:
    """TOML knows types: a string where a number belongs is a slip. Whole numbers may stand for real ones."""
    for field in fields(settings):
        _check_type(field, getattr(settings, field.name))


def _check_type(field: Field, value: Any) -> None:
    allowed = (int, float) if field.type is float else field.type
    if not isinstance(allowed, type | tuple):
        return
    if not isinstance(value, allowed) or (isinstance(value, bool) and field.type is not bool):
        raise ConfigError(
            needed(
                field.name,
                repr(value),
                f"a value of type {field.type.__name__}",
                "Change it in the recipe.",
            )
        )


def refuse_bad(checks: Iterable[tuple[object, str, object, str]]) -> None:
    """ConfigError for the first check (good, name, got, need) that is not good."""
    for good, name, got, need in checks:
        if not good:
            raise ConfigError(needed(name, got, need, "Change it in the recipe."))


def as_saved(settings: Any) -> dict[str, Any]:
    """The settings as plain values for a checkpoint."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
    }


def refuse_changes(saved: dict[str, Any], settings: Any, free: Collection[str]) -> None:
    """ConfigError naming every setting that differs from the checkpoint's, but for the `free` ones."""
    now = as_saved(settings)
    saved = {
        field.name: field.default for field in fields(settings)
    } | saved  # settings may be newer than it
    changed = [
        f"{name} {saved.get(name)!r} → {now.get(name)!r}"
        for name in saved | now
        if name not in free and saved.get(name) != now.get(name)
    ]
    if changed:
        raise ConfigError(
            needed(
                "resume",
                f"changed settings: {'; '.join(changed)}",
                "those of the checkpoint",
                "Change them back, or choose a new output folder.",
            )
        )


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training. Values in brackets are the paper's (App. B, §4.1), where it gives them."""

    stage: int
    """0: image edits and pretext video. 1: paired edits."""
    data: str
    """Where samples come from: "shapes" (procedural), or the path of a JSONL file of pairs or clips."""
    model: str
    """What is trained: "shapes" (a new small model), or the path of a SAMA file, full or delta, or of plain Wan 2.1."""
    output: str
    """Folder for checkpoints, logs and weights."""
    steps: int
    """Optimiser steps of this stage (paper: not given)."""
    batch_size: int
    """Samples per step over all processes (112 videos)."""
    image_batch_size: int = 0
    """Samples of a step on image edits (448); 0 as many as `batch_size`."""
    seed: int = 0
    """Decides data order, noise, timesteps, text dropout and new weights."""
    base_model: str = ""
    """Path of the Wan 2.1 shards that a SAMA delta file lies over; the result is a delta file again."""
    vae: str = ""
    """Path of a Wan 2.1 layout VAE; empty for the embedded one of "shapes"."""
    text_encoder: str = ""
    """Path of umT5; empty trains a small one along with the model ("shapes" only)."""
    semantic_encoder: str = "pixels"
    """"pixels", or the path of a SigLIP model for semantic targets."""
    init: str = ""
    """Weights to start from: a `weights.safetensors` of an earlier stage, or "embedded", the pack's own ("shapes"
    only); empty starts as `model` says."""
    frames: int = 17
    """Frames per clip, 4k+1 (paper: not given)."""
    height: int = 64
    """Frame height in pixels (480)."""
    width: int = 64
    """Frame width in pixels (832)."""
    edits: str = "recolour remove replace background style"
    """Kinds of edits to train ("shapes"), each as often as it is named."""
    shades: float = 0.0
    """Share of the pairs' objects in any vivid colour that still goes by their colour's name ("shapes"): with eight
    colours alone a model learns which colour never has which shape, and draws no others."""
    image_pairs: int = 0
    """Distinct image pairs kept as latents in `pool`; 0 renders and encodes new ones for every step ("shapes")."""
    clip_pairs: int = 0
    """The same for clips."""
    pool_growth: float = 0.5
    """Part of the steps after which all pairs of the pool are in use: the first steps need not wait for them."""
    pool: str = ""
    """Folder of the pool, which several stages may share; empty keeps it in `output`."""
    start: str = "copy"
    """First weights of a new model: "copy" returns the source from step 0 on, "random" noise. Deviation: SAMA starts
    from Wan."""
    image_share: float = 0.2
    """Share of steps on one-frame clips, i.e. image edits (paper: ratio not given)."""
    learning_rate: float = 2e-5
    """AdamW's rate (2e-5)."""
    muon_rate: float = 0.0
    """Rate of Muon for the blocks' matrices; 0 gives them to AdamW too. Deviation: the paper names no optimiser."""
    weight_decay: float = 0.01
    """Of both optimisers (framework default)."""
    warmup: int = 50
    """Steps of linear warm-up (paper: not given)."""
    decay_from: float = 1.0
    """Part of the steps after which the rate falls linearly to 0; 1 never. Steps, not time, drive it."""
    clip_norm: float = 1.0
    """Largest gradient norm; 0 does not clip."""
    accumulation: int = 1
    """Backward passes per optimiser step."""
    ema: float = 0.9998
    """Decay of the averaged weights, updated every step (0.9998)."""
    semantic_weight: float = 0.1
    """λ of the semantic loss (0.1); 0 trains without semantic anchoring."""
    semantic_share: float = 1.0
    """Share of steps with semantic tokens in the sequence. Deviation: less than 1, for speed, is not SAMA's."""
    pretexts: bool = True
    """Stage 0: motion pretexts on clips; without them the source is the clip itself."""
    edit_weight: float = 0.0
    """Extra weight of the velocity loss where source and target latents differ. Deviation: not SAMA's."""
    pixel_weight: float = 0.0
    """How much the velocity loss weighs a latent channel by its share in the picture: its weight is the pixel error
    that an error in it decodes to, to this power; 0 weighs all alike ("shapes" only). Deviation: not SAMA's."""
    own_path_share: float = 0.0
    """Share of samples whose noisy latents lie where a first step of the model leads, and not on the data's path. Costs
    a forward pass of them. Deviation: not SAMA's, see objectives/own_path."""
    reading_weight: float = 0.0
    """Weight of reading the scenes from the model's tokens ("shapes" only, see scene_reader). Deviation: not SAMA's."""
    shift: float = 5.0
    """Shift of the sampled timesteps (5)."""
    text_dropout: float = 0.1
    """Share of samples whose text is the bare tag, for guidance (paper: not given)."""
    trained_parts: str = ""
    """How the names of the DiT's trained weights begin, e.g. "blocks.38. blocks.39. head."; empty trains all. The other
    weights stay as they are, bit for bit. A text encoder that is trained along stays too."""
    lora_rank: int = 0
    """Rank of a LoRA on the attention and feed-forward layers; 0 trains all weights."""
    precision: str = "no"
    """accelerate's mixed precision: "no" or "bf16"."""
    gradient_checkpointing: bool = False
    """Recompute the blocks' activations in the backward pass to save memory."""
    text_length: int = 40
    """Token rows of an instruction in training ("shapes"): the longest one and a padding row must fit. The rows that
    ComfyUI's 512 have beyond it are alike and are counted, not computed."""
    checkpoint_every: int = 500
    """Steps between resumable checkpoints."""
    log_every: int = 10
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        check_types(self)
        checks = (
            (self.stage in (0, 1), "stage", self.stage, "0 or 1"),
            (self.steps > 0, "steps", self.steps, "at least 1"),
            (self.batch_size > 0, "batch_size", self.batch_size, "at least 1"),
            *(
                (
                    self.accumulation > 0 and size % self.accumulation == 0,
                    "accumulation",
                    self.accumulation,
                    f"a divisor of batch_size {size}",
                )
                for size in (self.batch_size, self.image_batch_size)
            ),
            (self.frames > 0 and self.frames % 4 == 1, "frames", self.frames, "4k+1"),
            (
                self.height > 0
                and self.width > 0
                and self.height % 16 == 0
                and self.width % 16 == 0,
                "size",
                f"{self.width}x{self.height}",
                "multiples of 16",
            ),
            *(
                (0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
                for name in (
                    "image_share",
                    "semantic_share",
                    "text_dropout",
                    "decay_from",
                    "pool_growth",
                    "own_path_share",
                    "shades",
                )
            ),
            *(
                (getattr(self, name) > 0, name, getattr(self, name), "more than 0")
                for name in ("learning_rate", "shift", "checkpoint_every", "log_every")
            ),
            *(
                (getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
                for name in (
                    "muon_rate",
                    "weight_decay",
                    "warmup",
                    "clip_norm",
                    "semantic_weight",
                    "edit_weight",
                    "pixel_weight",
                    "reading_weight",
                    "lora_rank",
                    "image_batch_size",
                    "image_pairs",
                    "clip_pairs",
                )
            ),
            *(
                (
                    not (self.trained_parts and getattr(self, name)),
                    "trained_parts",
                    self.trained_parts,
                    f"empty with a {name}",
                )
                for name in ("lora_rank", "reading_weight")
            ),
            (self.start in ("copy", "random"), "start", self.start, '"copy" or "random"'),
            (2 <= self.text_length <= 512, "text_length", self.text_length, "2 to 512"),
            (0 <= self.ema < 1, "ema", self.ema, "0 up to, not including, 1"),
            (self.precision in ("no", "bf16"), "precision", self.precision, '"no" or "bf16"'),
        )
        refuse_bad(checks)

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


# Settings that a resumed run may change: they do not touch what is computed.
FREE_TO_CHANGE = frozenset({"output", "pool", "checkpoint_every", "log_every"})


def load_config(path: str | Path, **overrides: Any) -> TrainConfig:
    """The TOML file's settings, see `read_recipe`."""
    return read_recipe(path, TrainConfig, **overrides)
