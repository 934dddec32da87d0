"""Bytes of weights, counted against the released model's figures and files that are converted."""

import pytest
import torch

from sama_core import embedded
from sama_core.convert.formats import is_matrix
from sama_core.convert.job import convert
from sama_core.plan.read_model import read_model
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

GIB = 2**30


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
