"""Weight files in every layout through the real loaders: the same weights, or a refusal before any
is read.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.errors import CheckpointError
from sama_core.model.config import DitConfig

from ..harness.untrained import diffusion_model
from ..harness.weight_layout_cases import LayoutCase, right, wrong
from ..harness.weight_layouts import (
    add_prefix,
    comfy_quant,
    list_in_metadata,
    mark,
    matrices,
    scaled_fp8,
    unmarked_fp8,
)

TINY = DitConfig(
    dim=64,
    num_heads=1,
    ffn_dim=96,
    num_layers=2,
    text_dim=8,
    freq_dim=16,
    in_dim=16,
    out_dim=16,
    semantic_dim=12,
    semantic_hidden=10,
)
WEIGHTS = diffusion_model(torch.Generator().manual_seed(0), TINY)
RIGHT, WRONG = (
    {case.name: case for case in right(WEIGHTS)},
    {case.name: case for case in wrong(WEIGHTS)},
)
QUANTISED_ERROR = 0.06


def written(path: Path, tensors: dict, metadata: dict | None = None) -> str:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    return str(path)


def load(tmp_path, case: LayoutCase):
    from sama_core.comfyui.loaders import load_diffusion_model

    return load_diffusion_model(
        written(tmp_path / "model.safetensors", case.tensors, case.metadata)
    )


def numbers(module, inside: str = "") -> dict[str, torch.Tensor]:
    """What each weight stands for, in float32."""
    return {
        name: (value.dequantize() if hasattr(value, "_qdata") else value).float()
        for name, value in module.named_parameters()
        if name.startswith(inside)
    }


def distance(value: torch.Tensor, reference: torch.Tensor) -> float:
    return ((value - reference).norm() / reference.norm().clamp(min=1e-9)).item()


# --- the diffusion model -----------------------------------------------------------------------


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_right_files_load_as_the_weights_they_stand_for(comfyui, tmp_path, case):
    found = numbers(load(tmp_path, case).model.diffusion_model)
    for name, value in WEIGHTS.items():
        if "nvfp4" not in case.name:  # packed noise
            assert distance(found[name], value) < QUANTISED_ERROR, name
        assert found[name].isfinite().all()


@pytest.mark.parametrize("name", ["comfy_quant", "metadata", "scaled fp8"])
def test_every_mark_of_fp8_gives_the_same_numbers(comfyui, tmp_path, name):
    one, other = (
        numbers(load(tmp_path, RIGHT[each]).model.diffusion_model)
        for each in (name, "metadata with a prefix")
    )
    assert all(torch.equal(one[key], other[key]) for key in WEIGHTS)


def test_the_smoothing_of_nvfp4_reaches_the_layer(comfyui, tmp_path):
    layer = load(tmp_path, RIGHT["nvfp4 with smoothing"]).model.diffusion_model.blocks[0].ffn[0]
    assert layer.quant_format == "nvfp4" and layer.pre_quant_scale.unique().tolist() == [0.5]


@pytest.mark.parametrize("size", [(64, 64), (40, 24), (256, 96)])
@pytest.mark.parametrize(
    ("name", "layout", "scales"),
    [
        (
            "nvfp4",
            "TensorCoreNVFP4Layout",
            {"weight_scale": "block_scale", "weight_scale_2": "scale"},
        ),
        ("mxfp8", "TensorCoreMXFP8Layout", {"weight_scale": "scale"}),
        ("int8_tensorwise", "TensorWiseINT8Layout", {"weight_scale": "scale"}),
        ("float8_e4m3fn", "TensorCoreFP8E4M3Layout", {"weight_scale": "scale"}),
    ],
)
def test_shapes_of_formats_are_those_that_core_makes(comfyui, name, layout, scales, size):
    import comfy.quant_ops

    from sama_core.weights.quant_formats import FORMATS

    packed, params = getattr(comfy.quant_ops, layout).quantize(torch.randn(size))
    assert tuple(packed.shape) == FORMATS[name].weight(*size)
    for part, held in scales.items():
        assert FORMATS[name].scales[part](*size, tuple(getattr(params, held).shape)), part


DECLARED_BUT_NOT_READ = {"asym_w4a8_int8": {"weight_scale"}}
"""What ComfyUI 0.33 lists for a format while its loader reads other names (comfy/ops.py)."""


def test_every_format_of_this_core_is_known(comfyui):
    """A new one is accepted from a file, but its shapes are not checked before loading: add it to
    the table.
    """
    import comfy.quant_ops

    from sama_core.weights.quant_formats import FORMATS

    assert comfy.quant_ops.QUANT_ALGOS.keys() <= FORMATS.keys()
    for name, format_ in comfy.quant_ops.QUANT_ALGOS.items():
        known = FORMATS[name].scales.keys() | FORMATS[name].optional.keys()
        assert format_["parameters"] <= known | DECLARED_BUT_NOT_READ.get(name, set()), name


# Core takes one of two names, which hold the same here, and lets marks of no layer lie.
CORE_TAKES = {
    "a tensor twice",
    "two prefixes",
    "half under diffusers' names",
    "a mark for no layer",
    "a list that names no layer",
}
# Core reads the metadata before it asks which model it is; a Wan of one head of 64 is none.
CORE_FAILS = {
    "metadata with no JSON",
    "metadata with a list",
    "metadata with no layers",
    "metadata with a number",
    "checkpoint of plain Wan",
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_the_stock_loader_never_makes_a_sama_of_a_wrong_file(comfyui, tmp_path, case):
    """What core would leave out is refused by our sentence; what it cannot read at all by its own
    error.
    """
    import comfy.sd

    path = written(tmp_path / "model.safetensors", case.tensors, case.metadata)
    if case.name in CORE_TAKES:
        found = numbers(comfy.sd.load_diffusion_model(path).model.diffusion_model)
        assert all(
            distance(found[name], value) < QUANTISED_ERROR for name, value in WEIGHTS.items()
        )
        return
    with pytest.raises(Exception) as caught:
        comfy.sd.load_diffusion_model(path)
    if case.name not in CORE_FAILS:
        assert isinstance(caught.value, CheckpointError) and str(caught.value).startswith(
            "this SAMA model: got "
        )


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in RIGHT
        if not name.startswith(("prefix", "diffusers", "some")) and "diffusers" not in name
    ],
)
def test_the_stock_loader_still_makes_one_of_a_right_file(comfyui, tmp_path, name):
    import comfy.sd

    path = written(tmp_path / "model.safetensors", RIGHT[name].tensors, RIGHT[name].metadata)
    found = numbers(comfy.sd.load_diffusion_model(path).model.diffusion_model)
    if "nvfp4" not in name:
        assert all(distance(found[key], value) < QUANTISED_ERROR for key, value in WEIGHTS.items())


def test_other_packs_operations_read_scales_as_they_like(comfyui):
    """A loader with operations of its own is not judged."""
    import comfy.ops
    import comfy.sd

    case = WRONG["fp8 by row, unmarked"]
    options = {"custom_operations": comfy.ops.manual_cast}
    assert (
        comfy.sd.load_diffusion_model_state_dict(dict(case.tensors), model_options=options)
        is not None
    )


@pytest.mark.parametrize("by_metadata", [True, False])
def test_a_delta_over_a_quantised_base_keeps_the_bases_marks(comfyui, tmp_path, by_metadata):
    """The base's scales are applied, whatever marks them, and the layer that the delta brings is
    its own.
    """
    from sama_core.comfyui.loaders import load_diffusion_model

    sama = {
        key: value
        for key, value in WEIGHTS.items()
        if key.startswith(("segment", "siglip", "semantic"))
    }
    base = {key: value for key, value in WEIGHTS.items() if key not in sama}
    layers = matrices(base)
    trained = {f"{layers[0]}.weight": WEIGHTS[f"{layers[0]}.weight"] + 1}
    quantised = (
        (unmarked_fp8(base), list_in_metadata(layers)) if by_metadata else (scaled_fp8(base), None)
    )
    model = load_diffusion_model(
        written(tmp_path / "delta.safetensors", sama | trained),
        written(tmp_path / "base.safetensors", *quantised),
    )
    found = numbers(model.model.diffusion_model)
    assert all(
        distance(found[key], value) < QUANTISED_ERROR for key, value in (WEIGHTS | trained).items()
    )


# --- text encoder and VAE ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(comfyui, small) -> dict:
    return load_file(comfyui.models("text_encoders") / small.text_encoder)


def encode(path: str) -> torch.Tensor:
    from sama_core.comfyui.loaders import load_text_encoder

    clip = load_text_encoder(path)
    return clip.encode_from_tokens(clip.tokenize("make the circle red")).float()


@pytest.mark.parametrize(
    "layout",
    [
        lambda weights, layers: (comfy_quant(weights, layers), None),
        lambda weights, layers: (scaled_fp8(weights, layers), None),
        lambda weights, layers: (unmarked_fp8(weights, layers), list_in_metadata(layers)),
    ],
    ids=["comfy_quant", "scaled fp8", "metadata"],
)
def test_quantised_text_encoders_encode_as_the_whole_one(tmp_path, encoder, layout):
    layers = matrices(encoder, "encoder.block.")
    layers = [layer for layer in layers if "relative_attention_bias" not in layer]
    expected = encode(written(tmp_path / "whole.safetensors", encoder))
    found = encode(written(tmp_path / "small.safetensors", *layout(encoder, layers)))
    assert 0 < distance(found, expected) < 0.1


QUERY = "encoder.block.0.layer.0.SelfAttention.q"


def wrong_encoders(whole: dict) -> dict[str, tuple[dict, str]]:
    layers = [layer for layer in matrices(whole, "encoder.block.") if "bias" not in layer]
    marked = comfy_quant(whole, layers)
    return {
        "unmarked": (unmarked_fp8(whole, layers), "scales that nothing applies"),
        "old scales": (unmarked_fp8(whole, layers, "scale_weight"), "scales that nothing applies"),
        "unknown format": (
            marked | {f"{QUERY}.comfy_quant": mark("sdnq_int4")},
            "the quantisation format sdnq_int4",
        ),
        "nan": (
            marked | {f"{QUERY}.weight_scale": torch.tensor(float("nan"))},
            "NaN or infinite values in",
        ),
        "no scale": (
            {key: value for key, value in marked.items() if key != f"{QUERY}.weight_scale"},
            f"quantised layers without {QUERY}.weight_scale",
        ),
        "integers": (
            whole | {f"{QUERY}.weight": torch.zeros(64, 64, dtype=torch.int8)},
            "as I8 without",
        ),
        "another shape": (
            whole | {f"{QUERY}.weight": torch.zeros(64, 63)},
            f"{QUERY}.weight [64, 63] instead of",
        ),
        "flat": (whole | {"shared.weight": torch.zeros(9)}, "tensors of shapes that no umT5 has"),
        "endless": (
            whole | {"encoder.block.99999999.x": torch.zeros(1)},
            "a block 99999999 in a file",
        ),
        "all in one": (
            add_prefix(whole, "text_encoders.umt5xxl.transformer.") | RIGHT["all in one"].tensors,
            "got an all-in-one checkpoint (model, text encoder and VAE), needs umT5",
        ),
    }


@pytest.mark.parametrize("name", wrong_encoders({"shared.weight": torch.zeros(1)}))
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_wrong_text_encoders_are_refused_by_name(tmp_path, encoder, name, suffix):
    tensors, words = wrong_encoders(encoder)[name]
    path = tmp_path / f"umt5{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        written(path, tensors)
    with pytest.raises(CheckpointError) as caught:
        encode(str(path))
    assert words in str(caught.value) and str(caught.value).startswith(f"umt5{suffix}: got ")


def wrong_vaes(whole: dict) -> dict[str, tuple[dict, str]]:
    name = "decoder.middle.1.proj"
    return {
        "scales": (
            whole | {f"{name}.weight_scale": torch.tensor(1.0)},
            f"nothing applies ({name}.weight_scale)",
        ),
        "marks": (
            whole | {f"{name}.comfy_quant": mark("float8_e4m3fn")},
            f"the quantisation format float8_e4m3fn ({name}), needs weights in 16 or 32 bit",
        ),
        "integers": (
            whole | {f"{name}.weight": torch.zeros(4, 4, 1, 1, dtype=torch.int8)},
            f"{name}.weight as I8",
        ),
        "another shape": (whole | {f"{name}.bias": torch.zeros(3)}, f"{name}.bias [3] instead of"),
        "no width": (whole | {"decoder.head.0.gamma": torch.tensor(1.0)}, "instead of"),
        "all in one": (
            add_prefix(whole, "vae.") | RIGHT["all in one"].tensors,
            "got an all-in-one checkpoint",
        ),
    }


@pytest.mark.parametrize("name", wrong_vaes({}))
def test_wrong_vaes_are_refused_by_name(comfyui, small, tmp_path, name):
    from sama_core.comfyui.loaders import load_vae

    tensors, words = wrong_vaes(load_file(comfyui.models("vae") / small.vae))[name]
    with pytest.raises(CheckpointError) as caught:
        load_vae(written(tmp_path / "vae.safetensors", tensors))
    assert words in str(caught.value) and str(caught.value).startswith("vae.safetensors: got ")


def test_nothing_is_read_of_a_file_that_is_refused(comfyui, tmp_path, monkeypatch):
    """Weights are opened by core's reader only, and it is not asked."""
    import comfy.utils

    from sama_core.comfyui.loaders import load_text_encoder, load_vae

    def read(*args, **kwargs):
        raise AssertionError("weights were read")

    monkeypatch.setattr(comfy.utils, "load_torch_file", read)
    case = WRONG["int8, unmarked"]
    for loader in (lambda path: load(tmp_path, case), load_vae, load_text_encoder):
        with pytest.raises(CheckpointError):
            loader(written(tmp_path / "model.safetensors", case.tensors))


def test_a_type_that_this_torch_cannot_read_is_one_sentence(comfyui, tmp_path):
    """The header is sound, but core's reader knows no such numbers."""
    from sama_core.comfyui.loaders import load_diffusion_model

    path = Path(written(tmp_path / "model.safetensors", RIGHT["mxfp8"].tensors))
    path.write_bytes(path.read_bytes().replace(b'"dtype":"U8"', b'"dtype":"Q7"'))
    with pytest.raises(
        CheckpointError, match=r"model.safetensors: got no readable weights \(.*\), needs a weight"
    ):
        load_diffusion_model(str(path))


def test_an_upper_case_ending_is_a_safetensors_file_too(comfyui, tmp_path):
    from sama_core.comfyui.weight_files import describe

    path = written(tmp_path / "VAE.SAFETENSORS", WEIGHTS)
    assert describe(path).stored.keys() == WEIGHTS.keys() and describe(path).scales == {}
