"""A base in one byte a weight under a LoRA: read as the file has it, kept so, and trained over."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sama_core.convert.job import convert
from sama_core.errors import CheckpointError
from sama_core.model.dit import SamaDiT
from sama_core.training.__main__ import main
from sama_core.training.memory.frozen_linear import FrozenLinear
from sama_core.training.memory.packed import Packed, pack
from sama_core.training.rows.first_weights import ModelFiles
from sama_core.weights.quant_formats import METADATA

from ..convert.convert_files import fp8_values
from .rows_files import BLUE, RED, clip, jsonl, losses, models, pair, recipe, settings

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
MATRICES = 20
"""Of the untrained model's two blocks."""


@pytest.fixture(scope="module")
def whole():
    return models() / "diffusion_models" / "sama_untrained.safetensors"


@pytest.fixture(scope="module")
def converted(whole, tmp_path_factory):
    """The untrained model in each form of fp8 that is written."""
    folder = tmp_path_factory.mktemp("converted")
    made = {}
    for form in ("fp8_scaled", "fp8", "fp8_fast"):
        made[form] = folder / f"{form}.safetensors"
        convert(whole, made[form], form)
    return made


def load(path, frozen=True, shrink=False, dtype=torch.float32) -> SamaDiT:
    files = ModelFiles.of(str(path), "", 48, frozen)
    return files.load(dtype, torch.Generator().manual_seed(0), frozen, shrink)


def frozen_layers(dit: nn.Module) -> dict[str, FrozenLinear]:
    return {name: one for name, one in dit.named_modules() if isinstance(one, FrozenLinear)}


def linear(packed: Packed, bias: torch.Tensor) -> FrozenLinear:
    layer = FrozenLinear.like(nn.Linear(packed.numbers.shape[1], len(packed.numbers)), packed)
    bytes_ = {"weight": packed.numbers.view(torch.uint8), "bias": bias}
    layer.load_state_dict(bytes_, assign=True)
    return layer.requires_grad_(False)


# --- one layer -----------------------------------------------------------------------------------


def test_literal_product():
    """W = 0.5 · [[2, -4], [1, 0]]: y = x Wᵀ + b, and the gradient of x is the sum of W's rows."""
    layer = linear(
        Packed(torch.tensor([[2.0, -4], [1, 0]]).to(E4M3), torch.tensor(0.5)),
        torch.tensor([10, 0.0]),
    )
    x = torch.tensor([[1.0, 2]], requires_grad=True)
    y = layer(x)
    assert y.tolist() == [[7.0, 0.5]]
    y.sum().backward()
    assert x.grad.tolist() == [[1.5, -2.0]]
    assert layer.weight.grad is None and layer.weight.dtype == torch.uint8


@pytest.mark.parametrize("autocast", [False, True])
def test_as_a_linear_of_the_unpacked_matrix(autocast):
    generator = torch.Generator().manual_seed(0)
    matrix, bias = torch.randn(6, 4, generator=generator), torch.randn(6, generator=generator)
    packed = pack(matrix)
    plain, dtype = nn.Linear(4, 6), torch.bfloat16 if autocast else torch.float32
    plain.load_state_dict({"weight": packed.unpack(dtype).float(), "bias": bias})
    x = torch.randn(3, 4, generator=generator)
    found = []
    for layer in (linear(packed, bias), plain):
        given = x.clone().requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = layer(given)
        y.float().square().sum().backward()
        found.append((y, given.grad))
    assert found[0][0].dtype == dtype
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02 if autocast else 1e-5, atol=1e-5)


def test_the_graph_keeps_no_unpacked_matrix():
    layer = linear(pack(torch.ones(64, 32)), torch.zeros(64))
    kept = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(torch.ones(2, 32, requires_grad=True))
    assert [(one.dtype, one.shape) for one in kept] == [
        (E4M3, (64, 32)),
        (torch.float32, ()),
    ]


def test_moving_and_casting_leaves_numbers_and_scale():
    layer = linear(Packed(torch.ones(2, 2).to(E4M3), torch.tensor(1 / 3)), torch.zeros(2))
    layer.to(torch.bfloat16)
    assert layer.matrix.numbers.dtype == E4M3 and layer.bias.dtype == torch.bfloat16
    assert layer.scale.dtype == torch.float32 and layer.scale.item() == torch.tensor(1 / 3).item()


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["fp8_scaled", "fp8", "fp8_fast"])
def test_our_own_files_stay_as_they_are(converted, form):
    dit, values = load(converted[form]), fp8_values(converted[form])
    layers, stored = frozen_layers(dit), load_file(converted[form])
    assert len(layers) == MATRICES and set(layers) == {
        name.removesuffix(".weight")
        for name in stored
        if stored[name].dtype == E4M3 and name != "scaled_fp8"
    }
    for name, layer in layers.items():
        assert torch.equal(layer.matrix.unpack(torch.float32), values[f"{name}.weight"])
    others = {name: one for name, one in dit.state_dict().items() if one.dtype != torch.uint8}
    assert all(torch.equal(one, values[name].float()) for name, one in others.items())


