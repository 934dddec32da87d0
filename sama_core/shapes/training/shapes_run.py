"""The embedded model's training: what a recipe's settings make, and the files that come out."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ... import embedded
from ...encoders.umt5 import Tokens, Umt5Encoder
from ...encoders.vae import load_wan_vae
from ...errors import CheckpointError, needed
from ...model.dit import SamaDiT
from ...training.fingerprint import digest_ends
from ...training.lora import is_lora, start_from
from ...training.lora_file import write_lora
from ...training.objectives.noising import stream
from ...training.outputs import metadata, provenance, write_weights
from ...training.semantics import PixelEncoder
from ...training.validation.held_out_loss import Validation
from ...weights.report import load_state_dict_report
from ...weights.write import write_safetensors
from ..config import ShapesConfig
from ..model.copy_start import copy_start
from ..model.new_model import init_weights, shapes_dit_config, shapes_text_sizes, train_vocabulary
from ..world import generator_for, render, sample_scenes
from .batches import ShapesData
from .channel_weights import channel_weights
from .encoded_samples import ShapesEncoder
from .held_out_pairs import HeldOutPairs
from .scene_reader import ShapesObjective, ShapesTrainee

WEIGHTS = "weights.safetensors"
EMBEDDED = "embedded"
"""Names the pack's own weights."""
SPIECE = "spiece_model"
PROBED_CLIPS = 8
"""Clips on which the channels' weights are measured."""


@dataclass(frozen=True)
class ShapesRun:
    """A training of the embedded model, ready for the trainer."""

    config: ShapesConfig
    """The recipe's settings."""
    trainee: ShapesTrainee
    """What is trained: DiT and text encoder."""
    data: ShapesData
    """Its batches."""
    vocabulary: bytes
    """The text encoder's sentencepiece model, as its file has it."""

    @classmethod
    def of(cls, config: ShapesConfig, **sizes: Any) -> "ShapesRun":
        """New weights, or those of `config.init`; `sizes` override the DiT's (experiments).

        Raises CheckpointError where `config.init` does not fit.
        """
        start, lora = _load_init(config)
        vocabulary = start.pop(SPIECE).numpy().tobytes() if start else train_vocabulary()
        tokens, semantics = Tokens(vocabulary), PixelEncoder()
        dit = SamaDiT(replace(shapes_dit_config(semantics.width), **sizes), dtype=torch.float32)
        text_encoder = Umt5Encoder(shapes_text_sizes(tokens.pieces.get_piece_size()))
        init_weights(nn.ModuleList([dit, text_encoder]), stream(config.seed, "weights"))
        if config.start == "copy":
            copy_start(dit)
        if start:
            load_state_dict_report(
                nn.ModuleDict({"dit": dit, "text_encoder": text_encoder}), start
            ).raise_if_bad()
        path = Path(config.vae) if config.vae else embedded.VAE
        vae = load_wan_vae(load_file(path)).eval()
        vae.skip_idle()
        device = training_device()
        encoder = ShapesEncoder(vae.to(device), semantics.to(device), tokens, config.text_length)
        data = ShapesData(config, encoder, identity(path, vocabulary))
        trainee = ShapesTrainee(dit, text_encoder, config, data.teacher_width)
        if lora:
            start_from(dit, lora, config)
        return cls(config, trainee, data, vocabulary)

    @property
    def objective(self) -> ShapesObjective:
        """See `Run`."""
        trainee = self.trainee
        return ShapesObjective(self.config, trainee.reader, self.channel_weights, trainee.aligner)

    @property
    def channel_weights(self) -> Tensor | None:
        """(16,) weights of the velocity's channels, measured here; None where all count alike."""
        config, encoder = self.config, self.data.encoder
        if not config.pixel_weight:
            return None
        generator = generator_for(config.seed, "train", 0)
        scenes = sample_scenes(generator, PROBED_CLIPS, config.frames, movement=config.movement)
        clips = render(scenes, config.frames, config.height, config.width).to(encoder.device)
        return channel_weights(encoder.space, encoder.latents(clips), config.pixel_weight)

    @property
    def digests(self) -> dict[str, str]:
        """See `Run`: the weights below a LoRA, where it begins with a file."""
        config = self.config
        if not config.lora_rank or config.init == EMBEDDED:
            return {}
        return {"model": digest_ends(_base_of(config))}

    def validation(self) -> Validation | None:
        """See `Run`."""
        config = self.config
        if config.validation is None:
            return None
        held = HeldOutPairs(config, self.data.encoder, self.data.tag)
        return Validation(config.validation, held, config.seed, Path(config.output))

    def write(
        self, averaged: dict[str, Tensor], steps: int, folder: Path | None = None
    ) -> list[Path]:
        """Weights to continue from (float32), the loaders' files (float16), or the LoRA alone
        (float32); returns the paths.
        """
        folder = folder or Path(self.config.output)
        if self.config.lora_rank:
            return [write_lora(folder, averaged, self.config, _base_of(self.config), steps)]
        spiece = torch.frombuffer(bytearray(self.vocabulary), dtype=torch.uint8)
        dit, text = (_without(prefix, averaged) for prefix in ("dit.", "text_encoder."))
        facts = provenance(self.config, steps)
        info = metadata(
            self.trainee.dit.config, "SAMA-Shapes", self.config.height * self.config.width, **facts
        )
        write_safetensors(
            folder / WEIGHTS,
            {**_with("dit.", averaged), **_with("text_encoder.", averaged), SPIECE: spiece},
        )
        write_weights(folder / embedded.DIT.name, dit, info, torch.float16)
        write_safetensors(
            folder / embedded.TEXT_ENCODER.name,
            {**{name: value.half() for name, value in text.items()}, SPIECE: spiece},
            {"format": "pt", "modelspec.title": "SAMA-Shapes text encoder (umT5 layout)"},
        )
        return [folder / name for name in (WEIGHTS, embedded.DIT.name, embedded.TEXT_ENCODER.name)]


