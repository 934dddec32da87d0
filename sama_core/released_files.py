"""The released models, each as one value: its files, its sizes, and how it is sampled.

SAMA-14B's numbers stand here and nowhere else; sizes of a file at hand are read from its shapes.
The announced SAMA-5B will be another value. Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import embedded
from .errors import InputError, needed
from .geometry import DEFAULT_AREA, WAN_21, Lattice

WAN_REPO = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"


def hub_url(repo: str, path: str) -> str:
    """The address of a file on the model hub."""
    return f"https://huggingface.co/{repo}/resolve/main/{path}"


@dataclass(frozen=True)
class ModelFile:
    """One public file that SAMA can use."""

    role: str
    """What it is; files with the same role stand in for each other, the first being the default."""
    filename: str
    """Its name below the models folder."""
    folder: str
    """ComfyUI's name for the models subfolder it belongs in."""
    repo: str
    """Repository on the model hub."""
    path: str
    """Path inside the repository."""
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal checksum."""

    @property
    def url(self) -> str:
        """Where a browser gets it."""
        return hub_url(self.repo, self.path)

    def place(self, models_dir: Path) -> Path:
        """Where the file belongs below a models folder."""
        return models_dir / self.folder / self.filename

    def where(self) -> str:
        """For error messages: the file, its folder and its source."""
        return f"{self.filename} in models/{self.folder}, from {self.repo} ({self.path})"


DIFFUSION_MODEL, TEXT_ENCODER, VAE = "SAMA model", "text encoder", "VAE"


# Sizes and checksums: SAMA's from its repository's listing, the others as published for
# Comfy-Org/Wan_2.1_ComfyUI_repackaged at revision 06e001fc.
MODEL_FILES = (
    ModelFile(
        DIFFUSION_MODEL,
        "sama_14b_ema.safetensors",
        "diffusion_models",
        "syxbb/SAMA-14B",
        "sama_14b_ema.safetensors",
        28_601_809_776,
        "a3bf2bef8366573e04798b9454fabef7aeb2cfd514952a477a09572903e22e98",
    ),
    ModelFile(
        TEXT_ENCODER,
        "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        "text_encoders",
        WAN_REPO,
        "split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        6_735_906_897,
        "c3355d30191f1f066b26d93fba017ae9809dce6c627dda5f6a66eaa651204f68",
    ),
    ModelFile(
        TEXT_ENCODER,
        "umt5_xxl_fp16.safetensors",
        "text_encoders",
        WAN_REPO,
        "split_files/text_encoders/umt5_xxl_fp16.safetensors",
        11_366_399_385,
        "7b8850f1961e1cf8a77cca4c964a358d303f490833c6c087d0cff4b2f99db2af",
    ),
    ModelFile(
        VAE,
        "wan_2.1_vae.safetensors",
        "vae",
        WAN_REPO,
        "split_files/vae/wan_2.1_vae.safetensors",
        253_815_318,
        "2fc39d31359a4b0a64f55876d8ff7fa8d780956ae2cb13463b0223e15148976b",
    ),
)


@dataclass(frozen=True)
class Companion:
    """A public file of others that an example workflow for SAMA-14B names; nothing fetches it."""

    filename: str
    """Its name below the models folder."""
    folder: str
    """ComfyUI's name for the models subfolder it belongs in."""
    repo: str
    """Repository on the model hub."""
    path: str
    """Path inside the repository."""

    @property
    def url(self) -> str:
        """Where a browser gets it."""
        return hub_url(self.repo, self.path)


STEP_LORA = Companion(
    "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors",
    "loras",
    "Kijai/WanVideo_comfy",
    "Lightx2v/lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors",
)
"""A step-distilled LoRA for Wan 2.1 T2V 14B."""
TRACKER = Companion(
    "sam3.1_multiplex_fp16.safetensors",
    "checkpoints",
    "Comfy-Org/sam3.1",
    "checkpoints/sam3.1_multiplex_fp16.safetensors",
)
"""SAM 3.1, which finds things by words and follows them, as ComfyUI's own blueprints name it."""
COMPANIONS = (STEP_LORA, TRACKER)


