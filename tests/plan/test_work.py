"""Plans: operations and weights, counted against torch itself and against the released model's figures."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sama_core import embedded
from sama_core.convert.formats import is_matrix
from sama_core.convert.job import convert
from sama_core.errors import CheckpointError
from sama_core.geometry import ClipShape
from sama_core.model.dit import SamaDiT
from sama_core.model.memory_law import TEXT_ROWS, sequence_tokens
from sama_core.plan.read_model import read_model
from sama_core.plan.request import forward_flops
from sama_core.plan.weight_bytes import (
    FLOAT32_MODULES,
    RELEASED,
    RELEASED_CONFIG,
    SMALLER_FORMATS,
    StoredTensor,
    count,
    exact_in_gguf,
)
from sama_core.weights.checkpoint import model_shapes
from sama_core.weights.names import SAMA_KEYS
from sama_core.weights.write import write_safetensors

from ..harness.untrained import DIT, diffusion_model

GIB = 2**30
# frames, width, height: tokens, PFLOP, share of attention; and PFLOP as an earlier study of ours counted them.
POINTS = [
    ((81, 832, 480), 65_585, 5_121_446_574_325_760, 0.688, 5.37),
    ((49, 832, 480), 40_625, 2_342_520_525_455_360, 0.577, 2.49),
    ((81, 640, 384), 40_385, 2_320_754_604_277_760, 0.576, 2.47),
    ((33, 832, 480), 28_145, 1_335_829_684_060_160, 0.486, 1.44),
    ((81, 1280, 720), 151_265, 22_426_361_801_768_960, 0.836, 23.0),
]


def latent(frames: int, width: int, height: int):
    return ClipShape(frames, height, width).latent()


# --- operations --------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip", "tokens", "total", "attention", "_study"), POINTS)
def test_work_of_the_released_model(clip, tokens, total, attention, _study):
    found = forward_flops(RELEASED_CONFIG, latent(*clip))
    assert sequence_tokens(RELEASED_CONFIG, latent(*clip)) == tokens
    assert found.total == total
    assert found.attention_share == pytest.approx(attention, abs=5e-4)


@pytest.mark.parametrize(("clip", "tokens", "total", "_attention", "study"), POINTS)
def test_the_earlier_study_took_the_texts_keys_and_values_for_every_token(
    clip, tokens, total, _attention, study
):
    """It left attention to the text out, and had k and v of the text computed for all tokens instead of 512."""
    width, layers = RELEASED_CONFIG.dim, RELEASED_CONFIG.num_layers
    theirs = total + layers * (4 * (tokens - TEXT_ROWS) * width**2 - 4 * tokens * TEXT_ROWS * width)
    assert f"{theirs / 1e15:.3g}" == f"{study:g}"


@pytest.mark.parametrize("source", [True, False])
def test_work_is_what_torch_counts(source):
    """Two of the forty blocks, on the meta device, 33 frames of 832x480."""
    config, size = dataclasses.replace(RELEASED_CONFIG, num_layers=2), latent(33, 832, 480)
    model = SamaDiT(config, device="meta", dtype=torch.bfloat16)

    def empty(*shape):
        return torch.empty(shape, device="meta", dtype=torch.bfloat16)

    video = (1, 16, size.frames, size.height, size.width)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(
            empty(*video),
            torch.empty(1, device="meta"),
            empty(1, 512, 4096),
            empty(*video) if source else None,
            empty(1, 65, 1152),
        )
    assert counter.get_total_flops() == pytest.approx(
        forward_flops(config, size, source).total, rel=2e-3
    )


# --- weights -----------------------------------------------------------------------------------


def test_the_released_models_counts_follow_from_its_shapes():
    sizes = {
        name: torch.Size(shape).numel() for name, shape in model_shapes(RELEASED_CONFIG).items()
    }
    assert sum(sizes.values()) == RELEASED.parameters
    assert (
        max(size for name, size in sizes.items() if name.startswith("blocks."))
        == RELEASED.largest
        == 70_778_880
    )
    assert (
        sum(size for name, size in sizes.items() if name.startswith(FLOAT32_MODULES))
        == RELEASED.float32
    )
    matrices = sum(size for name, size in sizes.items() if is_matrix(name))
    exact = sum(size for name, size in sizes.items() if exact_in_gguf(name))
    assert (RELEASED.matrices, RELEASED.rest) == (matrices, 2 * (RELEASED.parameters - matrices))
    assert RELEASED.gguf_rest == RELEASED.rest + 2 * exact
    assert RELEASED.stored - 2 * RELEASED.parameters == 114_672  # the file's header


@pytest.mark.parametrize(
    ("storage", "compute", "expected"),
    [
        ("default", 2, 28_627_072_640),
        ("default", 4, 57_203_390_208),
        ("fp8_e4m3fn", 2, 14_338_913_856),
        ("fp8_e4m3fn_fast", 2, 14_338_913_856),
        ("fp8_e5m2", 4, 14_338_913_856),
    ],
)
def test_released_weights_in_memory(storage, compute, expected):
    assert RELEASED.memory_bytes(storage, compute) == expected


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("fp8", 13.551),
        ("GGUF Q8_0", 14.402),
        ("GGUF Q5_1", 10.313),
        ("GGUF Q5_0", 9.495),
        ("GGUF Q4_1", 8.677),
        ("GGUF Q4_0", 7.859),
    ],
)
def test_smaller_files_of_the_released_model(name, gib):
    """As `convert` writes them: only the blocks' matrices shrink."""
    assert RELEASED.as_format(name, dict(SMALLER_FORMATS)[name]).stored / GIB == pytest.approx(
        gib, abs=0.001
    )


