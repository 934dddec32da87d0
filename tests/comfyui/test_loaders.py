"""One model from every loader; wrong and damaged files are refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..harness.golden import assert_close, distance
from .model_files import kind, scaled_fp8, weights, write, write_lora


def test_stock_loader_and_prepare_node(edit, sampled):
    """Load Diffusion Model builds the same model; Prepare SAMA Model makes it sample."""
    edit.model = edit.add("UNETLoader", unet_name=edit.models.sama, weight_dtype="default")
    assert kind(edit, edit.model) == "SamaModel"
    assert torch.equal(edit.patch("SAMAPrepareModel").sample()["video"], sampled["video"])


def test_unprepared_model_says_what_to_do(edit):
    edit.model = edit.add("UNETLoader", unet_name=edit.models.sama, weight_dtype="default")
    result = edit.comfyui.run(edit.nodes, keep=[edit.ksampler()[0]])
    assert not result.ok
    assert "Put Prepare SAMA Model right after the loader" in result.errors[0]


def test_preparing_twice_is_preparing_once(edit, sampled):
    assert torch.equal(
        edit.patch("SAMAPrepareModel").patch("SAMAPrepareModel").sample()["video"], sampled["video"]
    )


def test_plain_wan_is_still_wan(edit):
    assert (
        kind(edit, edit.add("UNETLoader", unet_name=edit.models.wan, weight_dtype="default"))
        == "WAN21"
    )


def test_a_wan_model_cannot_be_prepared(edit):
    wan = edit.add("UNETLoader", unet_name=edit.models.wan, weight_dtype="default")
    result = edit.comfyui.run(edit.nodes, keep=[edit.add("SAMAPrepareModel", model=wan)[0]])
    assert "got a WAN21 model, needs a SAMA model" in result.errors[0]


def test_registered_once(comfyui):
    import comfy.supported_models

    from sama_core.comfyui.register import SamaConfig, register

    register()
    register()
    assert [model for model in comfy.supported_models.models if model.__name__ == "SamaConfig"] == [
        SamaConfig
    ]
    assert comfy.supported_models.models[0] is SamaConfig


class LateLinear(torch.nn.Module):
    """A Linear as GGUF loaders make it: no weight until the state dict brings one, dequantised at
    run time.
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.weight = self.bias = None

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in ("weight", "bias"):
            setattr(self, name, torch.nn.Parameter(state_dict[prefix + name], requires_grad=False))

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight.to(x), self.bias.to(x))

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        """What such loaders report of themselves is packed bytes, not the weight's size."""
        destination[prefix + "weight"] = self.weight.flatten()[::2]
        destination[prefix + "bias"] = self.bias


def test_custom_operations_with_late_weights(comfyui, edit, small, sampled):
    """The shape of a GGUF loader: core's loader, own operations, weights that appear late."""
    import comfy.ops
    import comfy.sd

    from sama_core.comfyui.joint_state import prepare
    from sama_core.comfyui.lora import apply_lora

    class LateOps(comfy.ops.manual_cast):
        Linear = LateLinear

    patcher = comfy.sd.load_diffusion_model_state_dict(
        weights(comfyui, small), model_options={"custom_operations": LateOps}
    )
    assert type(patcher.model).__name__ == "SamaModel"
    assert isinstance(patcher.model.diffusion_model.blocks[0].ffn[0], LateLinear)
    model = prepare(patcher)
    positive, negative, latent = (
        edit.values(link) for link in (edit.positive, edit.negative, edit.latent)
    )
    with torch.inference_mode():
        out = comfyui.node_class("KSampler")().sample(
            model, 1, 3, 5.0, "euler", "simple", positive, negative, latent
        )
    assert_close(out[0]["samples"], sampled["video"], rel_l2=1e-5)
    # LoRA layers are judged by the model's sizes, not by the packed ones.
    lora = load_file(comfyui.models("loras") / write_lora(comfyui, "official"))
    assert apply_lora(model, lora, 1.0)[1].summary() == "3 of 3 LoRA layers matched"


