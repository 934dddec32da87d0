"""Nodes that change a model, and a bench that samples with them and asks for their keys."""

import types
from pathlib import Path

import torch
from safetensors.torch import save_file

from .graphs import SMALL_AREA, Edit

WINDOWS = {
    "context_length": 9,
    "context_overlap": 8,
    "context_schedule": "standard_static",
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "freenoise": True,
}
CACHE = {"reuse_threshold": 0.2, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
SLG = {
    "double_layers": "0",
    "single_layers": "",
    "scale": 3.0,
    "start_percent": 0.0,
    "end_percent": 1.0,
    "rescaling_scale": 0.0,
}
ROPE = {
    "scale_x": 1.0,
    "shift_x": 0.0,
    "scale_y": 1.0,
    "shift_y": 0.0,
    "scale_t": 1.0,
    "shift_t": 0.0,
}
APG = {"eta": 0.5, "norm_threshold": 5.0, "momentum": 0.5}
# Node of core, settings, and the one setting that changes.
PAIRS = [
    (
        "LoraLoaderBypassModelOnly",
        {"lora_name": "identity_a.safetensors", "strength_model": 0.01},
        {"strength_model": 3.0},
    ),
    (
        "LoraLoaderBypassModelOnly",
        {"lora_name": "identity_a.safetensors", "strength_model": 3.0},
        {"lora_name": "identity_b.safetensors"},
    ),
    (
        "LoraLoaderModelOnly",
        {"lora_name": "identity_a.safetensors", "strength_model": 1.0},
        {"strength_model": 1.5},
    ),
    (
        "LoraLoaderModelOnly",
        {"lora_name": "identity_a.safetensors", "strength_model": 1.0},
        {"lora_name": "identity_b.safetensors"},
    ),
    ("ModelComputeDtype", {"dtype": "default"}, {"dtype": "bf16"}),
    ("ModelSamplingSD3", {"shift": 3.0}, {"shift": 8.0}),
    ("WanContextWindowsManual", WINDOWS, {"context_schedule": "standard_uniform"}),
    ("WanContextWindowsManual", WINDOWS, {"context_schedule": "batched"}),
    ("WanContextWindowsManual", WINDOWS, {"fuse_method": "overlap-linear"}),
    ("WanContextWindowsManual", WINDOWS, {"fuse_method": "flat"}),
    ("WanContextWindowsManual", WINDOWS, {"freenoise": False}),
    ("WanContextWindowsManual", WINDOWS, {"context_overlap": 4}),
    (
        "WanContextWindowsManual",
        {**WINDOWS, "context_schedule": "looped_uniform"},
        {"closed_loop": True},
    ),
    ("RescaleCFG", {"multiplier": 0.7}, {"multiplier": 0.2}),
    ("CFGNorm", {"strength": 1.0, "pre_cfg": False}, {"strength": 0.5}),
    ("APG", APG, {"eta": 1.0}),
    ("APG", APG, {"momentum": 0.0}),
    ("FreSca", {"scale_low": 1.0, "scale_high": 1.5, "freq_cutoff": 1}, {"scale_high": 1.2}),
    ("Epsilon Scaling", {"scaling_factor": 1.005}, {"scaling_factor": 1.1}),
    ("SkipLayerGuidanceDiT", SLG, {"scale": 1.0}),
    ("EasyCache", CACHE, {"reuse_threshold": 3.0}),
    ("LazyCache", CACHE, {"reuse_threshold": 3.0}),
    ("ScaleROPE", {**ROPE, "scale_x": 2.0}, {"scale_x": 3.0}),
]
# On and off: nodes without a setting that shows.
SWITCHES = ["CFGZeroStar", "TCFG", "Mahiro"]


class Bench:
    """One loaded model, and runs on it that ask for their keys."""

    def __init__(self, comfyui, small, weight_dtype="default"):
        self.comfyui, self.edit = comfyui, Edit(comfyui, small, area=SMALL_AREA, frames=9)
        self.edit.nodes[self.edit.model[0]]["inputs"]["weight_dtype"] = weight_dtype
        ids = [link[0] for link in (self.edit.model, self.edit.vae, self.edit.clip)]
        values = comfyui.run(self.edit.nodes, keep=ids).check().values
        self.model, self.vae, self.clip = (values[id][0] for id in ids)
        frames = torch.rand(17, 32, 32, 3, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            prompts = (
                comfyui.node_class("SAMAInstruction")
                .execute(clip=self.clip, instruction="make it red", edit_tag=True)
                .args
            )
            self.positive, self.negative, self.latent = (
                comfyui.node_class("SAMAEditConditioning")
                .execute(
                    positive=prompts[0],
                    negative=prompts[1],
                    vae=self.vae,
                    frames=frames,
                    tiling="automatic",
                )
                .args[:3]
            )

    def patched(self, node: str, **settings):
        return self.node(node, model=self.model, **settings)

    def node(self, node: str, **inputs):
        """A node's first output, executed on values."""
        kind = self.comfyui.node_class(node)
        if hasattr(kind, "define_schema"):
            return kind.execute(**inputs).args[0]
        return getattr(kind(), kind.FUNCTION)(**inputs)[0]

    def identity(self, model, positive=None):
        from sama_core.comfyui.run_identity import RunIdentity

        return RunIdentity(model, self.vae, [positive or self.positive, self.negative], (1, 2))

    def run(self, model, positive=None) -> tuple[str, torch.Tensor]:
        """The key before a run, which is that of the same graph after it, and the latent."""
        from sama_core.comfyui.joint_state import prepare

        model, positive = prepare(model), positive or self.positive
        identity = self.identity(model, positive)
        key = identity.key()
        assert key, identity.why_not
        with identity.as_found(), torch.inference_mode():
            out = self.comfyui.node_class("KSampler")().sample(
                model, 1, 2, 5.0, "euler", "simple", positive, self.negative, self.latent
            )[0]["samples"]
        assert self.identity(model, positive).key() == key
        return key, out


def differ(one: tuple, other: tuple) -> None:
    """The frames are others, and so is the key."""
    assert not torch.equal(one[1], other[1])
    assert one[0] != other[0]


def stacked(bench, stack, changed=None):
    """The model behind several nodes, in order; of the one numbered `changed` one setting is
    another.
    """
    model = bench.model
    for number, (node, settings, change) in enumerate(stack):
        model = bench.node(
            node, model=model, **{**settings, **(change if number == changed else {})}
        )
    return model


def hooked(bench, name="a", strength=1.0, keyframe=None):
    hooks = bench.node(
        "CreateHookLoraModelOnly", lora_name=f"identity_{name}.safetensors", strength_model=strength
    )
    if keyframe is not None:
        frames = bench.node("CreateHookKeyframe", strength_mult=keyframe, start_percent=0.4)
        hooks = bench.node("SetHookKeyframes", hooks=hooks, hook_kf=frames)
    return bench.node(
        "ConditioningSetProperties",
        cond_NEW=bench.positive,
        hooks=hooks,
        strength=1.0,
        set_cond_area="default",
    )


def guided(self, original, x, context, transformer_options={}, **kwargs):
    """Attention that leans away from another prompt; everything it needs lies on the module."""
    away = original(
        x, self.nag_context.expand(x.shape[0], -1, -1), transformer_options=transformer_options
    )
    return original(x, context, transformer_options=transformer_options) - self.nag_scale * away


class Guidance:
    """Writes prompt and scale on the model's own module each time it is called, as KJNodes' NAG
    does.
    """

    def __init__(self, context, scale):
        self.context, self.scale = context, scale

    def __get__(self, module, owner=None):
        original = types.MethodType(type(module).forward, module)

        def forward(self_module, *args, **kwargs):
            self_module.nag_context, self_module.nag_scale = self.context, self.scale
            return guided(self_module, original, *args, **kwargs)

        return types.MethodType(forward, module)


def with_guidance(bench, scale=0.1, prompt=0):
    model = bench.model.clone()
    context = torch.randn(1, 4, 256, generator=torch.Generator().manual_seed(prompt))
    for number, block in enumerate(model.get_model_object("diffusion_model").blocks):
        model.add_object_patch(
            f"diffusion_model.blocks.{number}.cross_attn.forward",
            Guidance(context, scale).__get__(block.cross_attn),
        )
    return model


def scaled(factor):
    def wrapper(executor, *args, **kwargs):
        return executor(*args, **kwargs) * factor

    return wrapper


def wrapped(bench, *wrappers):
    from comfy.patcher_extension import WrappersMP

    model = bench.model.clone()
    for number, wrapper in enumerate(wrappers):
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, f"test {number}", wrapper)
    return model


def write_loras(folder: Path) -> None:
    """The LoRAs `identity_a` and `identity_b`, of rank 2 on one matrix."""
    weight = "diffusion_model.blocks.0.self_attn.v"
    for name, seed in (("a", 0), ("b", 1)):
        generator = torch.Generator().manual_seed(seed)
        save_file(
            {
                f"{weight}.lora_A.weight": torch.randn(2, 256, generator=generator),
                f"{weight}.lora_B.weight": torch.randn(256, 2, generator=generator),
            },
            folder / f"identity_{name}.safetensors",
        )