def default_file(role: str) -> ModelFile:
    """The first file of a role: what a download fetches unless the artist already has another
    one.
    """
    return next(file for file in MODEL_FILES if file.role == role)


OWN_STEPS, OWN_CFG = 0, -1.0
"""Steps and cfg that stand for the model's own."""
DISTILLED_STEPS, DISTILLED_CFG = 6, 1.0
"""What a step-distilled LoRA asks for. Unverified: none was run on SAMA."""
MANY_STEPS = 12
"""Up to this many steps suit a step-distilled LoRA."""


@dataclass(frozen=True)
class OwnSampling:
    """Steps and cfg that suit a model."""

    steps: int
    """Sampling steps."""
    cfg: float
    """Guidance strength."""
    whose: str
    """What they suit, as people call it."""

    def fill(self, steps: int = OWN_STEPS, cfg: float = OWN_CFG) -> tuple[int, float, str]:
        """The steps and cfg to sample with, and in words which of them are the model's own.

        OWN_STEPS and OWN_CFG are replaced. The words are empty if neither was asked for. Raises
        InputError for numbers that no run can have.
        """
        if not OWN_STEPS <= steps < float("inf"):
            raise InputError(
                needed("steps", steps, "0 or more", "0 takes the model's own number of steps.")
            )
        if cfg != OWN_CFG and not 0 <= cfg < float("inf"):
            raise InputError(
                needed("cfg", cfg, "0 or more, or -1", "-1 takes the model's own cfg.")
            )
        taken = []
        if steps == OWN_STEPS:
            steps = self.steps
            taken.append(f"{steps} steps")
        if cfg == OWN_CFG:
            cfg = self.cfg
            taken.append(f"cfg {cfg:g}")
        return steps, cfg, f"{' and '.join(taken)} for {self.whose}" if taken else ""


@dataclass(frozen=True)
class Release:
    """One released model."""

    name: str
    """As people call it."""
    sizes: Mapping[str, int]
    """The DiT's sizes, by the names of `DitConfig`'s fields."""
    lattice: Lattice
    """Latent channels, and how VAE and patches divide a clip."""
    steps: int
    """Sampling steps it was released with."""
    cfg: float
    """Guidance strength."""
    shift: float
    """Schedule shift."""
    frames: int
    """The most frames it was trained on."""
    area: int
    """Pixels of a frame it was made for."""
    weights: Path | None = None
    """The DiT's file, where it is in the pack."""

    @property
    def sampling(self) -> OwnSampling:
        """Its steps and cfg."""
        return OwnSampling(self.steps, self.cfg, self.name)


SAMA_14B = Release(
    "SAMA-14B",
    {
        "dim": 5120,
        "num_heads": 40,
        "ffn_dim": 13824,
        "num_layers": 40,
        "text_dim": 4096,
        "freq_dim": 256,
        "in_dim": WAN_21.channels,
        "out_dim": WAN_21.channels,
        "semantic_dim": 1152,
        "semantic_hidden": 1024,
        "semantic_tokens": 65,
    },
    WAN_21,
    steps=50,
    cfg=5.0,
    shift=5.0,
    frames=81,
    area=DEFAULT_AREA,
)
SAMA_SHAPES = Release(
    "SAMA-Shapes",
    embedded.SIZES,
    WAN_21,
    steps=embedded.STEPS,
    cfg=embedded.CFG,
    shift=SAMA_14B.shift,
    frames=embedded.FRAMES,
    area=embedded.AREA,
    weights=embedded.DIT,
)
"""The small model inside the pack."""


def release_of(text_dim: int) -> Release:
    """The released model that a model with text tokens of this width is, or was trained from.

    umT5-xxl's tokens go into SAMA-14B; any other width is that of a small text encoder, as
    SAMA-Shapes has. A fine-tuned model keeps its width.
    """
    return SAMA_14B if text_dim == SAMA_14B.sizes["text_dim"] else SAMA_SHAPES
