"""Block-sparse attention is served or refused by name; dense back ends run, low precision too."""

from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch

from benchmarks.attention import low_precision
from sama_core.errors import ConditioningError
from sama_core.model.token_order import BLOCK_SPARSE

from ..harness.golden import distance
from .graphs import SMALL_AREA, Edit, long_edit, whole_edit

OVERRIDE = "optimized_attention_override"
SOL, SLA, VSA = (
    {"tau": 1.3, "topk_ratio": 0.0, "vsa": False},
    {"topk_ratio": 0.1, "vsa": False},
    {"topk_ratio": 0.1, "vsa": True},
)

# What a later core's Model Sparse Attention leaves on a model: a settings object that an override
# closes over, with the override before it, and callbacks that put it back on top at every step.
CORE_NODE = """
class SparseAttnPatch:
    def __init__(self, **settings):
        self.__dict__.update(settings)

def make_attention_override(patch, previous):
    def override(func, q, k, v, heads, mask=None, **kwargs):
        if patch.vsa or previous is None:
            return func(q, k, v, heads, mask=mask, **kwargs)
        return previous(func, q, k, v, heads, mask=mask, **kwargs)
    return override

def put_back(patch):
    return lambda patcher, timestep, model_options: model_options["transformer_options"].update(
        optimized_attention_override=make_attention_override(patch, None))
"""


def module(name: str, code: str) -> ModuleType:
    """A module of that name, as `comfy_extras` and custom nodes are loaded; not left in
    `sys.modules`.
    """
    made = ModuleType(name)
    exec(code, made.__dict__)
    return made


def core_node(model, settings: dict, only_callbacks: bool = False):
    node = module("comfy_extras.nodes_sparse_attention", CORE_NODE)
    patch, options = node.SparseAttnPatch(**settings), model.model_options["transformer_options"]
    if not only_callbacks:
        options[OVERRIDE] = node.make_attention_override(patch, options.get(OVERRIDE))
    model.add_callback_with_key("on_prepare_state", "block_sparse_attention", node.put_back(patch))


def pack(path: str):
    """An override of a custom node pack that calls it nothing; the user's own folder means nothing
    either.
    """
    code = "def make():\n    return lambda func, *args, **kwargs: func(*args, **kwargs)"
    return module(f"/home/vsa/ComfyUI/custom_nodes/{path}", code).make()


def sage(func, *args, **kwargs):
    return func(*args, **kwargs)


def wrapped_by_sage(inner):
    def attention_override_sage(func, *args, **kwargs):
        return inner(func, *args, **kwargs)

    return attention_override_sage


@pytest.fixture
def model(edit):
    return edit.values(edit.model).clone()


@pytest.mark.parametrize(("settings", "name"), [(SOL, "sol-attn"), (SLA, "sla"), (VSA, "vsa")])
@pytest.mark.parametrize("way", ["plain", "under another override", "callbacks alone"])
def test_core_sparse_attention_is_named(model, settings, name, way):
    from sama_core.comfyui.attention_backends import sparse_backend

    core_node(model, settings, only_callbacks=way == "callbacks alone")
    if way == "under another override":
        options = model.model_options["transformer_options"]
        options[OVERRIDE] = wrapped_by_sage(options[OVERRIDE])
    assert sparse_backend(model) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("ComfyUI-SolAttn_triton", "Sol-Attn"),
        ("ComfyUI-RadialAttn/nodes", "radial"),
        ("h3_sla_nodes", "SLA"),
        ("FastVideo-VSA", "VSA"),
        ("comfy_sparge", "SpargeAttn"),
        ("BlockSparse", "block-sparse"),
    ],
)
def test_packs_are_named_by_what_they_say(model, path, name):
    from sama_core.comfyui.attention_backends import sparse_backend

    options = model.model_options["transformer_options"]
    for override in (pack(path), partial(pack(path)), wrapped_by_sage(pack(path))):
        options[OVERRIDE] = override
        assert sparse_backend(model) == name


