"""The edit that a plan is made for, and what it needs: memory, and operations of one call."""

import math
from dataclasses import dataclass, replace

from .. import embedded
from ..errors import GeometryError, SamaError, needed
from ..geometry import (
    DEFAULT_AREA,
    WAN_21,
    ClipShape,
    LatentShape,
    Lattice,
    choose_bucket,
    pad_frame_count,
)
from ..model.config import DitConfig
from ..model.memory_law import (
    TEXT_ROWS,
    estimated_bytes,
    feed_forward_slice,
    sequence_tokens,
)
from ..released_files import SAMA_SHAPES, TEXT_ENCODER, VAE, default_file, release_of
from .budget import Load
from .machine import Machine
from .weight_bytes import RELEASED, RELEASED_CONFIG, Weights

MAX_FRAMES, MAX_SIDE = 100_000, 16_384
"""Limits of a clip, as the node's inputs have them."""
RELEASED_TEXT_ENCODER, RELEASED_VAE = default_file(TEXT_ENCODER).size, default_file(VAE).size
"""Bytes of the files of umT5 in fp8 and of the Wan 2.1 VAE."""
_VAE_FEW_FRAMES, _VAE_FRAMES = 2200, 7000
"""Numbers per pixel that ComfyUI counts for decoding: up to four latent frames, and more."""


