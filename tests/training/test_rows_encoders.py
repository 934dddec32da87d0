"""What training encodes is what the nodes encode, with the same files: latents and text."""

from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.encoders.umt5_layout import comfy_name
from sama_core.encoders.vae_layout import WAN_MEAN, WAN_STD
from sama_core.errors import CheckpointError
from sama_core.geometry import ClipShape
from sama_core.training.rows.data import read_row
from sama_core.training.rows.frozen_encoders import FrozenEncoders, load_text_encoder, load_vae
from sama_core.training.rows.rows import Row
from sama_core.training.semantics import PixelEncoder

from ..comfyui.graphs import CLIP_FILE, INSTRUCTION, SMALL_AREA, Edit, SmallModels
from ..harness.moving_shapes import moving_shapes
from .rows_files import models


@pytest.fixture(scope="module")
def edit(comfyui) -> Edit:
    from ..harness.untrained import write_untrained
    from ..harness.write_clip import write_clip

    names = write_untrained(comfyui.base / "models")
    write_clip(comfyui.base / "input" / CLIP_FILE, moving_shapes(9, 48, 32), Fraction(12))
    small = SmallModels(names["diffusion_models"], names["text_encoders"], names["vae"], "")
    return Edit(comfyui, small, area=SMALL_AREA)


@pytest.fixture(scope="module")
def encoders(comfyui, edit) -> FrozenEncoders:
    folder = comfyui.base / "models"
    text, tokens = load_text_encoder(folder / "text_encoders" / edit.models.text_encoder)
    return FrozenEncoders(load_vae(folder / "vae" / edit.models.vae), text, tokens, PixelEncoder())


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def test_text(edit, encoders):
    wanted = edit.values(edit.positive)[0][0][0].float()
    found = encoders.text(f"[Video edit] {INSTRUCTION}")
    assert found.shape == wanted.shape == (512, 64)
    assert relative(found, wanted) < 2e-3  # ComfyUI keeps the encoder in float16


def test_latents(comfyui, edit, encoders):
    row = Row(1, comfyui.base / "input" / CLIP_FILE, None, "x")
    frames = read_row(row, ClipShape(5, 32, 32))[1]
    wanted = edit.values(edit.source_latent)["samples"][0]
    mean, deviation = (torch.tensor(values).view(-1, 1, 1, 1) for values in (WAN_MEAN, WAN_STD))
    assert relative(encoders.latents(frames), (wanted - mean) / deviation) < 1e-4


def test_official_text_encoder_file(encoders, tmp_path):
    """The `.pth` of the Wan release, with its tokenizer beside it, gives the same embeddings."""
    weights = load_file(models() / "text_encoders" / "sama_untrained_umt5.safetensors")
    (tmp_path / "spiece.model").write_bytes(weights.pop("spiece_model").numpy().tobytes())
    official = {
        "token_embedding.weight": "shared.weight",
        "norm.weight": "encoder.final_layer_norm.weight",
    }
    for block in range(2):
        for name in (
            "attn.q",
            "attn.k",
            "attn.v",
            "attn.o",
            "norm1",
            "pos_embedding.embedding",
            "ffn.gate.0",
            "ffn.fc1",
            "ffn.fc2",
            "norm2",
        ):
            key = f"blocks.{block}.{name}.weight"
            official[key] = comfy_name(key)
    torch.save({key: weights[name] for key, name in official.items()}, tmp_path / "models_t5.pth")
    text, tokens = load_text_encoder(tmp_path / "models_t5.pth")
    found = FrozenEncoders(encoders.vae, text, tokens, encoders.semantics).text("make it red")
    assert torch.equal(found, encoders.text("make it red"))
    save_file(weights, tmp_path / "no_tokenizer.safetensors")
    with pytest.raises(CheckpointError, match="no tokenizer inside"):
        load_text_encoder(tmp_path / "no_tokenizer.safetensors")