def test_settings_alone_name_it(model):
    from sama_core.comfyui.attention_backends import sparse_backend

    model.model_options["transformer_options"]["radial_attn"] = {"block_size": 128}
    assert sparse_backend(model) == "radial"


class SageAttention:
    """A back end as an object, with a method as override."""

    def __init__(self):
        self.kernel = sage

    def override(self, func, *args, **kwargs):
        return self.kernel(func, *args, **kwargs)


def with_a_variable_unset():
    failed = None

    def override(func, *args, **kwargs):
        return failed if func is None else func(*args, **kwargs)  # noqa: F821

    del failed
    return override


DENSE = {
    "a function": lambda: sage,
    "over another": lambda: wrapped_by_sage(sage),
    "a pack in a user's folder": lambda: pack("comfyui-kjnodes/nodes/model_optimization_nodes"),
    "a method": lambda: SageAttention().override,
    "a variable that is not set": with_a_variable_unset,
    "tensors and settings": lambda: partial(
        sage, scale=torch.ones(2), settings=SimpleNamespace(mode="auto")
    ),
}


@pytest.mark.parametrize("kind", DENSE)
def test_dense_overrides_run(comfyui, edit, sampled, kind):
    from .test_model_patches import run_patched

    out = run_patched(
        comfyui,
        edit,
        lambda model: model.model_options["transformer_options"].update(
            {OVERRIDE: DENSE[kind]() if kind != "tensors and settings" else DENSE["a method"]()}
        ),
    )
    assert torch.equal(out, sampled["video"])


@pytest.mark.parametrize("kind", DENSE)
def test_dense_overrides_are_not_refused(model, kind):
    from sama_core.comfyui.attention_backends import sparse_backend

    model.model_options["transformer_options"][OVERRIDE] = DENSE[kind]()
    assert sparse_backend(model) == ""


def test_core_model_attention_backend_passes(model):
    """What its node calls, with every attention function that core knows."""
    from comfy.ldm.modules.attention import REGISTERED_ATTENTION_FUNCTIONS

    from sama_core.comfyui.attention_backends import sparse_backend

    for function in REGISTERED_ATTENTION_FUNCTIONS.values():
        if hasattr(model, "set_model_optimized_attention"):
            model.set_model_optimized_attention(function)
        else:
            model.model_options["transformer_options"][OVERRIDE] = function
        assert sparse_backend(model) == ""


@pytest.fixture
def put_on(edit, monkeypatch):
    """A function: the graph with a node between loader and sampler that does this to the model."""
    import nodes

    def between(change) -> None:
        class Node:
            RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "patch", "harness"

            @classmethod
            def INPUT_TYPES(cls):
                return {"required": {"model": ("MODEL",)}}

            def patch(self, model):
                model = model.clone()
                change(model)
                return (model,)

        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "HarnessAttention", Node)
        edit.patch("HarnessAttention")

    return between


@pytest.mark.parametrize("sampler", ["KSampler", "SAMAEdit", "SAMALongEdit", "SAMAAnchorPreview"])
def test_every_sampler_refuses_before_anything_is_computed(
    comfyui, edit, put_on, monkeypatch, sampler
):
    """The error names the back end and the node to remove."""
    from sama_core.model.dit import SamaDiT

    monkeypatch.setattr(
        SamaDiT, "forward", lambda *args, **kwargs: pytest.fail("the model was run")
    )
    put_on(lambda model: core_node(model, VSA))
    link = (
        edit.ksampler()
        if sampler == "KSampler"
        else (long_edit if sampler == "SAMALongEdit" else whole_edit)(edit)
    )
    if sampler == "SAMAAnchorPreview":
        edit.nodes[link[0]]["class_type"] = sampler
        edit.nodes[link[0]]["inputs"] |= {"anchors": 1, "first_frame": 0}
    result = comfyui.run(edit.nodes, keep=[link[0]])
    assert "block-sparse attention (vsa)" in result.errors[0]
    assert "Remove Model Sparse Attention" in result.errors[0]


