"""Layouts of weight files: what ComfyUI applies is planned, what it would leave out is refused, by
all alike.
"""

import struct

import pytest
import torch
from safetensors.torch import save_file

from sama_core.convert.weight_source import open_source
from sama_core.errors import CheckpointError
from sama_core.model.config import DitConfig
from sama_core.plan.read_model import read_model
from sama_core.weights.checkpoint import plan_checkpoint
from sama_core.weights.header import read_header
from sama_core.weights.names import strip_prefix, to_diffusers, to_wan, uses_diffusers_names

from ..harness.untrained import diffusion_model
from ..harness.weight_layout_cases import LayoutCase, right, wrong
from ..harness.weight_layouts import (
    comfy_quant,
    diffusers,
    list_in_metadata,
    matrices,
    unmarked_fp8,
)

TINY = DitConfig(
    dim=64,
    num_heads=1,
    ffn_dim=32,
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


def written(tmp_path, case: LayoutCase):
    path = tmp_path / "model.safetensors"
    save_file(
        {key: value.contiguous() for key, value in case.tensors.items()},
        path,
        metadata=case.metadata,
    )
    return path


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_what_comfyui_reads_is_planned(tmp_path, case):
    path = written(tmp_path, case)
    assert plan_checkpoint(path).config == read_model(path).config == TINY


@pytest.mark.parametrize("name", [name for name in RIGHT if "some" not in name])
def test_the_plan_counts_the_models_weights_whatever_packs_them(tmp_path, name):
    """Marks and scales are no weights, and two values in a byte are two."""
    assert read_model(written(tmp_path, RIGHT[name])).weights.parameters == sum(
        map(torch.numel, WEIGHTS.values())
    )


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_it_would_leave_out_is_refused_by_loader_convert_and_plan_alike(tmp_path, case):
    path, messages = written(tmp_path, case), []
    for judge in (plan_checkpoint, open_source, read_model):
        with pytest.raises(CheckpointError) as caught:
            judge(path)
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    assert (
        case.words in messages[0]
        and messages[0].startswith("model.safetensors: got ")
        and ", needs " in messages[0]
    )


def test_the_comfyui_at_hand_says_which_formats_it_reads(tmp_path):
    """A format of a later ComfyUI is no error there, and one that an older ComfyUI lacks is."""
    path = written(tmp_path, WRONG["unknown format in the metadata"])
    assert plan_checkpoint(path, formats=["sdnq_int4"]).report.ok
    path = written(tmp_path, RIGHT["comfy_quant"])
    with pytest.raises(
        CheckpointError, match=r"got the quantisation format float8_e4m3fn .*reads here \(nvfp4\)"
    ):
        plan_checkpoint(path, formats=["nvfp4"])


@pytest.mark.parametrize(
    "name", ["diffusers", "all in one", "prefix pipe.dit.", "some with a prefix"]
)
def test_tensors_are_the_same_under_every_name(tmp_path, name):
    """Names, shapes and values: nothing is lost, and no tensor becomes another's."""
    case = RIGHT[name]
    tensors = strip_prefix(case.tensors)
    assert tensors.keys() == WEIGHTS.keys() == open_source(written(tmp_path, case)).tensors.keys()
    assert all(torch.equal(tensors[key], value) for key, value in WEIGHTS.items())


@pytest.mark.parametrize("key", sorted(WEIGHTS))
def test_diffusers_names_lead_back(key):
    assert to_wan(to_diffusers(key)) == key == to_wan(next(iter(diffusers({key: None}))))


def test_diffusers_names_are_told_from_wans():
    assert uses_diffusers_names(diffusers(WEIGHTS)) and not uses_diffusers_names(WEIGHTS)


def test_an_all_in_one_checkpoint_knows_what_it_leaves_out(tmp_path):
    file = read_header(written(tmp_path, RIGHT["all in one"]))
    assert file.kind == "full" and len(file.left_out) == 3
    assert all(name.startswith(("text_encoders.", "vae.")) for name in file.left_out)


def test_a_delta_takes_the_scales_of_what_it_replaces_away(tmp_path):
    """The base is quantised by its metadata; the delta brings one of its layers anew in 32 bit."""
    sama = {
        key: WEIGHTS[key] for key in WEIGHTS if key.startswith(("segment", "siglip", "semantic"))
    }
    base = {key: value for key, value in WEIGHTS.items() if key not in sama}
    layer = matrices(base)[0]
    save_file(
        unmarked_fp8(base), tmp_path / "base.safetensors", metadata=list_in_metadata(matrices(base))
    )
    save_file(
        sama | {f"{layer}.weight": WEIGHTS[f"{layer}.weight"]}, tmp_path / "delta.safetensors"
    )
    assert plan_checkpoint(tmp_path / "delta.safetensors", tmp_path / "base.safetensors").report.ok


# --- headers -----------------------------------------------------------------------------------


def broken_header(old: bytes, new: bytes) -> bytes:
    from safetensors.torch import save

    data = save({"blocks.0.a": torch.zeros(4), "blocks.0.b": torch.zeros(4)})
    assert old in data and len(old) == len(new)
    return data.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"shape":[4]', b'"shape":[5]', "blocks.0.a of type F32 and shape [5] in 16 bytes"),
        (b'"dtype":"F32"', b'"dtype":"F64"', "blocks.0.a of type F64 and shape [4] in 16 bytes"),
        (b'"data_offsets":[16,32]', b'"data_offsets":[00,16]', "no readable safetensors header"),
        (
            b'"data_offsets":[16,32]',
            b'"data_offsets":[ 0,16]',
            "bytes that belong to no tensor or to two",
        ),
        (
            b'"data_offsets":[16,32]',
            b'"data_offsets":[12,28]',
            "4 bytes that belong to no tensor or to two",
        ),
    ],
)
def test_a_header_that_contradicts_itself(tmp_path, old, new, words):
    """A loader would read other bytes than those written, or end in a raw error."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(broken_header(old, new))
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert words in str(caught.value)


def test_only_marks_and_small_scales_are_read(tmp_path):
    file = read_header(written(tmp_path, LayoutCase("", comfy_quant(WEIGHTS))))
    scales = file.small_scales()
    assert len(scales) == len(matrices(WEIGHTS)) and {len(data) for _, data in scales.values()} == {
        4
    }
    (dtype, data), largest = (
        scales["blocks.0.ffn.0.weight_scale"],
        WEIGHTS["blocks.0.ffn.0.weight"].abs().amax(),
    )
    assert (dtype, struct.unpack("<f", data)[0]) == ("F32", (largest / 448).item())
