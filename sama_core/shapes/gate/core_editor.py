"""Edit many clips at once with the core alone, in float32: the numbers of ComfyUI's euler sampler.

    frames ──VAE──▶ source latents ─┐
    words ──umT5──▶ text ───────────┼─ denoise from the clip's own noise ──▶ latents ──VAE──▶ frames
    "" ──▶ the tag alone (cfg ≠ 1) ─┘

A clip's noise is a function of (seed, index), as ComfyUI and SAMA's sampling wrapper draw it.

Shape legend: B clips, F = 4k+1 frames, H x W pixels, frames uint8 (B, F, H, W, 3); C latent
channels, T latent frames; S semantic tokens of width E.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from ... import embedded
from ...encoders.latent_space import LatentSpace
from ...encoders.umt5 import PaddedText, Tokens, Umt5Encoder
from ...encoders.umt5_layout import PAD, Umt5Sizes
from ...encoders.vae import WanVae, load_wan_vae
from ...errors import RuntimeSetupError, needed
from ...model.attention import CrossAttention
from ...model.dit import SamaDiT
from ...model.schedule import DEFAULT_SHIFT, denoise, flow_sigmas
from ...model.semantic import semantic_noise
from ...text import MAX_TOKENS
from ...weights.checkpoint import plan_checkpoint, refuse_non_finite
from ...weights.names import strip_prefix
from .clip_scores import from_bytes, saved_bytes


def clip_seed(seed: int, index: int) -> int:
    """The sampling seed of clip `index` of a run, below 2³², the limit of torch's CPU generator."""
    return (seed * 1_000_003 + index) % 2**32


def joint_noise(
    video: tuple[int, ...], semantic: tuple[int, int], seed: int
) -> tuple[Tensor, Tensor]:
    """Noise of sizes `video` (C, T, H, W) and `semantic` (S, E), as in a run with this seed."""
    video_noise = torch.randn((1, *video), generator=torch.Generator().manual_seed(seed))[0]
    return video_noise, semantic_noise(semantic, seed, video_noise[None])[0]


@dataclass(frozen=True)
class Settings:
    """How to sample."""

    steps: int = embedded.STEPS
    """Euler steps."""
    shift: float = DEFAULT_SHIFT
    """Schedule shift."""
    cfg: float = embedded.CFG
    """Guidance strength; 1 omits the negative pass."""
    semantics: bool = True
    """Whether semantic tokens are sampled; a model trained without anchoring has none."""


@dataclass(frozen=True)
class ModelFiles:
    """The three files of one model."""

    dit: Path
    """The DiT, a safetensors file."""
    text_encoder: Path
    """The umT5 encoder with its tokenizer, a safetensors file."""
    vae: Path
    """The VAE, a safetensors file."""

    def check(self) -> None:
        """Raise RuntimeSetupError naming the first file that does not exist."""
        options = {"--dit": self.dit, "--text-encoder": self.text_encoder, "--vae": self.vae}
        for option, path in options.items():
            if not Path(path).is_file():
                raise RuntimeSetupError(
                    needed(
                        option,
                        f"no file {path}",
                        "a safetensors file that exists",
                        f"Give its path with {option}.",
                    )
                )


class Edited(NamedTuple):
    """An editor's result for a batch."""

    frames: Tensor
    """uint8 (B, F, H, W, 3)"""
    seconds: float
    """Time of encoding, sampling and decoding the whole batch."""


class Editor(Protocol):
    """Something that edits clips: the core, or ComfyUI."""

    def edit(self, frames: Tensor, instructions: list[str], seeds: Sequence[int]) -> Edited:
        """Edit each clip by its instruction, with the noise of its own seed."""

    def round_trip(self, frames: Tensor) -> Tensor:
        """The clips encoded and decoded, the best that any edit can look; uint8 in and out."""


