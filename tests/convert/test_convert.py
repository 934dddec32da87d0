"""Quantised files: their numbers, what is kept, what is said, and what is refused."""

import builtins
import json
import struct

import gguf
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sama_core.convert import ggml
from sama_core.convert.formats import FORMATS, checked_name, default_name, format_named, is_matrix
from sama_core.convert.job import convert
from sama_core.convert.layouts import fp8_scale, to_fp8, verify
from sama_core.convert.weight_source import open_source
from sama_core.errors import CheckpointError, ConversionError
from sama_core.version import VERSION
from sama_core.weights.names import SAMA_KEYS

from .convert_files import (
    MATRICES,
    TENSORS,
    base_and_delta,
    fp8_values,
    gguf_values,
    tiny,
    worst,
    write,
)

FP8 = [name for name in FORMATS if name.startswith("fp8")]
GGUF = [name for name in FORMATS if name.startswith("gguf")]
CONFIG = json.dumps({"transformer": {"num_heads": 2, "area": 4096}, "other": 1})


@pytest.fixture(scope="module")
def weights():
    return tiny()


@pytest.fixture
def source(tmp_path, weights):
    return write(
        tmp_path / "sama.safetensors", weights, {"config": CONFIG, "modelspec.title": "Tiny"}
    )


def made(source, name: str, **options):
    form = format_named(name)
    return convert(source, source.with_name(default_name(source, form)), name, **options)


# --- the numbers -------------------------------------------------------------------------------


def test_a_float8_matrix_by_hand():
    """Largest 896 → scale 2; 3 and 0.1 are rounded to float8's nearest: 1.5 and 0.05078125."""
    matrix = torch.tensor([[896.0, -3.0], [0.1, 0.0]])
    scale = fp8_scale([matrix])
    assert scale == 2.0
    assert (to_fp8(matrix, scale).float() * scale).tolist() == [[896.0, -3.0], [0.1015625, 0.0]]


def test_a_float8_matrix_of_tiny_values_is_zero():
    """Below 1e-36 the scale would have no inverse, and zeros would become NaN."""
    matrix = torch.tensor([[1e-37, 0.0]])
    scale = fp8_scale([matrix])
    assert scale == 1 and torch.equal(to_fp8(matrix, scale).float(), torch.zeros(1, 2))


def test_a_float8_matrix_of_zeros_stays_zero():
    zeros = torch.zeros(4, 4)
    assert fp8_scale([zeros]) == 1 and torch.equal(to_fp8(zeros, fp8_scale([zeros])).float(), zeros)


# Half a step of the format: float8 has 3 bits of mantissa; a block's step is its range over 2^bits.
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *((name, 0.04) for name in FP8),
        ("gguf_q8_0", 0.007),
        ("gguf_q5_1", 0.05),
        ("gguf_q5_0", 0.055),
        ("gguf_q4_1", 0.1),
        ("gguf_q4_0", 0.11),
    ],
)
def test_matrices_are_near_and_all_else_is_exact(source, weights, name, limit):
    report = made(source, name)
    values = fp8_values(report.target) if name in FP8 else gguf_values(report.target)
    assert values.keys() == weights.keys() and len(values) == TENSORS
    matrix, other = worst(values, weights)
    assert limit / 4 < matrix < limit
    assert other == 0
    assert report.layout.quantised == MATRICES


def test_16_bit_gguf(source, weights):
    """bfloat16 is the source's own; float16 has more digits and loses only what is below its
    smallest number.
    """
    assert worst(gguf_values(made(source, "gguf_bf16").target), weights) == (0, 0)
    matrix, other = worst(gguf_values(made(source, "gguf_f16").target), weights)
    assert matrix < 1e-6 and other == 0


@pytest.mark.parametrize("name", GGUF)
def test_gguf_matrices_are_the_librarys_own(source, weights, name):
    """Chunks and rows change nothing: the bytes are those of one call for the whole matrix."""
    reader = gguf.GGUFReader(made(source, name).target)
    tensor = next(tensor for tensor in reader.tensors if tensor.name == "blocks.1.ffn.2.weight")
    expected = gguf.quants.quantize(weights[tensor.name].float().numpy(), tensor.tensor_type)
    assert tensor.tensor_type.name.lower() == name.removeprefix("gguf_")
    assert tensor.data.tobytes() == expected.tobytes()


def test_chunks_change_nothing(source, monkeypatch):
    whole = made(source, "fp8").target.read_bytes()
    monkeypatch.setattr("sama_core.convert.weight_source.CHUNK", 300)
    assert made(source, "fp8", overwrite=True).target.read_bytes() == whole