def test_delta_over_base_shards(comfyui, edit, small, sampled):
    """Numbered float32 Wan shards and a delta with SAMA's tensors make the full file's model."""
    from sama_core.weights.names import SAMA_KEYS

    full = weights(comfyui, small)
    base = [key for key in full if key not in SAMA_KEYS]
    for number, keys in enumerate((base[::2], base[1::2]), 1):
        write(
            comfyui, f"wan_base-{number:05d}-of-00002.safetensors", {key: full[key] for key in keys}
        )
    metadata = {"config": json.dumps({"transformer": {"num_heads": 2}})}
    delta = write(
        comfyui, "sama_delta.safetensors", {key: full[key] for key in SAMA_KEYS}, metadata
    )
    edit.model = edit.add(
        "SAMALoadModel",
        model_name=delta,
        weight_dtype="default",
        base_model="wan_base-00001-of-00002.safetensors",
    )
    assert torch.equal(edit.sample()["video"], sampled["video"])


@pytest.mark.parametrize(
    ("model", "extra", "message"),
    [
        ("wan_small.safetensors", {}, "semantic_head.proj.bias"),
        ("sama_delta_alone.safetensors", {}, "base Wan 2.1 T2V shards"),
        ("lora.safetensors", {}, "Load SAMA LoRA"),
        ("cut.safetensors", {}, "truncated or damaged"),
        (
            "nan.safetensors",
            {"check_weights": True},
            "NaN or infinite values in blocks.0.ffn.0.weight",
        ),
        ("sama_untrained.safetensors", {"num_heads": 3}, "got 3 heads for width 256"),
    ],
)
def test_wrong_files_are_refused_by_name(comfyui, edit, small, model, extra, message):
    from sama_core.weights.names import SAMA_KEYS

    full, folder = weights(comfyui, small), comfyui.models("diffusion_models")
    write(comfyui, "sama_delta_alone.safetensors", {key: full[key] for key in SAMA_KEYS})
    write(comfyui, "lora.safetensors", {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(2, 256)})
    (folder / "cut.safetensors").write_bytes((folder / small.sama).read_bytes()[:100_000])
    full["blocks.0.ffn.0.weight"][0, 0] = float("nan")
    write(comfyui, "nan.safetensors", full)
    link = edit.add("SAMALoadModel", model_name=model, weight_dtype="default", **extra)
    result = comfyui.run({link[0]: edit.nodes[link[0]]}, keep=[link[0]])
    assert not result.ok
    assert message in result.errors[0]


@pytest.mark.parametrize(
    ("node", "name", "value", "expected"),
    [
        ("SAMALoadModel", "model_name", "absent.safetensors", "syxbb/SAMA-14B"),
        (
            "SAMALoadTextEncoder",
            "text_encoder_name",
            "absent.safetensors",
            "umt5_xxl_fp16.safetensors in models/text_encoders",
        ),
        ("SAMALoadVAE", "vae_name", "absent.safetensors", "Comfy-Org/Wan_2.1_ComfyUI_repackaged"),
    ],
)
def test_missing_files_are_named_with_source_and_folder(comfyui, node, name, value, expected):
    inputs = {name: value} | ({"weight_dtype": "default"} if node == "SAMALoadModel" else {})
    result = comfyui.run({"1": {"class_type": node, "inputs": inputs}}, keep=["1"])
    assert not result.ok
    assert expected in result.errors[0]


@pytest.mark.parametrize(
    ("node", "folder", "message"),
    [
        ("SAMALoadVAE", "vae", "needs the Wan 2.1 VAE"),
        ("SAMALoadTextEncoder", "text_encoders", "needs umT5"),
    ],
)
def test_wrong_vae_and_text_encoder_files(comfyui, edit, small, node, folder, message):
    save_file({"something.weight": torch.zeros(2)}, comfyui.models(folder) / "other.safetensors")
    name = {"vae": "vae_name", "text_encoders": "text_encoder_name"}[folder]
    result = comfyui.run(
        {"1": {"class_type": node, "inputs": {name: "other.safetensors"}}}, keep=["1"]
    )
    assert message in result.errors[0]


def test_a_delta_over_a_quantised_base(comfyui, edit, small, sampled):
    """A layer that the delta brings anew loses the base's scale; it belonged to the old numbers."""
    from sama_core.weights.names import SAMA_KEYS

    full, trained = weights(comfyui, small), "blocks.0.ffn.0.weight"
    base = scaled_fp8({key: value for key, value in full.items() if key not in SAMA_KEYS})
    write(comfyui, "fp8_base.safetensors", base)
    delta = {key: full[key] for key in (*SAMA_KEYS, trained)}
    edit.nodes[edit.model[0]]["inputs"] |= {
        "model_name": write(comfyui, "one_layer_delta.safetensors", delta),
        "base_model": "fp8_base.safetensors",
    }
    assert distance(edit.sample()["video"], sampled["video"])[0] < 0.02


