"""Files of the small model in other forms, in ComfyUI's folder."""

import torch
from safetensors.torch import load_file, save_file

HEADS = ("segment_embedding", "siglip_feat_mlp", "semantic_head", "patch_embedding")
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


def kind(edit, link) -> str:
    """The class name of the model that a link gives."""
    return type(edit.values(link).model).__name__


def heads_are_float32(patcher) -> bool:
    """Whether the semantic modules and the patch embedding are float32."""
    return all(
        value.dtype == torch.float32
        for name, value in patcher.model.diffusion_model.named_parameters()
        if name.startswith(HEADS)
    )


def weights(comfyui, small) -> dict:
    """The small model's tensors."""
    return load_file(comfyui.models("diffusion_models") / small.sama)


def write(comfyui, name: str, tensors: dict, metadata: dict | None = None) -> str:
    """Write a file of diffusion models → its name."""
    save_file(
        {key: value.contiguous() for key, value in tensors.items()},
        comfyui.models("diffusion_models") / name,
        metadata=metadata,
    )
    return name


def linear_names(tensors: dict) -> list[str]:
    """Weights that quantisers convert: the blocks' matrices."""
    return [
        key
        for key in tensors
        if key.startswith("blocks.") and key.endswith(".weight") and tensors[key].ndim == 2
    ]


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
