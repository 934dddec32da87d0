"""What is asked of a plan: a model, a clip, and how it is sampled."""

from dataclasses import dataclass, replace

from .. import embedded
from ..errors import GeometryError, SamaError, needed
from ..geometry import DEFAULT_AREA, SIDE_MULTIPLE, ClipShape, choose_bucket, pad_frame_count
from ..model.config import DitConfig
from ..model.memory_law import estimated_bytes, sequence_tokens
from ..model.slices import feed_forward_slice
from .budget import Load
from .machine import Machine
from .weight_bytes import RELEASED, RELEASED_CONFIG, Weights

MAX_FRAMES, MAX_SIDE = 100_000, 16_384
# The released umT5 in fp8 and the Wan 2.1 VAE, as files.
RELEASED_TEXT_ENCODER, RELEASED_VAE = 6_735_906_897, 253_815_318
# Numbers that core reckons with for each pixel of a frame: for up to four latent frames, and for more.
_VAE_FEW_FRAMES, _VAE_FRAMES = 2200, 7000


@dataclass(frozen=True)
class Request:
    """One edit, before it is made."""

    clip: ClipShape
    """As the model gets it: 4k+1 frames, sides ÷16."""
    config: DitConfig = RELEASED_CONFIG
    weights: Weights = RELEASED
    storage: str = "default"
    """The loader's `weight_dtype`."""
    steps: int = 50
    cfg: float = 5.0
    text_encoder: int = RELEASED_TEXT_ENCODER
    """Bytes of the text encoder's file."""
    vae: int = RELEASED_VAE
    """Bytes of the VAE's file."""
    remarks: tuple[str, ...] = ()
    """What was made of the user's figures, for the report."""

    def __post_init__(self) -> None:
        for name, value, least in (("steps", self.steps, 1), ("cfg", self.cfg, 0)):
            if not least <= value < float("inf"):
                raise SamaError(needed(name, value, f"{least} or more", f"Set another {name}."))

    @property
    def calls(self) -> int:
        """How often a step runs the model: at cfg 1 core leaves the negative out."""
        return 1 if self.cfg == 1 else 2

    @property
    def frame_bytes(self) -> int:
        """Source and edited frames, as ComfyUI holds them: float32, three channels."""
        return 2 * 4 * 3 * self.clip.frames * self.clip.height * self.clip.width

    def load(self, machine: Machine) -> Load:
        """The bytes of it on this kind of machine."""
        size, config, latent = machine.compute_size, self.config, self.clip.latent()
        weights, tokens = self.weights.loaded(self.storage, size), sequence_tokens(config, latent)
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
        """What decoding the edited frames takes by core's rule for Wan's VAE (`comfy.sd.VAE`, `memory_used_decode`)."""
        latent = self.clip.latent()
        rule = _VAE_FEW_FRAMES if latent.frames <= 4 else _VAE_FRAMES
        return rule * latent.height * latent.width * 8 * 8 * machine.compute_size

    def with_clip(self, clip: ClipShape) -> "Request":
        return replace(self, clip=clip, remarks=())

    def with_weights(self, weights: Weights) -> "Request":
        return replace(self, weights=weights, storage="default", remarks=())


def is_small(config: DitConfig) -> bool:
    """Whether it goes with the pack's own small text encoder and VAE instead of umT5-xxl and Wan's."""
    return config.text_dim != RELEASED_CONFIG.text_dim


def encoder_sizes(config: DitConfig) -> dict[str, int]:
    """Bytes of the text encoder's and the VAE's file that this model is used with, by `Request`'s names."""
    if is_small(config):
        return {
            "text_encoder": embedded.TEXT_ENCODER.stat().st_size,
            "vae": embedded.VAE.stat().st_size,
        }
    return {"text_encoder": RELEASED_TEXT_ENCODER, "vae": RELEASED_VAE}


def fitted_clip(
    frames: int, width: int, height: int, area: int | None = None
) -> tuple[ClipShape, tuple[str, ...]]:
    """The clip the model will get, and in words what was changed.

    With an `area` the frames get the bucket SAMA Source Video would choose. Without, sides that are multiples of 16
    stay as they are, and others get the bucket of their own area. Raises GeometryError for sizes no clip has.
    """
    for name, value, most in (
        ("frames", frames, MAX_FRAMES),
        ("width", width, MAX_SIDE),
        ("height", height, MAX_SIDE),
    ):
        if not 1 <= value <= most:
            raise GeometryError(needed(name, value, f"1 to {most}", f"Set another {name}."))
    remarks, padded = [], pad_frame_count(frames)
    if padded != frames:
        remarks.append(f"{frames} frames will be padded to {padded} (4k+1).")
    if area or width % SIDE_MULTIPLE or height % SIDE_MULTIPLE:
        fitted = choose_bucket(width, height, area or width * height)
        if fitted != (width, height):
            remarks.append(f"Frames of {width}x{height} will be fitted to {fitted[0]}x{fitted[1]}.")
        width, height = fitted
    return ClipShape(padded, height, width), tuple(remarks)


def default_size(area: int | None) -> tuple[int, int]:
    """Width and height for an area alone: Wan's 832:480."""
    return choose_bucket(832, 480, area or DEFAULT_AREA)
