"""The frozen encoders of training on rows: frames and text to what the DiT sees.

frames ──VAE (Wan 2.1)──▶ (μ - mean) / std        text ──umT5──▶ 512 rows, zero beyond its end
anchor frame ──SigLIP or pixel statistics──▶ semantic tokens
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from ...encoders.latent_space import LatentSpace
from ...encoders.umt5 import END, Tokens, Umt5Encoder
from ...encoders.umt5_layout import Umt5Sizes, is_official, official_to_comfy
from ...encoders.vae import WanVae, load_wan_vae
from ...encoders.vae_layout import vae_shapes
from ...errors import CheckpointError, needed
from ...geometry import Lattice
from ...text import MAX_TOKENS
from ...weights.report import compare
from ..config import TrainConfig
from ..semantics import PixelEncoder, SemanticEncoder, SiglipEncoder


class FrozenEncoders:
    """VAE, text encoder and semantic encoder together."""

    def __init__(
        self,
        vae: WanVae,
        text: Umt5Encoder,
        tokens: Tokens,
        semantics: SemanticEncoder,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """Freezes them. VAE and text encoder compute in `dtype`, the other in its own."""
        for part in (vae, text):
            part.eval().requires_grad_(False).to(device, dtype)
        self.vae, self.text_encoder = vae, text
        self.tokens, self.semantics = tokens, semantics.to(device)
        self.device, self.dtype = torch.device(device), dtype
        self.space = LatentSpace(self.vae)

    @classmethod
    def of(cls, config: TrainConfig, device: torch.device) -> "FrozenEncoders":
        """The encoders that the settings name.

        bfloat16 on an accelerator, as the release runs them; float32 on the CPU.

        Raises CheckpointError for a file that is something else.
        """
        text, tokens = load_text_encoder(Path(config.text_encoder))
        return cls(
            load_vae(Path(config.vae)),
            text,
            tokens,
            load_semantics(config.semantic_encoder),
            device,
            choose_encoder_dtype(device),
        )

    @torch.no_grad()
    def latents(self, frames: Tensor) -> Tensor:
        """Frames (F, H, W, 3) in 0..1 → normalised latents (16, T, H/8, W/8) float32 on the CPU."""
        return self.space.encode(frames[None])[0].cpu()

    def text(self, text: str) -> Tensor:
        """A text with its tag → embeddings (512, text_dim), see `embed_text`."""
        return embed_text(self.text_encoder, self.tokens, self.device, text)

    def semantic(self, frame: Tensor) -> Tensor:
        """An anchor frame (H, W, 3) in 0..1 → (65, E) float32 on the CPU."""
        return self.semantics.encode(frame[None].to(self.device))[0].cpu()

    def check_latents(self, lattice: Lattice) -> None:
        """CheckpointError unless the VAE makes latents that the model divides as `lattice` says."""
        own = self.space.lattice
        if own.channels != lattice.channels:
            raise CheckpointError(
                needed(
                    "vae",
                    f"{own.name}'s, whose latents have {own.channels} channels",
                    f"the model's {lattice.channels} channels",
                    "Choose the VAE that the model was made for.",
                )
            )

    def check_text_width(self, width: int) -> None:
        """CheckpointError unless the model takes embeddings as wide as the text encoder's."""
        own = len(self.text_encoder.shared.weight[0])
        if own != width:
            raise CheckpointError(
                needed(
                    "text_encoder",
                    f"embeddings {own} wide",
                    f"the model's {width}",
                    "Choose the text encoder that the model was made for (umT5-xxl is 4096).",
                )
            )


def choose_encoder_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on an accelerator, as the release runs the encoders; float32 on the CPU."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


@torch.no_grad()
def embed_text(
    encoder: Umt5Encoder, tokens: Tokens, device: torch.device | str, text: str
) -> Tensor:
    """A text with its tag → embeddings (512, text_dim) float32 on the CPU.

    Rows beyond the text's end are zero. Longer texts lose their end, as in the released tokenizer.
    """
    ids = torch.tensor([[*tokens.pieces.encode(text)[: MAX_TOKENS - 1], END]], device=device)
    rows = encoder(ids)[0].float().cpu()
    return functional.pad(rows, (0, 0, 0, MAX_TOKENS - len(rows)))


def load_vae(path: Path) -> WanVae:
    """A Wan 2.1 VAE of any width, faster where units of it do nothing."""
    weights = _read(path, "vae")
    width = len(weights["encoder.conv1.weight"]) if "encoder.conv1.weight" in weights else 0
    report = compare(
        {name: tuple(value.shape) for name, value in weights.items()},
        vae_shapes(width),
        quantised=False,
    )
    report.raise_if_bad(f"vae {path.name}")
    vae = load_wan_vae(weights)
    vae.skip_idle()
    return vae


def load_text_encoder(path: Path) -> tuple[Umt5Encoder, Tokens]:
    """umT5 from ComfyUI's safetensors, or the official `.pth` with its tokenizer beside it."""
    weights = _read(path, "text_encoder")
    if is_official(weights):
        weights = official_to_comfy(weights, path)
    sizes = Umt5Sizes.from_state_dict(weights, path.name)
    spiece = weights.pop("spiece_model")
    report = compare(
        {name: tuple(value.shape) for name, value in weights.items()},
        sizes.shapes(),
        quantised=False,
    )
    report.raise_if_bad(f"text_encoder {path.name}")
    with torch.device("meta"):
        encoder = Umt5Encoder(sizes)
    encoder.load_state_dict(weights, assign=True)
    return encoder, Tokens(spiece.numpy().tobytes())


def load_semantics(choice: str) -> SemanticEncoder:
    """ "pixels", or the folder of a SigLIP checkpoint."""
    return PixelEncoder() if choice == "pixels" else SiglipEncoder.from_pretrained(choice)


def _read(path: Path, setting: str) -> dict[str, Tensor]:
    """Named tensors of a safetensors or `.pth` file, without pickle's powers."""
    try:
        if path.suffix in (".safetensors", ".sft"):
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except Exception as broken:
        why = "no file" if not path.is_file() else f"no readable weights ({type(broken).__name__})"
        raise CheckpointError(
            needed(f"{setting} {path}", why, "a weight file", f"Set {setting} in the recipe.")
        ) from broken