@pytest.mark.parametrize("name", ["fp8", "gguf_q5_1"])
def test_threads_change_nothing(source, monkeypatch, name):
    """Whether one makes the chunks or four."""
    monkeypatch.setattr("sama_core.convert.weight_source.CHUNK", 300)
    files = []
    for workers in (1, 4):
        monkeypatch.setattr("sama_core.threads.count_workers", lambda n=workers: n)
        files.append(made(source, name, overwrite=True).target.read_bytes())
    assert files[0] == files[1]


# --- what is kept ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "segment_embedding.weight",
        "siglip_feat_mlp.fc1.weight",
        "semantic_head.proj.weight",
        "patch_embedding.weight",
        "text_embedding.0.weight",
        "time_embedding.2.weight",
        "time_projection.1.weight",
        "head.head.weight",
        "head.modulation",
        "blocks.0.modulation",
        "blocks.0.norm3.weight",
        "blocks.0.self_attn.norm_q.weight",
        "blocks.0.self_attn.q.bias",
        "blocks.0.ffn.0.bias",
    ],
)
def test_never_quantised(source, name):
    assert not is_matrix(name)
    assert load_file(made(source, "fp8").target)[name].dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_kept_tensors_keep_the_sources_type(tmp_path, dtype):
    path = write(tmp_path / "sama.safetensors", tiny(dtype))
    kept = {
        value.dtype
        for name, value in load_file(made(path, "fp8_scaled").target).items()
        if name in SAMA_KEYS
    }
    assert kept == {dtype}


def test_gguf_keeps_small_tensors_in_float32_and_the_large_in_their_own_type(source):
    reader = gguf.GGUFReader(made(source, "gguf_q4_0").target)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert {
        kinds[name] for name in (*SAMA_KEYS, "blocks.0.modulation", "patch_embedding.weight")
    } == {"F32"}
    assert {kinds[name] for name in ("text_embedding.0.weight", "time_projection.1.weight")} == {
        "BF16"
    }


def test_a_matrix_whose_rows_fill_no_blocks_keeps_its_type(tmp_path):
    """gguf_q5_k has blocks of 256: as soon as the library writes it, width 128 is kept."""
    kind = gguf.GGMLQuantizationType.Q5_K
    tensor = open_source(write(tmp_path / "s.safetensors", tiny())).tensors["blocks.0.ffn.0.weight"]
    assert ggml._choose_type(gguf, tensor, kind).name == "BF16"


# --- the files ---------------------------------------------------------------------------------


