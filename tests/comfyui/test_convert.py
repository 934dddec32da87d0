"""Converted files: the node makes them, the real loaders take them, the edit stays near."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ..convert.convert_files import base_and_delta, gguf_values
from ..harness.golden import distance
from .model_files import heads_are_float32, weights, write

# Distance of the small model's edit from the unquantised one's: float8 has 3 bits of mantissa; then
# 8, 5 and 4 bits.
LIMITS = {
    "fp8_scaled": 0.1,
    "fp8": 0.1,
    "fp8_fast": 0.1,
    "gguf_q8_0": 0.02,
    "gguf_q5_1": 0.12,
    "gguf_q5_0": 0.12,
    "gguf_q4_1": 0.25,
    "gguf_q4_0": 0.25,
}


def convert(comfyui, model: str, name: str, **inputs):
    """A run of the node alone."""
    node = {"model_name": model, "format": name, "file_name": "", **inputs}
    return comfyui.run({"1": {"class_type": "SAMAConvertWeights", "inputs": node}}, keep=["1"])


def folder(comfyui) -> Path:
    return comfyui.models("diffusion_models")


@pytest.mark.parametrize("name", ["fp8_scaled", "fp8", "fp8_fast"])
def test_float8_files_load_and_edit(comfyui, edit, small, sampled, name):
    """Through Load SAMA Model into core's mixed precision layers."""
    from comfy.quant_ops import QuantizedTensor

    report = convert(comfyui, small.sama, name).check().values["1"][0]
    file = f"sama_untrained_{name}.safetensors"
    assert report.startswith(f"{file}: ") and report.endswith(str(folder(comfyui) / file))
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = file
    patcher = edit.values(edit.model)
    linear = patcher.model.diffusion_model.blocks[0].ffn[0]
    assert isinstance(linear.weight, QuantizedTensor) and linear.quant_format == "float8_e4m3fn"
    assert linear._full_precision_mm_config == (name != "fp8_fast")
    assert heads_are_float32(patcher)
    assert 1e-4 < distance(edit.sample()["video"], sampled["video"])[0] < LIMITS[name]


def test_float8_numbers_are_cores_own(comfyui, small):
    """Bit for bit what ComfyUI's own layout makes of the float32 weights, scale included."""
    from comfy.quant_ops import TensorCoreFP8E4M3Layout

    from sama_core.convert.layouts import fp8_scale, to_fp8

    for name, weight in weights(comfyui, small).items():
        if name.startswith("blocks.") and weight.ndim == 2:
            expected, params = TensorCoreFP8E4M3Layout.quantize(weight, scale="recalculate")
            scale = fp8_scale([weight])
            assert torch.equal(scale, params.scale), name
            assert torch.equal(
                to_fp8(weight, scale).view(torch.uint8), expected.view(torch.uint8)
            ), name


@pytest.mark.parametrize("name", ["gguf_q8_0", "gguf_q5_1", "gguf_q5_0", "gguf_q4_1", "gguf_q4_0"])
def test_gguf_files_hold_the_model(comfyui, edit, small, sampled, name):
    """Dequantised by the library and loaded by core.

    The GGUF pack's own loader is in benchmarks/quant_error.py.
    """
    convert(comfyui, small.sama, name).check()
    ggml = name.removeprefix("gguf_").upper()
    values = gguf_values(folder(comfyui) / f"sama_untrained_{ggml}.gguf")
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = write(
        comfyui, f"dequantised_{ggml}.safetensors", values
    )
    assert LIMITS[name] / 20 < distance(edit.sample()["video"], sampled["video"])[0] < LIMITS[name]


def test_base_and_delta(comfyui, edit, small, sampled):
    """Two float32 shards and a delta become one fp8 file."""
    full = weights(comfyui, small)
    base_and_delta(folder(comfyui), full, "blocks.0.ffn.0.weight")
    result = convert(
        comfyui,
        "delta.safetensors",
        "fp8",
        base_model="wan-00002-of-00002.safetensors",
        file_name="base_and_delta",
    )
    result.check()
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = "base_and_delta.safetensors"
    assert distance(edit.sample()["video"], sampled["video"])[0] < LIMITS["fp8"]


