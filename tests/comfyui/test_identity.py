"""Keys of kept segments: one thing changed in the graph is another key wherever the frames are others, and no more.

Every case samples two steps with each of two settings of one node, and asks for the key before and after.
"""

import random
import types

import pytest
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


@pytest.fixture(scope="module", autouse=True)
def loras(comfyui):
    for name, seed in (("a", 0), ("b", 1)):
        generator = torch.Generator().manual_seed(seed)
        weight = "diffusion_model.blocks.0.self_attn.v"
        save_file(
            {
                f"{weight}.lora_A.weight": torch.randn(2, 256, generator=generator),
                f"{weight}.lora_B.weight": torch.randn(256, 2, generator=generator),
            },
            comfyui.models("loras") / f"identity_{name}.safetensors",
        )


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


@pytest.fixture(scope="module")
def bench(comfyui, small) -> Bench:
    return Bench(comfyui, small)


@pytest.fixture(scope="module")
def plain(bench) -> tuple[str, torch.Tensor]:
    return bench.run(bench.model)


def differ(one: tuple, other: tuple) -> None:
    """The frames are others, and so is the key."""
    assert not torch.equal(one[1], other[1])
    assert one[0] != other[0]


@pytest.mark.parametrize(
    ("node", "settings", "change"), PAIRS, ids=lambda v: v if isinstance(v, str) else str(v)[-40:]
)
def test_one_changed_setting_is_another_key_where_frames_differ(bench, node, settings, change):
    first, second = (
        bench.run(bench.patched(node, **{**settings, **more})) for more in ({}, change)
    )
    assert first[0] != second[0]
    # Two steps are too few for a cache to skip one, and no cause to close a loop.
    assert (
        not torch.equal(first[1], second[1])
        or node in ("EasyCache", "LazyCache")
        or "closed_loop" in change
    )


@pytest.mark.parametrize("node", SWITCHES)
def test_a_node_put_in_is_another_key(bench, plain, node):
    differ(plain, bench.run(bench.patched(node)))


def stacked(bench, stack, changed=None):
    """The model behind several nodes, in order; of the one numbered `changed` one setting is another."""
    model = bench.model
    for number, (node, settings, change) in enumerate(stack):
        model = bench.node(
            node, model=model, **{**settings, **(change if number == changed else {})}
        )
    return model


@pytest.mark.parametrize("draw", range(12))
def test_drawn_stacks_of_nodes(bench, draw):
    """Two or three nodes in a drawn order: queued again, with one setting changed, and the other way round."""
    random_ = random.Random(draw)
    stack = list({pair[0]: pair for pair in random_.sample(PAIRS, 4)}.values())[
        : random_.choice((2, 3))
    ]
    first, again = bench.run(stacked(bench, stack)), bench.run(stacked(bench, stack))
    assert first[0] == again[0] and torch.equal(first[1], again[1])
    assert bench.run(stacked(bench, stack, random_.randrange(len(stack))))[0] != first[0]
    turned = bench.run(stacked(bench, stack[::-1]))
    assert torch.equal(turned[1], first[1]) or turned[0] != first[0]


def test_the_plain_graph_has_its_first_key_after_all_the_others(bench, plain):
    bench.run(
        bench.patched(
            "LoraLoaderBypassModelOnly", lora_name="identity_a.safetensors", strength_model=3.0
        )
    )
    bench.run(bench.patched("ModelComputeDtype", dtype="bf16"))
    again = bench.run(bench.model)
    assert again[0] == plain[0] and torch.equal(again[1], plain[1])


def test_what_a_later_core_writes_on_the_model_for_a_run_is_no_part_of_the_key(bench, plain):
    """ComfyUI 0.33 leaves the shapes of the last run on the model."""
    before = bench.identity(bench.model).key()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.model.model, "latent_shapes", [[1, 16, 5, 4, 4]], raising=False)
        assert bench.identity(bench.model).key() == before


def test_a_bypass_lora_from_none_to_three(bench, plain):
    lora = {"lora_name": "identity_a.safetensors", "strength_model": 3.0}
    differ(plain, bench.run(bench.patched("LoraLoaderBypassModelOnly", **lora)))


def test_the_same_graph_loaded_anew_has_the_same_key(bench, comfyui, small):
    other = Bench(comfyui, small)
    assert other.model.model is not bench.model.model
    lora = {"lora_name": "identity_a.safetensors", "strength_model": 0.5}
    for node in ("LoraLoaderModelOnly", "LoraLoaderBypassModelOnly"):
        assert (
            bench.run(bench.patched(node, **lora))[0] == other.run(other.patched(node, **lora))[0]
        )