def test_the_forms_of_float8(source):
    def contents(name):
        tensors = load_file(made(source, name).target)
        entry = tensors.get("blocks.0.ffn.0.comfy_quant")
        return tensors, None if entry is None else json.loads(entry.numpy().tobytes())

    old, none = contents("fp8_scaled")
    assert (
        none is None
        and old["scaled_fp8"].shape == (2,)
        and old["blocks.0.ffn.0.scale_weight"].shape == ()
    )
    new, weights_only = contents("fp8")
    assert weights_only == {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
    assert contents("fp8_fast")[1] == {"format": "float8_e4m3fn"}
    assert torch.equal(new["blocks.0.ffn.0.weight"].float(), old["blocks.0.ffn.0.weight"].float())
    assert torch.equal(new["blocks.0.ffn.0.weight_scale"], old["blocks.0.ffn.0.scale_weight"])


@pytest.mark.parametrize("name", FP8)
def test_tensors_are_aligned(source, name):
    with open(made(source, name).target, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__")
    widths = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "U8": 1}
    assert length % 8 == 0
    assert all(entry["data_offsets"][0] % widths[entry["dtype"]] == 0 for entry in entries.values())


def test_metadata_is_kept_and_extended(source):
    with safe_open(made(source, "fp8").target, "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.title"] == "Tiny" and metadata["format"] == "pt"
    assert json.loads(metadata["config"]) == {
        "transformer": {"num_heads": 2, "area": 4096},
        "other": 1,
    }
    facts = json.loads(metadata["sama.converted"])
    assert facts["format"] == "fp8" and facts["pack"] == VERSION
    assert facts["sources"] == [["sama.safetensors", source.stat().st_size]]


def test_a_sources_quantisation_is_not_taken_over(tmp_path, weights):
    metadata = {"config": CONFIG, "_quantization_metadata": '{"layers": {}}'}
    stale = write(tmp_path / "stale.safetensors", weights, metadata)
    with safe_open(made(stale, "fp8").target, "pt") as file:
        assert "_quantization_metadata" not in file.metadata()


def test_endlessly_nested_settings_are_left_out(tmp_path, weights):
    nested = {"config": '{"a":' * 50_000 + "1" + "}" * 50_000}
    path = write(tmp_path / "model.safetensors", weights, nested)
    with safe_open(made(path, "fp8").target, "pt") as file:
        assert json.loads(file.metadata()["config"]) == {"transformer": {"num_heads": 1}}


def test_gguf_metadata(source):
    reader = gguf.GGUFReader(made(source, "gguf_q8_0").target)
    said = {
        key: reader.get_field(key).contents()
        for key in ("general.architecture", "config", "modelspec.title")
    }
    assert said["general.architecture"] == "wan" and said["modelspec.title"] == "Tiny"
    assert json.loads(said["config"])["transformer"]["num_heads"] == 2
    assert reader.get_field("comfy.gguf.orig_shape.patch_embedding.weight").contents() == [
        128,
        16,
        1,
        2,
        2,
    ]
    assert reader.get_field("general.file_type").contents() == gguf.LlamaFileType.MOSTLY_Q8_0


def test_a_source_cannot_forge_what_gguf_reserves(tmp_path):
    path = write(
        tmp_path / "s.safetensors",
        tiny(),
        {"general.architecture": "llama", "sama.sha256": "1" * 64, "note": "0" * 64},
    )
    report = made(path, "gguf_q8_0")
    assert gguf.GGUFReader(report.target).get_field("general.architecture").contents() == "wan"
    assert verify(report.target) == report.sha256


@pytest.mark.parametrize("name", ["fp8", "gguf_q5_1"])
def test_one_flipped_bit_is_found(source, name):
    report = made(source, name)
    assert verify(report.target) == report.sha256
    data = bytearray(report.target.read_bytes())
    for at in (len(data) - 5, 200):
        data[at] ^= 1
        report.target.write_bytes(data)
        with pytest.raises(CheckpointError, match="The file is damaged: convert it again"):
            verify(report.target)
        data[at] ^= 1


@pytest.mark.parametrize("name", ["fp8_scaled", "gguf_q8_0"])
def test_long_metadata_hide_no_checksum(tmp_path, name):
    """A workflow with pictures in it, say: 17 MB, which stand before the checksum."""
    path = write(tmp_path / "long.safetensors", tiny(), {"workflow": "x" * (17 << 20)})
    report = made(path, name)
    assert verify(report.target) == report.sha256
    assert made(path, name, overwrite=True).sha256 == report.sha256


def test_a_foreign_file_has_no_checksum(source):
    with pytest.raises(CheckpointError, match="got no checksum of ours"):
        verify(source)


def test_base_shards_under_a_delta(tmp_path, weights):
    """The delta's tensors win; the result equals that of the full file, values for values."""
    base, delta = base_and_delta(tmp_path, weights, "blocks.0.ffn.0.weight")
    merged = fp8_values(made(delta, "fp8", base=base).target)
    full = fp8_values(made(write(tmp_path / "full.safetensors", weights), "fp8").target)
    assert merged.keys() == full.keys()
    assert all(torch.equal(merged[name], full[name]) for name in full)


def test_prefixed_names_lose_their_prefix(tmp_path, weights):
    path = write(
        tmp_path / "p.safetensors",
        {f"model.diffusion_model.{name}": value for name, value in weights.items()},
    )
    assert fp8_values(made(path, "fp8").target).keys() == weights.keys()


def test_the_report(source):
    report = made(source, "fp8_scaled")
    sizes = f"{source.stat().st_size / 1e6:.1f} MB → {report.target.stat().st_size / 1e6:.1f} MB"
    lines = report.text().splitlines()
    assert lines[0].startswith(f"sama_fp8_scaled.safetensors: {sizes} (")
    assert lines[1].startswith(
        f"{MATRICES} matrices converted; kept as {TENSORS - MATRICES} BF16: embeddings, norms"
    )
    assert lines[2:] == [f"checksum {report.sha256}", str(report.target)]


def test_odd_heads_are_pointed_out_for_gguf(source):
    assert "This model has 2 heads of 64" in made(source, "gguf_q8_0").text()
    assert "heads of" not in made(source, "fp8").text()


# --- what is refused ---------------------------------------------------------------------------


def refusal(act, kind=CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert ": got " in str(caught.value) and ", needs " in str(caught.value)
    return str(caught.value)


def test_a_plain_wan_file(tmp_path, weights):
    path = write(
        tmp_path / "wan.safetensors",
        {name: value for name, value in weights.items() if name not in SAMA_KEYS},
    )
    message = refusal(lambda: made(path, "fp8"))
    assert (
        "a plain Wan model" in message
        and "a SAMA delta file with this one as base_model" in message
    )


@pytest.mark.parametrize("name", FP8)
def test_an_already_quantised_file(source, name):
    result = made(source, name).target
    assert "an already quantised file" in refusal(
        lambda: convert(result, source.with_name("x.gguf"), "gguf_q8_0")
    )


def test_float8_storage_without_scales(tmp_path, weights):
    cast = {
        name: value.to(torch.float8_e4m3fn) if is_matrix(name) else value
        for name, value in weights.items()
    }
    path = write(tmp_path / "cast.safetensors", cast)
    assert "an already quantised file (blocks.0" in refusal(lambda: made(path, "fp8"))


def test_a_gguf_file(source):
    result = made(source, "gguf_q8_0").target
    assert "a GGUF file, already quantised" in refusal(lambda: made(result, "fp8"))


def test_a_truncated_file(source):
    with open(source, "r+b") as file:
        file.truncate(source.stat().st_size - 10)
    assert "The file is truncated or damaged" in refusal(lambda: made(source, "fp8"))


def test_a_lora(tmp_path):
    path = write(
        tmp_path / "lora.safetensors", {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 128)}
    )
    assert "got a LoRA" in refusal(lambda: made(path, "fp8"))


def test_a_delta_alone(tmp_path, weights):
    _, delta = base_and_delta(tmp_path, weights, "blocks.0.ffn.0.weight")
    assert "a SAMA delta without the base model" in refusal(lambda: made(delta, "fp8"))


@pytest.mark.parametrize(
    ("name", "bad"), [("blocks.1.ffn.2.weight", float("nan")), ("head.head.bias", float("inf"))]
)
def test_nan_and_infinity(tmp_path, weights, name, bad):
    damaged = {**weights, name: weights[name].clone().index_fill_(0, torch.tensor([0]), bad)}
    path = write(tmp_path / "bad.safetensors", damaged)
    assert f"NaN or infinite values in {name}" in refusal(lambda: made(path, "fp8"))
    assert not path.with_name("bad_fp8.safetensors").exists()


@pytest.mark.parametrize("entry", [{"dtype": "F64"}, {"shape": [3, 1]}, {"dtype": "BOOL"}])
def test_headers_that_do_not_add_up(source, entry):
    """A size that does not follow from shape and type would read another tensor's bytes."""
    data = source.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["head.modulation"] |= entry
    text = json.dumps(header).encode()
    source.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    refusal(lambda: made(source, "fp8"))


def test_a_value_beyond_float16(tmp_path, weights):
    name = "blocks.0.ffn.0.weight"
    path = write(
        tmp_path / "large.safetensors", {**weights, name: torch.full_like(weights[name], 1e6)}
    )
    assert "Choose gguf_bf16" in refusal(lambda: made(path, "gguf_f16"), ConversionError)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("gguf_q5_k", "gguf_q5_1"), ("gguf_q4_k", "gguf_q4_1"), ("gguf_q6_k", "gguf_q8_0")],
)
def test_k_quants_say_why_not(source, name, nearest):
    """The library reads K-quants but does not write them.

    If this fails it has learned to: offer them.
    """
    message = refusal(lambda: made(source, name), ConversionError)
    assert "reads K-quants but does not write them" in message and f"Choose {nearest}" in message