@dataclass(frozen=True)
class Request:
    """One edit, before it is made. Raises SamaError for steps or a cfg that no edit can have."""

    clip: ClipShape
    """As the model gets it: 4k+1 frames, sides that are multiples of 16 (for Wan 2.1)."""
    config: DitConfig = RELEASED_CONFIG
    """Sizes of the model."""
    weights: Weights = RELEASED
    """Its weights, counted."""
    storage: str = "default"
    """The loader's `weight_dtype`."""
    steps: int = 50
    """Sampling steps."""
    cfg: float = 5.0
    """Guidance strength; 1 means no guidance."""
    text_encoder: int = RELEASED_TEXT_ENCODER
    """Bytes of the text encoder's file."""
    vae: int = RELEASED_VAE
    """Bytes of the VAE's file."""
    remarks: tuple[str, ...] = ()
    """Sentences for the report: how the user's figures were changed."""

    def __post_init__(self) -> None:
        for name, value, least in (("steps", self.steps, 1), ("cfg", self.cfg, 0)):
            if not least <= value < float("inf"):
                raise SamaError(needed(name, value, f"{least} or more", f"Set another {name}."))

    @property
    def calls(self) -> int:
        """How often a step runs the model: at cfg 1 ComfyUI leaves the negative prompt out."""
        return 1 if self.cfg == 1 else 2

    @property
    def frame_bytes(self) -> int:
        """Bytes of the source's and the edit's frames in ComfyUI: float32, three channels."""
        return 2 * 4 * 3 * self.clip.frames * self.clip.height * self.clip.width

    def load(self, machine: Machine) -> Load:
        """The memory this edit needs on this kind of machine."""
        size, config, latent = machine.compute_size, self.config, self.clip.latent()
        weights, tokens = (
            self.weights.memory_bytes(self.storage, size),
            sequence_tokens(config, latent),
        )
        feed_forward = 2 * config.ffn_dim * config.dim * config.num_layers
        return Load(
            weights=weights,
            layer=self.weights.layer(self.storage, size),
            activations=estimated_bytes(config, latent, 1, size),
            guided=self.calls > 1,
            beside=self.text_encoder + self.vae + self.frame_bytes,
            feed_forward=round(weights * feed_forward / self.weights.parameters),
            slices=-(-tokens // feed_forward_slice(tokens)),
            moves=not self.weights.gguf,
        )

    def vae_bytes(self, machine: Machine) -> int:
        """Bytes for decoding the edited frames, by ComfyUI's rule for Wan's VAE.

        Source: `memory_used_decode` in `comfy.sd.VAE`.
        """
        rule = _VAE_FEW_FRAMES if self.clip.latent().frames <= 4 else _VAE_FRAMES
        return rule * self.clip.height * self.clip.width * machine.compute_size

    def with_clip(self, clip: ClipShape) -> "Request":
        """The same edit of another clip, without remarks."""
        return replace(self, clip=clip, remarks=())

    def with_weights(self, weights: Weights) -> "Request":
        """The same edit with another weight file, stored as the file is, without remarks."""
        return replace(self, weights=weights, storage="default", remarks=())


@dataclass(frozen=True)
class Flops:
    """Operations of one call of the model with one sample."""

    attention: int
    """Attention of all tokens to all tokens: grows with the square of their number."""
    linear: int
    """All other matrix products: they grow with the number of tokens."""

    @property
    def total(self) -> int:
        """All operations."""
        return self.attention + self.linear

    @property
    def attention_share(self) -> float:
        """Fraction of the operations that is attention, between 0 and 1."""
        return self.attention / self.total


def forward_flops(config: DitConfig, latent: LatentShape, source: bool = True) -> Flops:
    """Operations of one call of the model; `source` says whether it gets a source video.

    A multiplication with its addition counts as two. Norms, rotations and additions are left out:
    together they are well under one percent.
    """
    tokens, video = sequence_tokens(config, latent, source), latent.tokens()
    width, patch = config.dim, math.prod(config.patch)
    block = (
        2
        * tokens
        * (6 * width**2 + 2 * width * config.ffn_dim)  # q, k, v, o; the text's q, o; feed-forward
        + 4 * TEXT_ROWS * width**2  # the text's k, v
        + 4 * tokens * TEXT_ROWS * width
    )  # attention to the text
    embed = 2 * video * (2 if source else 1) * patch * config.in_dim * width
    head = 2 * video * patch * config.out_dim * width
    text = 2 * TEXT_ROWS * (config.text_dim * width + width**2)
    time = 2 * (config.freq_dim * width + 7 * width**2)
    semantic = (
        2
        * config.semantic_tokens
        * (config.semantic_dim * (config.semantic_hidden + width) + config.semantic_hidden * width)
    )
    return Flops(
        attention=4 * tokens**2 * width * config.num_layers,
        linear=block * config.num_layers + embed + head + text + time + semantic,
    )


def is_small(config: DitConfig) -> bool:
    """Whether the model uses the pack's small text encoder and VAE, not umT5-xxl and Wan's VAE."""
    return release_of(config.text_dim) is SAMA_SHAPES


def encoder_sizes(config: DitConfig) -> dict[str, int]:
    """Bytes of this model's text encoder and VAE files, by the names of `Request`'s fields."""
    if is_small(config):
        return {
            "text_encoder": embedded.TEXT_ENCODER.stat().st_size,
            "vae": embedded.VAE.stat().st_size,
        }
    return {"text_encoder": RELEASED_TEXT_ENCODER, "vae": RELEASED_VAE}


def fitted_clip(
    frames: int, width: int, height: int, area: int | None = None, lattice: Lattice = WAN_21
) -> tuple[ClipShape, tuple[str, ...]]:
    """The clip the model will get, and a sentence for each change.

    With an `area` in pixels the frames get the bucket that SAMA Source Video would choose. Without,
    sides that `lattice` takes (multiples of 16 for Wan 2.1) stay as they are, and others get the
    bucket of their own area. Raises GeometryError for sizes that no clip has.
    """
    for name, value, most in (
        ("frames", frames, MAX_FRAMES),
        ("width", width, MAX_SIDE),
        ("height", height, MAX_SIDE),
    ):
        if not 1 <= value <= most:
            raise GeometryError(needed(name, value, f"1 to {most}", f"Set another {name}."))
    remarks, padded = [], pad_frame_count(frames, lattice)
    if padded != frames:
        remarks.append(f"{frames} frames will be padded to {padded} ({lattice.frame_rule}).")
    if area or not lattice.takes_size(width, height):
        fitted = choose_bucket(width, height, area or width * height)
        if fitted != (width, height):
            remarks.append(f"Frames of {width}x{height} will be fitted to {fitted[0]}x{fitted[1]}.")
        width, height = fitted
    return ClipShape(padded, height, width, lattice), tuple(remarks)


def default_size(area: int | None) -> tuple[int, int]:
    """Width and height of an area in pixels without a clip: Wan's aspect, 832:480."""
    return choose_bucket(832, 480, area or DEFAULT_AREA)