# --- hook LoRAs: on the conditioning, with keyframes ----------------------------------------------


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"strength": 0.5}, {"strength": 3.0}),
        ({}, {"name": "b"}),
        ({"keyframe": 0.1}, {"keyframe": 2.0}),
    ],
    ids=["strength", "file", "keyframe"],
)
def test_a_hook_lora(bench, one, other):
    differ(*(bench.run(bench.model, hooked(bench, **case)) for case in (one, other)))


# --- what other packs do -------------------------------------------------------------------------


def guided(self, original, x, context, transformer_options={}, **kwargs):
    """Attention that leans away from another prompt; everything it needs lies on the module."""
    away = original(
        x, self.nag_context.expand(x.shape[0], -1, -1), transformer_options=transformer_options
    )
    return original(x, context, transformer_options=transformer_options) - self.nag_scale * away


class Guidance:
    """Writes prompt and scale on the model's own module each time it is called, as KJNodes' NAG does."""

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


@pytest.mark.parametrize("other", [{"scale": 0.5}, {"prompt": 1}], ids=["scale", "prompt"])
def test_guidance_on_the_models_own_modules(bench, plain, other):
    first, second = bench.run(with_guidance(bench)), bench.run(with_guidance(bench, **other))
    differ(first, second)
    assert bench.run(bench.model)[0] == plain[0]


def scaled(factor):
    def wrapper(executor, *args, **kwargs):
        return executor(*args, **kwargs) * factor

    return wrapper


class Settings:
    factor = 1.0


SETTINGS = Settings()


def by_a_global(executor, *args, **kwargs):
    return executor(*args, **kwargs) * SETTINGS.factor


def by_a_class(executor, *args, **kwargs):
    return executor(*args, **kwargs) * Settings.factor


def wrapped(bench, *wrappers):
    from comfy.patcher_extension import WrappersMP

    model = bench.model.clone()
    for number, wrapper in enumerate(wrappers):
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, f"test {number}", wrapper)
    return model


def test_a_wrapper_that_closes_over_a_number(bench):
    differ(bench.run(wrapped(bench, scaled(0.9))), bench.run(wrapped(bench, scaled(0.8))))


def test_wrappers_in_another_order(bench):
    def shifted(executor, *args, **kwargs):
        return executor(*args, **kwargs) + 0.1

    differ(
        bench.run(wrapped(bench, scaled(0.9), shifted)),
        bench.run(wrapped(bench, shifted, scaled(0.9))),
    )


@pytest.mark.parametrize("wrapper", [by_a_global, by_a_class])
def test_a_wrapper_that_reads_a_global(bench, monkeypatch, wrapper):
    first = bench.run(wrapped(bench, wrapper))
    monkeypatch.setattr(SETTINGS if wrapper is by_a_global else Settings, "factor", 0.5)
    differ(first, bench.run(wrapped(bench, wrapper)))


def test_a_function_of_core_that_was_replaced(bench, monkeypatch, plain):
    import comfy.samplers

    original = comfy.samplers.cfg_function
    monkeypatch.setattr(
        comfy.samplers, "cfg_function", lambda *args, **kwargs: original(*args, **kwargs) * 0.9
    )
    differ(plain, bench.run(bench.model))


def test_a_hook_around_all_modules(bench, plain):
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, out: out * 0.9 if isinstance(module, torch.nn.LayerNorm) else out
    )
    try:
        differ(plain, bench.run(bench.model))
    finally:
        hook.remove()


def test_a_function_of_torch_that_was_replaced(bench, plain, monkeypatch):
    original = torch.cat
    monkeypatch.setattr(torch, "cat", lambda *args, **kwargs: original(*args, **kwargs) * 0.9)
    differ(plain, bench.run(bench.model))


