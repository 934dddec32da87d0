"""umT5 files: the official names as ComfyUI's, the sizes, and what other encoders are called."""

import re
from dataclasses import asdict

import pytest
import torch

from sama_core.encoders.umt5_layout import (
    Umt5Sizes,
    comfy_name,
    find_tokenizer,
    is_official,
    official_to_comfy,
)
from sama_core.errors import CheckpointError

TOKENIZER = b"sentencepiece bytes"
OFFICIAL = "models_t5_umt5-small-enc.pth"


@pytest.fixture
def official(golden, tmp_path):
    """The golden umT5 under its official names, and the path of its file beside a tokenizer."""
    (tmp_path / "spiece.model").write_bytes(TOKENIZER)
    return golden("t5_small").state_dict(), tmp_path / OFFICIAL


@pytest.fixture
def comfy(official):
    """The same weights under ComfyUI's names."""
    return official_to_comfy(*official)


@pytest.mark.parametrize(
    ("name", "comfys"),
    [
        ("token_embedding.weight", "shared.weight"),
        ("norm.weight", "encoder.final_layer_norm.weight"),
        ("blocks.23.attn.o.weight", "encoder.block.23.layer.0.SelfAttention.o.weight"),
        (
            "blocks.0.pos_embedding.embedding.weight",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        ("blocks.1.norm1.weight", "encoder.block.1.layer.0.layer_norm.weight"),
        ("blocks.1.norm2.weight", "encoder.block.1.layer.1.layer_norm.weight"),
        ("blocks.2.ffn.gate.0.weight", "encoder.block.2.layer.1.DenseReluDense.wi_0.weight"),
        ("blocks.2.ffn.fc1.weight", "encoder.block.2.layer.1.DenseReluDense.wi_1.weight"),
        ("blocks.2.ffn.fc2.weight", "encoder.block.2.layer.1.DenseReluDense.wo.weight"),
        ("blocks.2.ffn.fc3.weight", None),
        ("pos_embedding.embedding.weight", None),
        ("text.blocks.0.norm1.weight", None),
    ],
)
def test_names(name, comfys):
    assert comfy_name(name) == comfys


def test_every_official_tensor_keeps_its_values(official, comfy):
    weights = official[0]
    assert len(comfy) == len(weights) + 1 == 33
    assert all(torch.equal(comfy[comfy_name(name)], value) for name, value in weights.items())
    assert bytes(comfy["spiece_model"].numpy()) == TOKENIZER


def test_only_official_names_are_official(official, comfy):
    assert is_official(official[0]) and not is_official(comfy)


def test_sizes_are_the_manifests(golden, comfy):
    config = golden("t5_small").manifest["parameters"]["config"]
    sizes = Umt5Sizes.from_state_dict(comfy, "umt5.safetensors")
    assert asdict(sizes) == {
        "vocab_size": 300,
        "d_model": 32,
        "d_ff": 64,
        "d_kv": 8,
        "num_heads": 4,
        "num_layers": 3,
    }
    assert (
        sizes.vocab_size,
        sizes.d_model,
        sizes.d_ff,
        sizes.d_kv * sizes.num_heads,
        sizes.num_layers,
    ) == tuple(config[name] for name in ("vocab", "dim", "dim_ffn", "dim_attn", "num_layers"))
    assert (
        sizes.config().items()
        >= {
            "model_type": "umt5",
            "d_kv": 8,
            "relative_attention_num_buckets": 32,
            "dense_act_fn": "gelu_pytorch_tanh",
            "is_gated_act": True,
        }.items()
    )


def test_tokenizer_is_also_found_in_the_releases_own_folder(tmp_path):
    place = tmp_path / "google" / "umt5-xxl"
    place.mkdir(parents=True)
    (place / "spiece.model").write_bytes(TOKENIZER)
    assert bytes(find_tokenizer(tmp_path / OFFICIAL).numpy()) == TOKENIZER


def test_without_a_tokenizer_it_says_where_to_put_one(official, tmp_path):
    (tmp_path / "spiece.model").unlink()
    with pytest.raises(
        CheckpointError,
        match=f"{OFFICIAL}: got no tokenizer beside it, needs spiece.model in "
        f"{tmp_path.name}/. Take google/umt5-xxl/spiece.model from",
    ):
        official_to_comfy(*official)


def test_strange_tensors_are_named(official):
    weights, path = official
    with pytest.raises(
        CheckpointError, match=r"got unknown tensors \(decoder.norm.weight\), needs umT5's .* again"
    ):
        official_to_comfy({**weights, "decoder.norm.weight": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("text_model.encoder.layers.0.self_attn.q_proj.weight", "a CLIP text encoder"),
        ("model.layers.0.self_attn.q_proj.weight", "a language model"),
        ("decoder.middle.0.residual.0.gamma", "a Wan VAE"),
        ("head.modulation", "a Wan diffusion model"),
        ("something.else", "another kind of file"),
    ],
)
def test_other_models_are_named(key, kind):
    with pytest.raises(
        CheckpointError, match=f"clip.safetensors: got {kind}, needs umT5, .* Choose umt5_xxl"
    ):
        Umt5Sizes.from_state_dict({key: torch.zeros(1)}, "clip.safetensors")


def test_an_ordinary_t5_is_named(comfy):
    """T5-XXL (Flux, SD3) has one table of relative positions, umT5 one in each block."""
    t5 = {
        name: value
        for name, value in comfy.items()
        if not re.search(r"block\.[12].*relative_attention", name)
    }
    with pytest.raises(
        CheckpointError, match=r"t5xxl.safetensors: got a T5 encoder \(Flux, SD3\), needs umT5"
    ):
        Umt5Sizes.from_state_dict(t5, "t5xxl.safetensors")


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        (
            "spiece_model",
            "got no tokenizer inside, needs umT5 weights with their spiece_model. Choose",
        ),
        (
            "encoder.block.0.layer.0.SelfAttention.q.weight",
            "got umT5 weights without .*q.weight.*Download the file again",
        ),
        (
            "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
            "got umT5 weights without .*wi_0.weight",
        ),
        ("shared.weight", "got another kind of file, needs umT5"),
    ],
)
def test_incomplete_files_are_refused(comfy, absent, message):
    del comfy[absent]
    with pytest.raises(CheckpointError, match=f"umt5.safetensors: {message}"):
        Umt5Sizes.from_state_dict(comfy, "umt5.safetensors")