def test_a_whole_file_made_fp8_while_read(whole, converted):
    """The same bytes as the file that `convert` writes."""
    made, read = load(whole, shrink=True), load(converted["fp8"])
    assert len(frozen_layers(made)) == MATRICES
    for name, layer in frozen_layers(made).items():
        other = frozen_layers(read)[name]
        assert torch.equal(layer.weight, other.weight) and torch.equal(layer.scale, other.scale)


def test_marks_in_the_metadata_and_other_numbers(whole, tmp_path):
    """ComfyUI's newer form: int8 with a scale a row, float8 of five exponent bits, no scale."""
    weights = load_file(whole)
    int8, e5m2, bare = (f"blocks.0.self_attn.{name}" for name in "qkv")
    rows = len(weights[f"{int8}.weight"])
    weights[f"{int8}.weight"] = torch.full_like(weights[f"{int8}.weight"], 3).to(torch.int8)
    weights[f"{int8}.weight_scale"] = torch.arange(1.0, rows + 1)[:, None]
    weights[f"{e5m2}.weight"] = torch.full_like(weights[f"{e5m2}.weight"], 1.75).to(E5M2)
    weights[f"{e5m2}.weight_scale"] = torch.tensor(2.0)
    weights[f"{bare}.weight"] = torch.full_like(weights[f"{bare}.weight"], 0.5).to(E4M3)
    layers = {int8: {"format": "int8_tensorwise"}, e5m2: {"format": "float8_e5m2"}}
    path = tmp_path / "mixed.safetensors"
    save_file(weights, path, {METADATA: json.dumps({"layers": layers})})
    found = frozen_layers(load(path))
    assert set(found) == {int8, e5m2, bare}
    unpacked = {name: layer.matrix.unpack(torch.float32) for name, layer in found.items()}
    assert unpacked[int8][:3, 0].tolist() == [3.0, 6.0, 9.0]
    assert unpacked[e5m2].unique().tolist() == [3.5]
    assert unpacked[bare].unique().tolist() == [0.5]


def test_without_a_lora_a_quantised_file_is_refused(converted):
    with pytest.raises(CheckpointError, match=r"or train a LoRA \(lora_rank\)"):
        load(converted["fp8"], frozen=False)


def test_a_format_that_needs_a_kernel_is_refused(whole, tmp_path):
    weights = load_file(whole)
    layer = "blocks.0.ffn.0"
    weights[f"{layer}.weight_scale"] = torch.ones(1)
    path = tmp_path / "nvfp4.safetensors"
    marks = {"layers": {layer: {"format": "nvfp4"}}}
    save_file(weights, path, {METADATA: json.dumps(marks)})
    with pytest.raises(CheckpointError, match="the quantisation format nvfp4"):
        load(path)


# --- trained over --------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    clip(tmp_path / "a.mp4", RED, frames=1)
    clip(tmp_path / "b.mp4", BLUE, frames=1)
    return jsonl(tmp_path / "pairs.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])


def train(tmp_path, values) -> int:
    return main(["train", str(recipe(tmp_path / "recipe.toml", values))])


def test_a_lora_over_each_base(pairs, tmp_path, whole, converted):
    """Losses over fp8 are near those over float32, the same whether the file or the reader made
    it, and the adapters begin with the same numbers in float32.
    """
    loras = {}
    for name, model, table in (
        ("float", whole, {}),
        ("file", converted["fp8_scaled"], {}),
        ("read", whole, {"base": "fp8"}),
    ):
        values = settings(pairs, tmp_path / name, model=str(model), steps=3, frames=1)
        values |= {"lora_rank": 4, "checkpoint_every": 3, "memory": table}
        assert train(tmp_path, values) == 0
        loras[name] = load_file(tmp_path / name / "sama_lora.safetensors")
    found = {name: losses(tmp_path / name) for name in loras}
    assert found["file"] == found["read"] and found["file"] != found["float"]
    assert found["file"] == pytest.approx(found["float"], rel=0.02)
    assert all(one.dtype == torch.float32 for one in loras["file"].values())
    first = "diffusion_model.blocks.0.self_attn.q.lora_A.weight"
    assert torch.equal(loras["file"][first], loras["read"][first])
    torch.testing.assert_close(loras["file"][first], loras["float"][first], atol=0.02, rtol=0)


def test_all_settings_together(pairs, tmp_path, converted):
    """In bf16 over fp8, accumulated: everything that saves memory, beside nothing of it."""
    found = {}
    lean = {"block_swap": 2, "states": "bf16", "activations_in_ram": True}
    for name, table in (("plain", {}), ("lean", lean)):
        values = settings(pairs, tmp_path / name, model=str(converted["fp8"]), steps=2, frames=1)
        values |= {"precision": "bf16", "gradient_checkpointing": True, "accumulation": 2}
        values |= {"lora_rank": 4, "memory": table, "clips": {"cache": True}}
        assert train(tmp_path, values) == 0
        found[name] = losses(tmp_path / name)
    assert found["lean"] == pytest.approx(found["plain"], rel=0.02)
    assert found["lean"] != found["plain"]