def test_the_new_names_of_torchs_precision_count_and_can_be_read(bench, plain):
    """Once one is set, torch refuses to tell the old ones."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee" if before == "tf32" else "tf32"
    try:
        identity = bench.identity(bench.model)
        assert identity.key() not in (None, plain[0])
    finally:
        matmul.fp32_precision = before


def test_a_compiled_function_in_a_module_of_core_is_none_of_its_own(bench, plain, monkeypatch):
    import comfy.ldm.modules.attention

    monkeypatch.setattr(
        comfy.ldm.modules.attention, "__compiled_fn_1", iter([1]).__next__, raising=False
    )
    assert bench.identity(bench.model).key() == bench.identity(bench.model).key() is not None


def test_a_cell_that_the_run_emptied_is_filled_again(bench):
    held = kept = [1]

    def wrapper(executor, *args, **kwargs):
        nonlocal held
        del held
        return executor(*args, **kwargs)

    model = wrapped(bench, wrapper)
    with bench.identity(model).as_found():
        wrapper(lambda: None)
    assert wrapper.__closure__[0].cell_contents is kept


def test_an_attribute_set_on_a_module(bench, plain, monkeypatch):
    norm = bench.model.model.diffusion_model.blocks[0].norm1
    monkeypatch.setattr(norm, "eps", 0.5)
    differ(plain, bench.run(bench.model))


def test_a_launch_flag(bench, monkeypatch):
    from comfy.cli_args import args

    before = bench.identity(bench.model).key()
    monkeypatch.setattr(args, "port", 1234)
    assert bench.identity(bench.model).key() == before
    monkeypatch.setattr(args, "deterministic", True)
    assert bench.identity(bench.model).key() != before


@pytest.mark.parametrize("where", ["wrapper", "attachment", "callback", "injection"])
def test_what_cannot_be_described_is_named_and_not_kept(bench, where):
    from comfy.patcher_extension import PatcherInjection

    handle = (number for number in range(3))
    model = bench.model.clone()
    if where == "wrapper":
        model.add_wrapper_with_key("diffusion_model", "their pack", lambda *args: handle)
    elif where == "attachment":
        model.set_attachments("their pack", handle)
    elif where == "callback":
        model.add_callback_with_key("on_pre_run", "their pack", lambda patcher: handle)
    else:
        model.set_injections(
            "their pack", [PatcherInjection(lambda patcher: handle, lambda patcher: None)]
        )
    identity = bench.identity(model)
    assert identity.key() is None
    assert where in identity.why_not and "'their pack'" in identity.why_not


# --- weights -------------------------------------------------------------------------------------


def test_a_single_value_of_any_tensor_counts(bench, plain):
    """Small tensors are read in full."""
    before = bench.identity(bench.model).key()
    for name, tensor in bench.model.model.named_parameters():
        if tensor.numel() * tensor.element_size() <= 64 * 1024:
            with torch.inference_mode():
                kept = tensor.flatten()[-1].clone()
                tensor.view(-1)[-1] += 1
                assert bench.identity(bench.model).key() != before, name
                tensor.view(-1)[-1] = kept
            break
    assert bench.identity(bench.model).key() == before
    assert bench.run(bench.model)[0] == plain[0]


@pytest.mark.parametrize("weight_dtype", ["fp8_e4m3fn", "fp8_e4m3fn_fast"])
def test_fp8_weights_have_keys_of_their_own(comfyui, small, plain, weight_dtype):
    bench, lora = (
        Bench(comfyui, small, weight_dtype),
        {"lora_name": "identity_a.safetensors", "strength_model": 1.0},
    )
    key = bench.identity(bench.model).key()
    assert key and key != plain[0]
    assert bench.identity(bench.patched("LoraLoaderModelOnly", **lora)).key() != key
    assert bench.identity(bench.model).key() == key


# --- Long Edit -----------------------------------------------------------------------------------


def long_edit(bench, model, store) -> list[str]:
    """What a long edit of one segment says."""
    from sama_core.comfyui.edit import EditSettings
    from sama_core.comfyui.long_edit import LongSettings, edit_long

    said = []
    with torch.inference_mode():
        edit_long(
            model,
            bench.clip,
            bench.vae,
            torch.rand(9, 32, 32, 3, generator=torch.Generator().manual_seed(0)),
            EditSettings("make it red", steps=1, cfg=1.0),
            LongSettings(17, 4, False),
            store,
            said.append,
        )
    return said


def test_long_edit_takes_a_segment_of_the_same_graph_and_no_other(bench, tmp_path):
    from sama_core.long import SegmentStore

    store = SegmentStore(tmp_path, 2**30)
    counts = []
    for scale in (0.1, 0.1, 0.5, 0.1):
        sampled = any(
            "sampling" in line for line in long_edit(bench, with_guidance(bench, scale), store)
        )
        counts.append((sampled, len(store.entries())))
    assert counts == [(True, 1), (False, 1), (True, 2), (False, 2)]


def test_long_edit_says_what_prevents_keeping_and_edits_on(bench, tmp_path):
    from sama_core.long import SegmentStore

    model = bench.model.clone()
    model.set_attachments("their pack", (number for number in range(3)))
    store = SegmentStore(tmp_path, 2**30)
    said = long_edit(bench, model, store)
    first = next(line for line in said if "segment 1 of 1" in line)
    assert (
        "not kept" in first
        and "attachments['their pack']" in first
        and "sampling, step" not in first
    )
    assert any("sampling, step 1 of 1" in line for line in said) and store.entries() == []