def test_settings_go_along(comfyui, edit, small):
    """Head count and area of the source's metadata are the loaded model's."""
    settings = {"transformer": {"num_heads": 4, "semantic_tokens": 65, "area": 9216}}
    file = write(
        comfyui, "four_heads.safetensors", weights(comfyui, small), {"config": json.dumps(settings)}
    )
    convert(comfyui, file, "fp8").check()
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = "four_heads_fp8.safetensors"
    model = edit.values(edit.model).model
    assert (model.dit_config.num_heads, model.area) == (4, 9216)


def test_the_new_file_is_in_the_lists(comfyui, small):
    import folder_paths

    assert "listed_anew.safetensors" not in folder_paths.get_filename_list("diffusion_models")
    result = convert(comfyui, small.sama, "fp8", file_name="listed_anew").check()
    assert "listed_anew.safetensors" in folder_paths.get_filename_list("diffusion_models")
    assert result.outputs["1"]["text"] == [result.values["1"][0]]


def test_interrupted_and_queued_again(comfyui, small):
    comfyui.interrupt_after(20)
    result = convert(comfyui, small.sama, "fp8", file_name="interrupted")
    assert result.interrupted
    assert (folder(comfyui) / ".interrupted.safetensors.part").exists()
    assert not (folder(comfyui) / "interrupted.safetensors").exists()
    again = convert(comfyui, small.sama, "fp8", file_name="interrupted").check()
    assert "were written by an interrupted run" in again.values["1"][0]
    assert again.progress[-1].value == again.progress[-1].total
    convert(comfyui, small.sama, "fp8", file_name="in_one_go").check()
    results = [
        (folder(comfyui) / f"{name}.safetensors").read_bytes()
        for name in ("interrupted", "in_one_go")
    ]
    assert results[0] == results[1]


def test_queued_twice(comfyui, small):
    """The second time the file is there; another file of that name is kept."""
    convert(comfyui, small.sama, "fp8", file_name="twice").check()
    assert (
        "nothing was done"
        in convert(comfyui, small.sama, "fp8", file_name="twice").check().values["1"][0]
    )
    other = convert(comfyui, small.sama, "fp8_scaled", file_name="twice")
    assert "a file of that name, which is kept" in other.errors[0]
    convert(comfyui, small.sama, "fp8_scaled", file_name="twice", overwrite=True).check()


def test_no_graph_writes_over_a_model(comfyui, small):
    """Every listed model under its own name, with `overwrite` set; a shared workflow could hold
    just that.
    """

    def contents():
        return {path: path.read_bytes() for path in folder(comfyui).iterdir()}

    import folder_paths

    convert(comfyui, small.sama, "fp8", file_name="ours").check()
    save_file({"a": torch.zeros(4)}, folder(comfyui) / "of_the_artist.safetensors")
    folder_paths.filename_list_cache.clear()
    listed = [
        name
        for name in folder_paths.get_filename_list("diffusion_models")
        if not name.startswith("ours")
    ]
    foreign = [
        name
        for name in listed
        if (folder(comfyui) / name).is_file()
        and b"sama.converted" not in (folder(comfyui) / name).read_bytes()
    ]
    before = contents()
    assert small.sama in foreign and "of_the_artist.safetensors" in foreign
    for name in foreign:
        for file_name in (name, name.removesuffix(".safetensors")):
            result = convert(comfyui, small.sama, "fp8_scaled", file_name=file_name, overwrite=True)
            assert any(
                word in result.errors[0]
                for word in ("which is kept", "the source itself", "the ending")
            )
    assert contents() == before


@pytest.mark.parametrize("name", ["../out", "sub/out", "..", "a\\b"])
def test_names_stay_in_the_folder(comfyui, small, name):
    assert "needs a plain name" in convert(comfyui, small.sama, "fp8", file_name=name).errors[0]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("wan_small.safetensors", "a plain Wan model"),
        ("a_lora.safetensors", "got a LoRA"),
        ("cut.safetensors", "truncated or damaged"),
        ("absent.safetensors", "is not in models/diffusion_models"),
    ],
)
def test_wrong_sources(comfyui, small, file, words):
    lora = {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 8)}
    save_file(lora, folder(comfyui) / "a_lora.safetensors")
    (folder(comfyui) / "cut.safetensors").write_bytes(
        (folder(comfyui) / small.sama).read_bytes()[:-100]
    )
    result = convert(comfyui, file, "fp8", file_name="never")
    assert words in result.errors[0] and not (folder(comfyui) / "never.safetensors").exists()