def test_an_incomplete_vae_is_named(comfyui, small):
    tensors = load_file(comfyui.models("vae") / small.vae)
    del tensors["encoder.middle.0.residual.2.weight"]
    save_file(tensors, comfyui.models("vae") / "holes.safetensors")
    result = comfyui.run(
        {"1": {"class_type": "SAMALoadVAE", "inputs": {"vae_name": "holes.safetensors"}}},
        keep=["1"],
    )
    assert "got no encoder.middle.0.residual.2.weight, needs all of its tensors" in result.errors[0]


@pytest.mark.parametrize(
    ("node", "folder", "name"),
    [
        ("SAMALoadVAE", "vae", "vae_name"),
        ("SAMALoadTextEncoder", "text_encoders", "text_encoder_name"),
    ],
)
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("junk.safetensors", "no readable safetensors header"),
        ("junk.pth", "no readable weights"),
        ("tensor.pth", "no readable weights"),
        ("code.pth", "no readable weights"),
    ],
)
def test_damaged_files_are_named(comfyui, node, folder, name, file, message):
    """Noise, a bare tensor, and a pickle that wants to run code: one sentence each, and nothing
    runs.
    """
    path = comfyui.models(folder) / file
    if file == "tensor.pth":
        torch.save(torch.zeros(2), path)
    elif file == "code.pth":
        torch.save({"x": Exploit()}, path)
    else:
        path.write_bytes(b"certainly no weights" * 10)
    result = comfyui.run({"1": {"class_type": node, "inputs": {name: file}}}, keep=["1"])
    assert f"{file}: got {message}" in result.errors[0]
    assert "weights_only=False" not in result.errors[0]


class Exploit:
    def __reduce__(self):
        return print, ("this must never run",)


def test_encoder_and_vae_can_be_loaded_anew_by_core(edit):
    """Multi-GPU nodes and hooks ask the patcher for a fresh one."""
    for patcher in (
        edit.values(edit.clip).patcher,
        edit.values(edit.vae).patcher,
        edit.values(edit.model),
    ):
        fresh = patcher.clone(force_deepcopy=True)
        assert fresh.model is not patcher.model


def test_names_over_a_link_do_not_break_the_cache_key(pack):
    """They are None when ComfyUI asks; the files themselves tell then."""
    load = pack.module("nodes.load")
    assert load.LoadModel.fingerprint_inputs(model_name=None, weight_dtype="default") == []
    assert load.LoadVAE.fingerprint_inputs(vae_name=None) == []


def test_the_cache_key_sees_every_shard(comfyui, pack, small):
    test_file = comfyui.models("diffusion_models")
    for number in (1, 2):
        save_file(
            {"x": torch.zeros(number)}, test_file / f"keyed-{number:05d}-of-00002.safetensors"
        )
    load = pack.module("nodes.load")
    key = load.LoadModel.fingerprint_inputs(
        small.sama, "default", base_model="keyed-00001-of-00002.safetensors"
    )
    assert len(key) == 3


def test_an_incomplete_text_encoder_is_named(comfyui, small):
    """Core would load it with random weights in the gaps."""
    tensors = load_file(comfyui.models("text_encoders") / small.text_encoder)
    del tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    save_file(tensors, comfyui.models("text_encoders") / "holes.safetensors")
    inputs = {"text_encoder_name": "holes.safetensors"}
    result = comfyui.run({"1": {"class_type": "SAMALoadTextEncoder", "inputs": inputs}}, keep=["1"])
    assert (
        "got no encoder.block.1.layer.1.DenseReluDense.wo.weight, needs all of its tensors"
        in result.errors[0]
    )


def test_unreadable_settings_in_the_metadata_are_no_obstacle(comfyui, edit, small, sampled):
    file = write(
        comfyui, "odd_metadata.safetensors", weights(comfyui, small), {"config": "not json"}
    )
    edit.nodes[edit.model[0]]["inputs"]["model_name"] = file
    assert torch.equal(edit.sample()["video"], sampled["video"])