def test_an_unknown_format(source):
    assert "needs one of fp8_scaled, fp8, " in refusal(
        lambda: made(source, "int3"), ConversionError
    )


def test_without_the_library(source, monkeypatch):
    real = builtins.__import__
    monkeypatch.setattr(
        builtins,
        "__import__",
        lambda name, *rest: real("no_such_library" if name == "gguf" else name, *rest),
    )
    message = refusal(lambda: made(source, "gguf_q8_0"), ConversionError)
    assert "python -m pip install gguf" in message and "choose an fp8 format" in message
    made(source, "fp8")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b.safetensors", "a\\b", "..", ".hidden", "", "a..b", "x\0", "c:x", "x" * 300],
)
def test_names_stay_in_their_folder(name):
    assert "needs a plain name" in refusal(
        lambda: checked_name(name, FORMATS["fp8"]), ConversionError
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", "small.safetensors"),
        (" a b.safetensors ", "a b.safetensors"),
        ("v1.5", "v1.5.safetensors"),
    ],
)
def test_names_get_their_ending(name, expected):
    assert checked_name(name, FORMATS["fp8"]) == expected


def test_a_name_with_another_ending():
    assert "the ending .gguf" in refusal(
        lambda: checked_name("x.safetensors", FORMATS["gguf_q8_0"]), ConversionError
    )


def test_no_folder(source):
    refusal(lambda: convert(source, source.parent / "no" / "x.safetensors", "fp8"), ConversionError)


def test_a_folder_that_takes_no_files(source, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "may not be written" in refusal(lambda: made(source, "fp8"), ConversionError)
