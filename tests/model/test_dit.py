"""What the DiT does with any weights: batches, gradients, compilation, dtypes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sama_core
from sama_core import SamaDiT
from sama_core.errors import ConditioningError, GeometryError

from ..harness.golden import assert_close
from .conftest import CLOSE, HEADS, draw, drop, list_velocities


def test_source_matters_and_is_not_the_target(model):
    """Swapping the two videos is not the same as swapping the answer."""
    inputs = draw()
    video, _ = model(**inputs)
    swapped, _ = model(
        **inputs | {"latents": inputs["source_latents"], "source_latents": inputs["latents"]}
    )
    alone, _ = model(**drop(inputs, "source_latents"))
    for other in (swapped, alone):
        assert (other - video).norm() > 0.1 * video.norm()


def test_without_semantics_there_is_no_semantic_velocity(model):
    assert model(**drop(draw(), "semantic_latents"))[1] is None


@pytest.mark.parametrize("absent", [(), ("source_latents",), ("semantic_latents",)], ids=str)
def test_each_sample_of_a_batch_equals_its_own_run(model, absent):
    """Three samples, three timesteps."""
    batch = drop(draw(batch=3), *absent)
    together = model(**batch)
    for i in range(3):
        alone = model(**{name: value[i : i + 1] for name, value in batch.items()})
        for many, one in zip(list_velocities(together), list_velocities(alone), strict=True):
            assert_close(many[i : i + 1], one, **CLOSE)


def test_one_timestep_serves_a_whole_batch(model):
    batch = draw(batch=2) | {"timestep": torch.tensor([640.0])}
    repeated = model(**batch | {"timestep": torch.tensor([640.0, 640.0])})
    for one, two in zip(model(**batch), repeated, strict=True):
        assert_close(one, two, **CLOSE)


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((1, 16, 1, 6, 8), "got 1 latent frames of 8x6, 16 channels, batch 1"),
        ((1, 16, 2, 8, 8), "got 2 latent frames of 8x8, 16 channels, batch 1"),
        ((1, 16, 2, 6, 6), "got 2 latent frames of 6x6, 16 channels, batch 1"),
        ((1, 48, 2, 6, 8), "got 2 latent frames of 8x6, 48 channels, batch 1"),
        ((2, 16, 2, 6, 8), "got 2 latent frames of 8x6, 16 channels, batch 2"),
    ],
)
def test_a_source_of_another_size_is_refused(model, shape, got):
    with pytest.raises(
        ConditioningError,
        match=f"source latent: {got}, needs the target's 2 latent frames of 8x6, "
        "16 channels, batch 1. Encode the source with SAMA Edit Cond",
    ):
        model(**draw() | {"source_latents": torch.zeros(shape)})


@pytest.mark.parametrize("size", [(5, 8), (6, 7)])
def test_latents_that_patches_do_not_fit_are_refused(model, size):
    height, width = size
    with pytest.raises(
        GeometryError,
        match=f"latent size: got {width}x{height}, needs an even width and height. "
        "Make the frames a multiple of 16 pixels",
    ):
        model(**drop(draw(), "source_latents") | {"latents": torch.zeros(1, 16, 2, height, width)})


def objective(model, inputs) -> Tensor:
    """A number that depends on every output value."""
    video, semantic = model(**inputs)
    weight = torch.linspace(-1, 1, video.numel(), dtype=video.dtype).view_as(video)
    return (video * weight).sum() + semantic.square().sum()


@pytest.mark.parametrize(
    "name",
    [
        "patch_embedding.weight",
        "segment_embedding.weight",
        "siglip_feat_mlp.norm.weight",
        "siglip_feat_mlp.fc1.weight",
        "semantic_head.proj.weight",
        "time_embedding.0.weight",
        "time_projection.1.weight",
        "text_embedding.0.weight",
        "blocks.0.modulation",
        "blocks.0.self_attn.q.weight",
        "blocks.1.self_attn.norm_k.weight",
        "blocks.1.cross_attn.k.weight",
        "blocks.2.ffn.0.weight",
        "head.modulation",
        "head.head.weight",
    ],
)
def test_gradient_is_the_slope(weights, name):
    """In float64, along a random direction of one weight."""
    model = SamaDiT.from_state_dict(
        {key: value.double() for key, value in weights.items()}, num_heads=HEADS
    )
    inputs, parameter = draw(dtype=torch.float64), model.get_parameter(name)
    direction = torch.randn(
        parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    objective(model, inputs).backward()
    slope = (parameter.grad * direction).sum().item()
    start, step = parameter.detach().clone(), 1e-6

    def moved(distance: float) -> float:
        with torch.no_grad():
            parameter.copy_(start + distance * direction)
            return objective(model, inputs).item()

    assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=1e-5)


def test_every_weight_learns(weights):
    model = SamaDiT.from_state_dict(weights, num_heads=HEADS)
    objective(model, draw()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.count_nonzero(parameter.grad) > 0, name


@pytest.mark.parametrize("grad", [True, False])
def test_nothing_is_written_in_place(weights, grad):
    """Inputs and weights stay as they are, and a second call answers the same."""
    model, inputs = SamaDiT.from_state_dict(weights, num_heads=HEADS), draw(batch=2)
    before = {name: value.clone() for name, value in inputs.items()}
    with torch.set_grad_enabled(grad):
        first, second = model(**inputs), model(**inputs)
    assert all(torch.equal(value, before[name]) for name, value in inputs.items())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "absent", [(), ("source_latents", "semantic_latents")], ids=["all", "target only"]
)
def test_compiles_as_one_graph(model, absent):
    torch.compiler.reset()
    inputs = drop(draw(), *absent)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for ours, eager in zip(
        list_velocities(compiled(**inputs)), list_velocities(model(**inputs)), strict=True
    ):
        assert torch.equal(ours, eager)


@pytest.mark.parametrize(
    ("head_dtype", "kept"), [(None, torch.bfloat16), (torch.float32, torch.float32)]
)
def test_bf16_model_stays_near_float32(model, weights, head_dtype, kept):
    """With and without the small modules in float32, as ComfyUI keeps them."""
    half = SamaDiT.from_state_dict(
        weights, num_heads=HEADS, dtype=torch.bfloat16, head_dtype=head_dtype
    )
    dtypes = {name: parameter.dtype for name, parameter in half.named_parameters()}
    assert dtypes["semantic_head.proj.weight"] == dtypes["segment_embedding.weight"] == kept
    assert dtypes["patch_embedding.weight"] == dtypes["siglip_feat_mlp.fc1.weight"] == kept
    assert dtypes["blocks.0.ffn.0.weight"] == dtypes["head.head.weight"] == torch.bfloat16
    inputs = draw(dtype=torch.bfloat16) | {"timestep": torch.tensor([900.0])}
    with torch.no_grad():
        ours = half(**inputs)
    exact = model(**{name: value.float() for name, value in inputs.items()})
    for rounded, expected in zip(ours, exact, strict=True):
        assert rounded.dtype == torch.bfloat16
        assert_close(rounded, expected, rel_l2=0.02)


def test_the_core_imports_without_comfyui():
    """In a fresh process; only `sama_core.comfyui` may need it."""
    modules = (
        "weights.checkpoint model.config geometry model.dit model.rotary model.schedule text "
        "encoders.latent_space model.tokens encoders.umt5_layout"
    ).split()
    code = "; ".join(
        [f"import sama_core.{module}" for module in modules]
        + [
            "import sys",
            "comfy = ('comfy', 'folder_paths', 'nodes')",
            "print([m for m in sys.modules if m.split('.')[0] in comfy])",
        ]
    )
    root = Path(sama_core.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names():
    assert sama_core.SamaDiT is SamaDiT and callable(sama_core.load_state_dict_report)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sama_core.nothing