class CoreEditor:
    """An `Editor` of plain torch modules, also for a model in training; the DiT is in eval mode.

    During `edit` the DiT's cross-attention uses `PaddedText`; afterwards it is restored.
    """

    def __init__(
        self,
        dit: SamaDiT,
        text_encoder: Umt5Encoder,
        tokens: Tokens,
        vae: WanVae,
        settings: Settings,
    ):
        self.dit, self.text_encoder, self.tokens = dit, text_encoder, tokens
        self.settings = settings
        self.space = LatentSpace(vae)

    @torch.inference_mode()
    def edit(
        self,
        frames: Tensor,
        instructions: list[str],
        seeds: Sequence[int],
        noise: list[tuple[Tensor, Tensor]] | None = None,
        anchors: Tensor | None = None,
    ) -> Edited:
        """See `Editor`. `noise` is each clip's, by default the `joint_noise` of its seed;
        `anchors` (B, 1, H, W, 3) uint8 are the first frames of the results.
        """
        started = time.perf_counter()
        given = None if anchors is None else self.encode(anchors)
        latents = self._sample(self.encode(frames), instructions, seeds, noise, given)
        edited = self.decode(latents)
        return Edited(edited, time.perf_counter() - started)

    @torch.inference_mode()
    def round_trip(self, frames: Tensor) -> Tensor:
        """See `Editor`."""
        return self.decode(self.encode(frames))

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 frames → normalised latents (B, C, T, H/8, W/8)."""
        return self.space.encode(from_bytes(frames))

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents → uint8 frames, truncated as ComfyUI saves them."""
        return saved_bytes(self.space.decode(latents))

    def token_rows(self, instructions: list[str]) -> Tensor:
        """(B, L) ids of the tagged instructions; L is the longest plus one padding row."""
        ids = self.tokens.instructions(instructions, MAX_TOKENS)
        return ids[:, : 1 + int((ids != PAD).sum(1).max())]

    def _sample(
        self,
        source: Tensor,
        instructions: list[str],
        seeds: Sequence[int],
        joint: list[tuple[Tensor, Tensor]] | None = None,
        anchor: Tensor | None = None,
    ) -> Tensor:
        """Source latents, and first frames that are given → edited latents, all normalised."""
        config, cfg = self.dit.config, self.settings.cfg
        drawn = joint or [
            joint_noise(source.shape[1:], (config.semantic_tokens, config.semantic_dim), seed)
            for seed in seeds
        ]
        noise, semantic = (torch.stack(part) for part in zip(*drawn, strict=True))
        ids = self.token_rows([*instructions, *([""] if cfg != 1 else [])])
        text = self.text_encoder(ids)
        positive, negative = text[: len(source)], text[-1:].expand(len(source), -1, -1)
        with _PaddedAttention(self.dit, ids.shape[1]):
            return denoise(
                self.dit,
                noise,
                semantic if self.settings.semantics else None,
                positive,
                negative,
                source,
                flow_sigmas(self.settings.steps, self.settings.shift),
                cfg,
                anchor=anchor,
            )[0]


class _PaddedAttention:
    """A context in which the DiT's cross-attention counts the last text row for all padding."""

    def __init__(self, dit: SamaDiT, length: int):
        self.parts = [cast(CrossAttention, block.cross_attn) for block in dit.blocks]
        self.before, self.padded = [part.attention for part in self.parts], PaddedText(length)

    def __enter__(self) -> None:
        for part in self.parts:
            part.attention = self.padded

    def __exit__(self, *failure: object) -> None:
        for part, attention in zip(self.parts, self.before, strict=True):
            part.attention = attention


def load_core_editor(files: ModelFiles, settings: Settings) -> CoreEditor:
    """Read the three files.

    Raises RuntimeSetupError or CheckpointError naming the file that is missing or does not fit.
    """
    files.check()
    weights = load_file(files.text_encoder)
    text_encoder = _load_text_encoder(weights, files.text_encoder.name)
    vae = load_wan_vae(load_file(files.vae)).eval()
    vae.skip_idle()
    tokens = Tokens(weights["spiece_model"].numpy().tobytes())
    return CoreEditor(_load_dit(files.dit), text_encoder, tokens, vae, settings)


def _load_dit(path: Path) -> SamaDiT:
    plan = plan_checkpoint(path)
    weights = {name: value.float() for name, value in strip_prefix(load_file(path)).items()}
    refuse_non_finite(weights, path.name)
    dit = SamaDiT(plan.config, dtype=torch.float32)
    dit.load_state_dict(weights)
    return dit.eval()


def _load_text_encoder(weights: dict[str, Tensor], name: str) -> Umt5Encoder:
    """The encoder in float32, with weights rounded to float16 as in ComfyUI."""
    sizes = Umt5Sizes.from_state_dict(weights, name)
    encoder = Umt5Encoder(sizes)
    encoder.load_state_dict({key: weights[key].half().float() for key in sizes.shapes()})
    return encoder.eval()