def _base_of(config: ShapesConfig) -> Path:
    """The file of the weights that a LoRA lies over."""
    init = Path(config.init)
    return embedded.DIT if config.init == EMBEDDED or is_lora(init) else init


def _load_init(config: ShapesConfig) -> tuple[dict[str, Tensor], Path | None]:
    """The weights to begin with, none for new ones, and the LoRA file to go on from over them."""
    if not config.init:
        return {}, None
    path = Path(config.init)
    if config.lora_rank and is_lora(path):
        return load_start(Path(EMBEDDED)), path
    return load_start(path), None


def load_start(path: Path) -> dict[str, Tensor]:
    """An earlier stage's `weights.safetensors`; "embedded" starts from the pack's own."""
    try:
        if str(path) == EMBEDDED:
            text, dit = load_file(embedded.TEXT_ENCODER), load_file(embedded.DIT)
            parts = {
                f"text_encoder.{name}": value.float()
                for name, value in text.items()
                if name != SPIECE
            }
            return {
                **parts,
                **{f"dit.{name}": value.float() for name, value in dit.items()},
                SPIECE: text[SPIECE],
            }
        weights = load_file(path)
        return weights if SPIECE in weights else _refuse(path, "no vocabulary")
    except (OSError, KeyError) as broken:
        return _refuse(path, str(broken), broken)


def _refuse(path: Path, got: str, cause: Exception | None = None) -> dict[str, Tensor]:
    raise CheckpointError(
        needed(
            f"init {path.name}",
            got,
            f'a {WEIGHTS} of an earlier stage, or "embedded"',
            "Set init in the recipe.",
        )
    ) from cause


def training_device() -> torch.device:
    """This process's accelerator, else the CPU."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return torch.device("cpu")
    return torch.device(device.type, int(os.environ.get("LOCAL_RANK", "0")))


def identity(vae: Path, vocabulary: bytes) -> str:
    """What encoded samples depend on beside the settings."""
    return hashlib.sha256(vae.read_bytes() + vocabulary).hexdigest()[:16]


def _with(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def _without(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in _with(prefix, weights).items()}
