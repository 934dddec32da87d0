"""The frozen encoders of training on rows: frames and text to what the DiT sees.

frames ──VAE (Wan 2.1)──▶ (μ - mean) / std        text ──umT5──▶ 512 rows, zero beyond its end
anchor frame ──SigLIP or pixel statistics──▶ semantic tokens
"""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from ...text import MAX_TOKENS, add_tag
from ...weights.header import read_header
from ...weights.quant_formats import is_quant_key
from ...weights.quantised import refuse_unreadable
from ...weights.report import compare
from ..config import TrainConfig
from ..memory.base_weights import load_packed
from ..memory.packed import FORMATS, Weights, read_packed, shape_of
from ..semantics import PixelEncoder, SemanticEncoder, SiglipEncoder

EncodeText = Callable[[str], Tensor]
"""A text with its tag → embeddings (L, D), rows beyond its end 0."""
SAFETENSORS = (".safetensors", ".sft")


class FrozenEncoders:
    """VAE, text encoder and semantic encoder together.

    Those of the settings are opened at their first use. `release` frees the card of all three; what
    is used after it is opened again.
    """

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
        self.device, self.dtype = torch.device(device), dtype
        self._openers: dict[str, Callable[[], Any]] = {
            "vae": lambda: vae,
            "text": lambda: (text, tokens),
            "semantics": lambda: semantics,
        }
        self._open: dict[str, Any] = {}
        self._text_file = Path()
        self.open()

    @classmethod
    def of(cls, config: TrainConfig, device: torch.device) -> "FrozenEncoders":
        """The encoders that the settings name, none of them open yet.

        bfloat16 on an accelerator, as the release runs them; float32 on the CPU. Opening one raises
        CheckpointError for a file that is something else.
        """
        made = cls.__new__(cls)
        made.device, made.dtype, made._open = device, choose_encoder_dtype(device), {}
        made._text_file = Path(config.text_encoder)
        made._openers = {
            "vae": lambda: load_vae(Path(config.vae)),
            "text": lambda: load_text_encoder(Path(config.text_encoder)),
            "semantics": lambda: load_semantics(config.semantic_encoder),
        }
        return made

    def open(self) -> None:
        """Open all three now, so that a wrong file is told at once."""
        for name in self._openers:
            self._get(name)

    def release(self) -> None:
        """Free the memory of those that are open."""
        for found in self._open.values():
            (found[0] if isinstance(found, tuple) else found).to("cpu")
        self._open.clear()
        gc.collect()
        if self.device.type != "cpu":
            torch.accelerator.empty_cache()

    def _get(self, name: str) -> Any:
        """An open encoder, frozen and on the device: VAE, text encoder with its tokens, or the
        semantic one.
        """
        if name not in self._open:
            found = self._openers[name]()
            if name == "semantics":
                found = found.to(self.device)
            else:
                part = found[0] if name == "text" else found
                part.eval().requires_grad_(False).to(self.device, self.dtype)
            self._open[name] = found
        return self._open[name]

    @property
    def is_open(self) -> bool:
        """Whether one of them takes memory."""
        return bool(self._open)

    @property
    def vae(self) -> WanVae:
        """The VAE."""
        return self._get("vae")

    @property
    def space(self) -> LatentSpace:
        """The VAE's latent space."""
        return LatentSpace(self.vae)

    @property
    def text_encoder(self) -> Umt5Encoder:
        """umT5."""
        return self._get("text")[0]

    @property
    def tokens(self) -> Tokens:
        """umT5's tokenizer."""
        return self._get("text")[1]

    @property
    def semantics(self) -> SemanticEncoder:
        """The encoder of anchor frames."""
        return self._get("semantics")

    @torch.no_grad()
    def latents(self, frames: Tensor) -> Tensor:
        """Frames (F, H, W, 3) in 0..1 → normalised latents (16, T, H/8, W/8) float32 on the CPU."""
        return self.space.encode(frames[None])[0].cpu()

    @torch.no_grad()
    def frames(self, latents: Tensor) -> Tensor:
        """Normalised latents (1, 16, T, H/8, W/8) → frames (F, H, W, 3), about 0..1, on the CPU."""
        return self.space.decode(latents.to(self.device))[0].float().cpu()

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

    def _text_width(self) -> int:
        """Width of the embeddings; a file that says it in its header is not opened for it."""
        told = _width_in_header(self._text_file) if "text" not in self._open else None
        return told or len(self.text_encoder.shared.weight[0])

    def check_text_width(self, width: int) -> None:
        """CheckpointError unless the model takes embeddings as wide as the text encoder's."""
        own = self._text_width()
        if own != width:
            raise CheckpointError(
                needed(
                    "text_encoder",
                    f"embeddings {own} wide",
                    f"the model's {width}",
                    "Choose the text encoder that the model was made for (umT5-xxl is 4096).",
                )
            )


def _width_in_header(path: Path) -> int | None:
    """Width of the embeddings by the header of a safetensors file; None where it does not tell."""
    if path.suffix not in SAFETENSORS:
        return None
    shape = read_header(path, own_names=False).shapes.get("shared.weight", ())
    return shape[-1] if len(shape) == 2 else None


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


def embed_words(encode_text: EncodeText, text: str) -> Tensor:
    """A row's text with its tag → its embeddings (L, D), without the empty rows behind it."""
    found = encode_text(add_tag(text))
    return found[found.abs().sum(-1) > 0]


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
    """umT5 from ComfyUI's safetensors, or the official `.pth` with its tokenizer beside it.

    Matrices of a file in fp8 stay as they are, and are unpacked when they are used.
    """
    stored = _read(path, "text_encoder")
    if is_official(stored):
        stored = official_to_comfy(stored, path)
    sizes = Umt5Sizes.from_state_dict(stored, path.name)
    spiece = stored.pop("spiece_model")
    weights: Weights = {**stored}
    if any(is_quant_key(name) for name in stored):
        file = read_header(path, own_names=False)
        refuse_unreadable(path.name, file.list_stored(), sizes.shapes(), FORMATS)
        weights = read_packed(file, stored)
    report = compare(
        {name: shape_of(value) for name, value in weights.items()}, sizes.shapes(), quantised=False
    )
    report.raise_if_bad(f"text_encoder {path.name}")
    with torch.device("meta"):
        encoder = Umt5Encoder(sizes)
    load_packed(encoder, weights, lambda name: torch.float32)
    return encoder, Tokens(spiece.numpy().tobytes())


def load_semantics(choice: str) -> SemanticEncoder:
    """ "pixels", or a SigLIP checkpoint, see `SiglipEncoder.from_pretrained`."""
    return PixelEncoder() if choice == "pixels" else SiglipEncoder.from_pretrained(choice)


def _read(path: Path, setting: str) -> dict[str, Tensor]:
    """Named tensors of a safetensors or `.pth` file, without pickle's powers."""
    try:
        if path.suffix in SAFETENSORS:
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except Exception as broken:
        why = "no file" if not path.is_file() else f"no readable weights ({type(broken).__name__})"
        raise CheckpointError(
            needed(f"{setting} {path}", why, "a weight file", f"Set {setting} in the recipe.")
        ) from broken