@pytest.mark.parametrize("settings", [SOL, SLA])
def test_a_training_refuses_what_sampling_is_served(model, settings):
    from sama_core.comfyui.attention_backends import refuse_sparse

    core_node(model, settings)
    refuse_sparse(model)
    with pytest.raises(ConditioningError, match="block-sparse attention"):
        refuse_sparse(model, training=True)


class Spoilt:
    """A back end that is right for all rows but the last 65 of self-attention."""

    def __init__(self, settings: dict):
        self.__dict__.update(settings)
        self.calls = 0

    def override(self, func, q, k, v, heads, **named):
        out = func(q, k, v, heads, **named)
        if q.shape != k.shape:
            return out
        self.calls += 1
        return torch.cat([out[:, :-65], torch.full_like(out[:, -65:], torch.nan)], dim=1)


@pytest.mark.parametrize("settings", [SOL, SLA])
def test_served_back_ends_are_asked_for_video_rows_only(comfyui, edit, put_on, sampled, settings):
    """On the real graph: the semantic rows of both streams' edit are exact without it."""
    back_end = Spoilt(settings)
    put_on(
        lambda model: model.model_options["transformer_options"].update(
            {OVERRIDE: back_end.override}
        )
    )
    out = edit.sample()
    assert back_end.calls == 2 * 3  # two blocks, three steps; one call for both conditionings
    assert distance(out["video"], sampled["video"])[0] < 1e-5
    assert distance(out["semantic"], sampled["semantic"])[0] < 1e-5


def test_a_model_is_as_before_without_its_sparse_attention(comfyui, edit, put_on, sampled):
    """The preparation is the run's, not the model's."""
    put_on(
        lambda model: model.model_options["transformer_options"].update(
            {OVERRIDE: Spoilt(SOL).override}
        )
    )
    patched = edit.values(edit.model)
    edit.sample()
    assert BLOCK_SPARSE not in patched.model_options["transformer_options"]
    del patched.model_options["transformer_options"][OVERRIDE]
    plain = Edit(comfyui, edit.models, area=SMALL_AREA)
    assert torch.equal(plain.sample()["video"], sampled["video"])


def kernel_of_sage(q, k, v, tensor_layout, smooth_k, **named):
    """SageAttention's own function, emulated: int8 queries and keys, fp16 values."""
    assert tensor_layout == "NHD"
    parts = (part.transpose(1, 2) for part in (q, k, v))
    return low_precision.attend(*parts, values="fp16", smooth=smooth_k).transpose(1, 2)


def kernel_of_flash(q, k, v, **named):
    """flash-attn's own function, emulated: everything in bfloat16."""
    parts = (part.transpose(1, 2) for part in (q, k, v))
    return low_precision.to_bfloat16(*parts).transpose(1, 2).contiguous()


@pytest.mark.parametrize(
    ("name", "kernel", "function", "video", "semantic"),
    [
        ("sageattn", kernel_of_sage, "attention_sage", 0.01, 0.01),
        ("flash_attn_func", kernel_of_flash, "attention_flash", 0.01, 0.01),
    ],
)
def test_cores_own_functions_of_low_precision(
    comfyui, edit, put_on, sampled, monkeypatch, name, kernel, function, video, semantic
):
    """On the real graph, with the kernel emulated that a CPU has not: near in both streams."""
    from comfy.ldm.modules import attention

    monkeypatch.setattr(attention, name, kernel, raising=False)
    run = getattr(attention, function)
    put_on(
        lambda model: model.model_options["transformer_options"].update(
            {OVERRIDE: lambda func, *args, **named: run(*args, **named)}
        )
    )
    out = edit.sample()
    assert 0 < distance(out["video"], sampled["video"])[0] < video
    assert 0 < distance(out["semantic"], sampled["semantic"])[0] < semantic
