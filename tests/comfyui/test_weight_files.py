"""One model from every file format; the semantic modules stay in high precision."""

import json

import pytest
import torch

from ..harness.golden import assert_close, distance
from .model_files import heads_are_float32, kind, linear_names, scaled_fp8, weights, write


@pytest.mark.parametrize(
    ("dtype", "stored", "limit"),
    [("fp8_e4m3fn", torch.float8_e4m3fn, 0.1), ("fp8_e5m2", torch.float8_e5m2, 0.2)],
)
def test_fp8_storage(edit, sampled, dtype, stored, limit):
    edit.nodes[edit.model[0]]["inputs"]["weight_dtype"] = dtype
    patcher = edit.values(edit.model)
    assert patcher.model.diffusion_model.blocks[0].ffn[0].weight.dtype == stored
    assert heads_are_float32(patcher)
    error = distance(edit.sample()["video"], sampled["video"])[0]
    assert 1e-4 < error < limit


@pytest.mark.parametrize("prefixed", [False, True])
def test_scaled_fp8_file(comfyui, edit, small, sampled, prefixed):
    """The `scaled_fp8` format of ComfyUI's repackaged models."""
    full = scaled_fp8(weights(comfyui, small))
    if prefixed:
        full = {f"model.diffusion_model.{key}": value for key, value in full.items()}
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = write(
        comfyui, f"scaled_{prefixed}.safetensors", full
    )
    patcher = edit.values(edit.model)
    assert type(patcher.model).__name__ == "SamaModel"
    assert heads_are_float32(patcher)
    assert 1e-4 < distance(edit.sample()["video"], sampled["video"])[0] < 0.1


def test_comfy_quant_file(comfyui, edit, small, sampled):
    """The current format: a `.comfy_quant` entry per layer."""
    full = weights(comfyui, small)
    entry = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    for key in linear_names(full):
        layer = key.removesuffix(".weight")
        scale = full[key].abs().max() / 448
        full |= {
            f"{layer}.comfy_quant": entry.clone(),
            f"{layer}.weight_scale": scale,
            key: (full[key] / scale).to(torch.float8_e4m3fn),
        }
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = write(comfyui, "quant.safetensors", full)
    assert heads_are_float32(edit.values(edit.model))
    assert 1e-4 < distance(edit.sample()["video"], sampled["video"])[0] < 0.1


def test_bf16_file(comfyui, edit, small, sampled):
    """A bfloat16 file, as SAMA is released, is not run in float16."""
    full = {key: value.bfloat16() for key, value in weights(comfyui, small).items()}
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = write(comfyui, "bf16.safetensors", full)
    patcher = edit.values(edit.model)
    assert torch.float16 not in {
        value.dtype for value in patcher.model.diffusion_model.parameters()
    }
    assert distance(edit.sample()["video"], sampled["video"])[0] < 0.05


def test_save_and_reload(comfyui, edit, sampled):
    """ModelSave's file loads as SAMA again, through our loader, the stock loader, and gives the
    same edit.
    """
    edit.add("ModelSave", model=edit.model, filename_prefix="diffusion_models/saved")
    comfyui.run(edit.nodes).check()
    saved = next((comfyui.base / "output" / "diffusion_models").glob("saved_*.safetensors"))
    saved.rename(comfyui.models("diffusion_models") / "saved.safetensors")
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = "saved.safetensors"
    assert torch.equal(edit.sample()["video"], sampled["video"])
    stock = edit.add("UNETLoader", unet_name="saved.safetensors", weight_dtype="default")
    assert kind(edit, stock) == "SamaModel"


def test_checkpoint_loader_recognises_a_saved_checkpoint(comfyui, edit, small):
    """The prefixed names of a checkpoint (model + VAE + encoder in one) are SAMA, not Wan."""
    import comfy.model_detection

    prefixed = {
        f"model.diffusion_model.{key}": value for key, value in weights(comfyui, small).items()
    }
    config = comfy.model_detection.model_config_from_unet(prefixed, "model.diffusion_model.")
    assert type(config).__name__ == "SamaConfig"


def test_merging_two_models(edit, sampled):
    """ModelMergeSimple of a model with itself is the model."""
    edit.model = edit.add("ModelMergeSimple", model1=edit.model, model2=edit.model, ratio=0.5)
    assert_close(edit.sample()["video"], sampled["video"], rel_l2=1e-5)


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (OSError("The paging file is too small (os error 1455)"), "cannot be read (The paging"),
        (OSError(1455, "The paging file is too small"), "cannot be read (The paging file"),
        (ValueError("HeaderTooLarge"), "no readable weights (ValueError)"),
    ],
)
def test_what_the_system_refuses_is_no_damaged_file(comfyui, small, monkeypatch, failed, said):
    import safetensors

    from sama_core.comfyui.weight_files import read_weights
    from sama_core.errors import CheckpointError

    def refuse(*_given, **_named):
        raise failed

    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(CheckpointError) as refused:
        read_weights(str(comfyui.models("vae") / small.vae))
    assert said in str(refused.value)
    assert ("Download it again" in str(refused.value)) == isinstance(failed, ValueError)


def test_too_little_memory_is_no_damaged_file(comfyui, small, monkeypatch):
    import comfy.utils

    from sama_core.comfyui.weight_files import read_weights

    def fail(*_given, **_named):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 8388608 bytes")

    monkeypatch.setattr(comfy.utils, "load_torch_file", fail)
    with pytest.raises(RuntimeError, match="can't allocate"):
        read_weights(str(comfyui.models("vae") / small.vae))
