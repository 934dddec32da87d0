"""One model from every loader and every file format; the semantic modules stay in high precision."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..harness.golden import assert_close, distance
from .graphs import output

HEADS = ("segment_embedding", "siglip_feat_mlp", "semantic_head", "patch_embedding")


def kind(edit, link) -> str:
    return type(edit.values(link).model).__name__


def heads_are_float32(patcher) -> bool:
    return all(
        value.dtype == torch.float32
        for name, value in patcher.model.diffusion_model.named_parameters()
        if name.startswith(HEADS)
    )


def weights(comfyui, small) -> dict:
    return load_file(comfyui.models("diffusion_models") / small.sama)


def write(comfyui, name: str, tensors: dict, metadata: dict | None = None) -> str:
    save_file(
        {key: value.contiguous() for key, value in tensors.items()},
        comfyui.models("diffusion_models") / name,
        metadata=metadata,
    )
    return name


# --- loaders -----------------------------------------------------------------------------------


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
    """A Linear as GGUF loaders make it: no weight until the state dict brings one, dequantised at run time."""

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
    """Numbered float32 Wan shards and a delta with SAMA's tensors make the model of the full file."""
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
    """Noise, a bare tensor, and a pickle that wants to run code: one sentence each, and nothing runs."""
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


# --- formats -----------------------------------------------------------------------------------


def linear_names(tensors: dict) -> list[str]:
    """Weights that quantisers convert: the blocks' matrices."""
    return [
        key
        for key in tensors
        if key.startswith("blocks.") and key.endswith(".weight") and tensors[key].ndim == 2
    ]


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


def scaled_fp8(tensors: dict) -> dict:
    """The `scaled_fp8` form of ComfyUI's repackaged models, of the blocks' matrices."""
    out = dict(tensors)
    for key in linear_names(tensors):
        scale = tensors[key].abs().max() / 448
        out |= {
            key.replace(".weight", ".scale_weight"): scale,
            key: (tensors[key] / scale).to(torch.float8_e4m3fn),
        }
    return out | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}


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
    """ModelSave's file loads as SAMA again, through our loader, the stock loader, and gives the same edit."""
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


# --- LoRA --------------------------------------------------------------------------------------

SPELLINGS = {
    "diffusion_model": (
        "diffusion_model.{}.lora_A.weight",
        "diffusion_model.{}.lora_B.weight",
        ".",
    ),
    "peft default": (
        "diffusion_model.{}.lora_A.default.weight",
        "diffusion_model.{}.lora_B.default.weight",
        ".",
    ),
    "kohya": ("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight", "_"),
    "official": ("{}.lora_A.default.weight", "{}.lora_B.default.weight", "."),
}
LAYERS = {
    "blocks.0.self_attn.q": (256, 256),
    "blocks.1.ffn.0": (256, 512),
    "semantic_head.proj": (256, 48),
}


def write_lora(comfyui, spelling: str, extra: dict | None = None) -> str:
    down, up, joint = SPELLINGS[spelling]
    generator, tensors = torch.Generator().manual_seed(3), dict(extra or {})
    for layer, (size_in, size_out) in LAYERS.items():
        name = layer.replace(".", joint)
        tensors[down.format(name)] = torch.randn(4, size_in, generator=generator) * 0.1
        tensors[up.format(name)] = torch.randn(size_out, 4, generator=generator) * 0.1
    file = f"lora_{spelling.replace(' ', '_')}.safetensors"
    save_file(tensors, comfyui.models("loras") / file)
    return file


def apply(edit, file: str, strength: float = 1.0):
    """The graph with the LoRA; returns the report's link."""
    node = edit.add("SAMALoadLora", model=edit.model, lora_name=file, strength=strength)
    edit.model = node
    return output(node, 1)


def test_every_spelling_gives_the_same_edit(comfyui, small, sampled):
    """Four spellings of the same LoRA, all layers matched, one result."""
    from .graphs import SMALL_AREA, Edit

    results = []
    for spelling in SPELLINGS:
        graph = Edit(comfyui, small, area=SMALL_AREA)
        report = apply(graph, write_lora(comfyui, spelling))
        assert graph.values(report) == "3 of 3 LoRA layers matched"
        results.append(graph.sample())
    for other in results[1:]:
        assert torch.equal(other["video"], results[0]["video"])
        assert torch.equal(other["semantic"], results[0]["semantic"])
    assert distance(results[0]["video"], sampled["video"])[0] > 1e-3


def test_report_names_unmatched_layers(comfyui, edit):
    file = write_lora(
        comfyui,
        "official",
        {
            "blocks.99.self_attn.q.lora_A.weight": torch.zeros(4, 256),
            "blocks.99.self_attn.q.lora_B.weight": torch.zeros(256, 4),
        },
    )
    assert edit.values(apply(edit, file)) == (
        "3 of 4 LoRA layers matched; not in this model: diffusion_model.blocks.99.self_attn.q"
    )


def test_report_names_layers_of_another_size(comfyui, edit):
    """A LoRA of the 1.3B model has the same names: what does not fit is named, the rest is applied."""
    file = write_lora(
        comfyui,
        "official",
        {
            "blocks.1.self_attn.k.lora_A.weight": torch.zeros(4, 128),
            "blocks.1.self_attn.k.lora_B.weight": torch.zeros(128, 4),
        },
    )
    assert edit.values(apply(edit, file)) == (
        "3 of 4 LoRA layers matched; of another size: diffusion_model.blocks.1.self_attn.k"
    )


def test_a_foreign_lora_is_refused(comfyui, edit):
    foreign = {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(4, 8)}
    save_file(foreign, comfyui.models("loras") / "sdxl.safetensors")
    report = apply(edit, "sdxl.safetensors")
    result = edit.comfyui.run(edit.nodes, keep=[report[0]])
    assert "0 of 1 LoRA layers matched" in result.errors[0]


def test_strength_0_changes_nothing(comfyui, edit, sampled):
    report = apply(edit, write_lora(comfyui, "official"), strength=0.0)
    assert edit.values(report) == "not applied: strength is 0"
    assert torch.equal(edit.sample()["video"], sampled["video"])


@pytest.mark.parametrize("content", [b"", b"text, not weights", b"\xff" * 100])
def test_a_damaged_lora_is_told_by_its_name(comfyui, edit, content):
    """A file cut off or renamed gives a sentence, not core's raw error."""
    (comfyui.models("loras") / "damaged.safetensors").write_bytes(content)
    report = apply(edit, "damaged.safetensors")
    result = edit.comfyui.run(edit.nodes, keep=[report[0]])
    assert "damaged.safetensors" in result.errors[0] and "again" in result.errors[0]


def test_core_lora_loader_applies_its_spellings(comfyui, edit, sampled):
    """Core's own loader works for the names it knows."""
    edit.patch("LoraLoaderModelOnly", lora_name=write_lora(comfyui, "kohya"), strength_model=1.0)
    assert distance(edit.sample()["video"], sampled["video"])[0] > 1e-3