@pytest.mark.parametrize(
    ("name", "of_convert"),
    [("fp8", "fp8_scaled"), ("GGUF Q8_0", "gguf_q8_0"), ("GGUF Q4_1", "gguf_q4_1")],
)
def test_planned_sizes_are_those_of_converted_files(tmp_path, name, of_convert):
    """But for the header and each matrix's scale: under 150 KB here."""
    _, weights, _ = read_model(embedded.DIT)
    made = convert(
        embedded.DIT,
        tmp_path / f"small.{'gguf' if 'gguf' in of_convert else 'safetensors'}",
        of_convert,
    )
    planned = weights.as_format(name, dict(SMALLER_FORMATS)[name]).stored
    assert 0 < made.target.stat().st_size - planned < 150_000
    config, _, area = read_model(made.target)
    assert (config.num_heads, area) == (2, 64 * 64)


def header(dtype: str, count_of_each: int = 1000) -> list[StoredTensor]:
    return [
        StoredTensor("blocks.0.ffn.0.weight", dtype, 3 * count_of_each, 3 * count_of_each),
        StoredTensor("blocks.0.norm3.bias", "F32", 10, 40),
        StoredTensor("patch_embedding.weight", "F32", 8, 32),
    ]


@pytest.mark.parametrize(
    ("dtype", "extra", "form", "loaded"),
    [
        ("F8_E4M3", [], "fp8", 3010 + 32),
        (
            "F8_E4M3",
            [StoredTensor("blocks.0.ffn.0.scale_weight", "F32", 1, 4)],
            "fp8",
            3000 + 40 + 32 + 4,
        ),
        (
            "U8",
            [StoredTensor("blocks.0.ffn.0.comfy_quant", "U8", 30, 30)],
            "U8",
            3000 + 40 + 32 + 30,
        ),
        ("BF16", [], "bfloat16", 2 * 3010 + 32),
        ("F32", [], "float32", 2 * 3010 + 32),
        ("Q8_0", [], "Q8_0", 3000 + 40 + 32),
    ],
)
def test_what_a_header_says(dtype, extra, form, loaded):
    """Plain files take the size core computes in; packed ones stay as they are."""
    found = count("file", header(dtype) + extra)
    assert (found.format, found.parameters, found.largest, found.float32) == (form, 3018, 3000, 8)
    assert found.memory_bytes("default", 2) == loaded


def test_later_files_replace_tensors_of_earlier_ones():
    assert count("file", [*header("F32"), *header("BF16")]).parameters == 3018


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


def write_gguf(path, tensors):
    import gguf

    writer = gguf.GGUFWriter(path, "wan")
    for name, tensor in tensors.items():
        value = tensor.numpy()
        if value.ndim == 2 and value.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(value, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
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
