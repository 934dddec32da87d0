"""What a plan reads of a model file: safetensors, GGUF, deltas, and files that are no models."""

import pytest
import torch

from sama_core import embedded
from sama_core.errors import CheckpointError
from sama_core.plan.read_model import read_model
from sama_core.weights.names import SAMA_KEYS
from sama_core.weights.write import write_safetensors

from ..harness.untrained import DIT, diffusion_model


def test_model_file_is_read_by_its_header():
    config, weights, area = read_model(embedded.DIT)
    assert area == 64 * 64
    assert (config.dim, config.num_layers, config.num_heads) == (256, 6, 2)
    assert (weights.name, weights.format, weights.parameters) == (
        "sama_shapes.safetensors",
        "float16",
        7_041_616,
    )
    assert weights.memory_bytes("default", 4) == 4 * 7_041_616


def test_gguf_file_is_read_by_its_header(tmp_path):
    path = write_gguf(tmp_path / "sama.gguf", diffusion_model(torch.Generator().manual_seed(0)))
    config, weights, area = read_model(path)
    assert config == DIT and area is None
    assert weights.format == "Q8_0" and weights.quantised
    assert weights.parameters == 2_211_344
    assert 34 * weights.parameters // 32 < weights.stored < path.stat().st_size


@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_gguf_file_in_16_bit_is_planned_as_gguf(tmp_path, kind):
    """Its loader has no weight_dtype and no dynamic VRAM."""
    whole = diffusion_model(torch.Generator().manual_seed(0))
    weights = read_model(write_gguf(tmp_path / "sama.gguf", whole, kind)).weights
    assert weights.gguf and weights.memory_bytes("fp8_e4m3fn", 2) == weights.stored


def test_delta_with_its_base(tmp_path):
    whole = diffusion_model(torch.Generator().manual_seed(0))
    base = {key: value for key, value in whole.items() if key not in SAMA_KEYS}
    delta = {key: value.bfloat16() for key, value in whole.items() if key in SAMA_KEYS}
    write_safetensors(tmp_path / "base.safetensors", base)
    write_safetensors(
        tmp_path / "delta.safetensors", delta, {"config": '{"transformer": {"num_heads": 2}}'}
    )
    config, weights, _ = read_model(tmp_path / "delta.safetensors", tmp_path / "base.safetensors")
    assert config == DIT
    assert weights.parameters == 2_211_344
    with pytest.raises(CheckpointError, match="a SAMA delta without the base model"):
        read_model(tmp_path / "delta.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.safetensors", None, "no such file"),
        ("absent.gguf", None, "no such file"),
        ("text.safetensors", b"no weights at all", "no readable safetensors header"),
        ("text.gguf", b"no weights at all", "no readable GGUF header"),
    ],
)
def test_files_that_are_no_models(tmp_path, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint):
        read_model(tmp_path / name)


def test_gguf_of_a_plain_wan(tmp_path):
    whole = diffusion_model(torch.Generator().manual_seed(0))
    path = write_gguf(
        tmp_path / "wan.gguf", {key: value for key, value in whole.items() if key not in SAMA_KEYS}
    )
    with pytest.raises(CheckpointError, match="no tensor 'semantic_head.proj.bias'"):
        read_model(path)


def test_vae_instead_of_a_model():
    with pytest.raises(CheckpointError, match="a file of another model"):
        read_model(embedded.VAE)


def write_gguf(path, tensors, kind="Q8_0"):
    import gguf

    writer = gguf.GGUFWriter(path, "wan")
    for name, tensor in tensors.items():
        value = tensor.numpy()
        if value.ndim == 2 and value.shape[1] % 32 == 0:
            stored = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(name, gguf.quants.quantize(value, stored), raw_dtype=stored)
        elif value.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(value.shape))
            writer.add_tensor(name, value.reshape(value.shape[0], -1))
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
