"""A small SAMA with random weights: every part of the real one, none of its skill.

It lets tests run the whole path, from the loaders to the saved video, on weights that no training
changes. The pictures it makes are noise. The three files have the real files' layouts, so the
ordinary loaders take them: the DiT with all 11 SAMA tensors and head size 128, umT5 with a
tokenizer inside, and the Wan 2.1 VAE at reduced width.
"""

import io
import json
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.random_models import random_weights
from sama_core import embedded
from sama_core.encoders.umt5_layout import Umt5Sizes
from sama_core.encoders.vae_layout import vae_shapes
from sama_core.model.config import DitConfig
from sama_core.shapes.gate.core_editor import ModelFiles
from sama_core.weights.checkpoint import model_shapes
from sama_core.weights.write import write_safetensors

AREA = 128 * 128
DIT = DitConfig(
    dim=256,
    num_heads=2,
    ffn_dim=512,
    num_layers=2,
    text_dim=64,
    freq_dim=64,
    in_dim=16,
    out_dim=16,
    semantic_dim=48,
    semantic_hidden=64,
)
TEXT = Umt5Sizes(vocab_size=352, d_model=64, d_ff=128, d_kv=16, num_heads=4, num_layers=2)
VAE_WIDTH = 8
FILES = {
    "diffusion_models": "sama_untrained.safetensors",
    "text_encoders": "sama_untrained_umt5.safetensors",
    "vae": "sama_untrained_vae.safetensors",
}

# Enough plain English for a 352-piece vocabulary; the tokenizer falls back to bytes for the rest.
_CORPUS = (
    (
        "Replace the seal with a crab. Replace the red circle with a blue square. Remove the "
        "person on the left."
    ),
    (
        "Make the circle red. Make the car green and the sky orange. Change the background to a "
        "snowy mountain."
    ),
    (
        "Add a hat to the man. Add a small yellow star above the house. Turn the video into a "
        "watercolor painting."
    ),
    (
        "Make it look like night. Delete the dog from the street. Swap the triangle for a "
        "pentagon, keep everything else."
    ),
    (
        "Put the woman in a purple dress. Change the style to a pencil sketch. Recolour the "
        "flower from pink to white."
    ),
    (
        "The quick brown fox jumps over the lazy dog. Video edit. What should change, and what "
        "should stay as it is?"
    ),
)


def write_untrained(models_dir: str | Path, seed: int = 0) -> dict[str, str]:
    """Write the three files below a ComfyUI models folder; returns file names by folder.

    Files are written under a temporary name and renamed, and hold the same tensors for the same
    seed.
    """
    parts = {"diffusion_models": diffusion_model, "text_encoders": text_encoder, "vae": vae}
    for folder, build in parts.items():
        generator = torch.Generator().manual_seed(seed)
        metadata = _metadata() if folder == "diffusion_models" else {"format": "pt"}
        write_safetensors(Path(models_dir) / folder / FILES[folder], build(generator), metadata)
    return dict(FILES)


def write_untrained_shapes(folder: Path) -> ModelFiles:
    """The untrained DiT and text encoder, and the trained VAE of SAMA-Shapes.

    An editor that edits nothing well.
    """
    names = write_untrained(folder)
    return ModelFiles(
        folder / "diffusion_models" / names["diffusion_models"],
        folder / "text_encoders" / names["text_encoders"],
        embedded.VAE,
    )


def diffusion_model(generator: torch.Generator, config: DitConfig = DIT) -> dict[str, Tensor]:
    """Random float32 weights of a SAMA DiT, scaled so that activations stay near 1."""
    return random_weights(model_shapes(config), generator)


def text_encoder(generator: torch.Generator, sizes: Umt5Sizes = TEXT) -> dict[str, Tensor]:
    """Random umT5 weights under ComfyUI's names, with a sentencepiece vocabulary inside."""
    return random_weights(sizes.shapes(), generator) | {
        "spiece_model": torch.frombuffer(bytearray(_tokenizer(sizes.vocab_size)), dtype=torch.uint8)
    }


def vae(generator: torch.Generator, width: int = VAE_WIDTH) -> dict[str, Tensor]:
    """Random weights of Wan 2.1's VAE at a base width of `width` channels (96 in the real one)."""
    return random_weights(vae_shapes(width), generator)


def _tokenizer(vocab_size: int) -> bytes:
    """A sentencepiece model of `vocab_size` pieces: pad 0, end 1, unknown 2, byte fallback."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="unigram",
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=True,
    )
    return model.getvalue()


def _metadata() -> dict[str, str]:
    settings = {
        "transformer": {
            "num_heads": DIT.num_heads,
            "semantic_tokens": DIT.semantic_tokens,
            "area": AREA,
        }
    }
    return {
        "format": "pt",
        "config": json.dumps(settings),
        "modelspec.title": "SAMA, small and untrained",
    }
