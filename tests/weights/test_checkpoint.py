"""Weight files: every wrong one refused by name and from its header alone, every right one
planned.
"""

import io
import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from benchmarks import own_process
from sama_core import SamaDiT, load_state_dict_report
from sama_core.errors import CheckpointError
from sama_core.model.config import DitConfig
from sama_core.weights import header as header_module
from sama_core.weights.checkpoint import (
    model_shapes,
    non_finite,
    plan_checkpoint,
    refuse_non_finite,
    transformer_settings,
)
from sama_core.weights.header import WeightFile, read_header, shard_paths
from sama_core.weights.names import SAMA_KEYS, strip_prefix
from sama_core.weights.report import LoadReport, compare

from ..harness.untrained import diffusion_model
from ..model.test_config import SAMA_14B

TINY = DitConfig(
    dim=128,
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
RELEASED_BYTES = 28_601_809_776
PLAIN_FORMAT = {"format": "pt"}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return diffusion_model(torch.Generator().manual_seed(0), TINY)


@pytest.fixture(scope="module")
def wan(weights) -> dict[str, torch.Tensor]:
    """The same model without SAMA's tensors."""
    return {key: value for key, value in weights.items() if key not in SAMA_KEYS}


@pytest.fixture
def write(tmp_path):
    """`write(name, weights)` saves a safetensors file and returns its path."""

    def save_as(name: str, tensors: dict[str, torch.Tensor], metadata: dict | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=metadata)
        return path

    return save_as


def refusal(act, *words: str) -> str:
    """The message of the CheckpointError that `act` raises: got, needed, what to set, and all
    `words`.
    """
    with pytest.raises(CheckpointError) as caught:
        act()
    message = str(caught.value)
    for word in (": got ", ", needs ", *words):
        assert word in message
    return message


# --- huge files, judged by their headers -------------------------------------------------------


def framed(text: bytes) -> bytes:
    """`text` where a safetensors file has its header."""
    return struct.pack("<Q", len(text)) + text


def header(
    shapes: dict[str, tuple[int, ...]],
    dtype: str = "BF16",
    width: int = 2,
    metadata: dict | None = None,
) -> tuple[bytes, int]:
    """(a safetensors file's first bytes up to its data, the number of data bytes) for tensors of
    one dtype.
    """
    entries, end = {} if metadata is None else {"__metadata__": metadata}, 0
    for name in sorted(shapes):
        start, end = end, end + width * torch.Size(shapes[name]).numel()
        entries[name] = {"dtype": dtype, "shape": list(shapes[name]), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    return framed(text + b" " * (-len(text) % 8)), end


def sparse(path: Path, shapes: dict[str, tuple[int, ...]], short: int = 0, **options) -> Path:
    """A file whose data takes no disk: header, then a hole, `short` bytes less than the header
    promises.
    """
    start, data = header(shapes, **options)
    path.write_bytes(start)
    os.truncate(path, len(start) + data - short)
    return path


@pytest.fixture(scope="module")
def shapes_14b():
    return model_shapes(SAMA_14B)


class CountedFile(io.FileIO):
    """A file that remembers how many bytes were read from any of its kind."""

    total = 0

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        CountedFile.total += len(data)
        return data


@pytest.fixture
def frugal(monkeypatch):
    """Fails the test if it reads more than a megabyte of weight files or takes 256 MB more
    memory.
    """
    CountedFile.total = 0
    monkeypatch.setattr(header_module, "open", CountedFile, raising=False)
    before = own_process.reset_peak()
    yield
    assert 0 < CountedFile.total < 1_000_000
    assert own_process.resident("VmHWM") - before < 256 << 20


def test_header_is_written_as_safetensors_writes_it(weights):
    """The helper above is trusted with the released file's size, so it must equal the real
    writer.
    """
    half = {name: value.bfloat16() for name, value in weights.items()}
    start, data = header(model_shapes(TINY), metadata=PLAIN_FORMAT)
    written = save(half, metadata=PLAIN_FORMAT)
    assert written[: len(start)] == start and len(written) == len(start) + data


def test_released_file_has_the_size_our_names_and_shapes_give(tmp_path, shapes_14b, frugal):
    """Byte for byte: 1,106 bfloat16 tensors under these names, and nothing else, make
    28,601,809,776 bytes.
    """
    path = sparse(tmp_path / "sama_14b_ema.safetensors", shapes_14b, metadata=PLAIN_FORMAT)
    assert path.stat().st_size == RELEASED_BYTES
    plan = plan_checkpoint(path)
    assert plan.config == SAMA_14B and not plan.is_merged
    assert plan.report == LoadReport(matched=1106)
    assert plan.report.summary() == "all 1106 tensors matched"


def plain_wan(shapes):
    return {key: shape for key, shape in shapes.items() if key not in SAMA_KEYS}


def lora(shapes):
    return {
        f"diffusion_model.{key.removesuffix('weight')}lora_{side}.weight": (5120, 5120)
        for key in shapes
        if key.endswith(("attn.q.weight", "attn.k.weight", "attn.v.weight"))
        for side in "AB"
    }


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (
            plain_wan,
            {},
            ["a plain Wan model", "SAMA's 11 extra tensors", *SAMA_KEYS, "Choose sama_14b_ema"],
        ),
        (lora, {}, ["a LoRA", "Load SAMA LoRA"]),
        (
            lambda shapes: {f"model.layers.{key}": shape for key, shape in shapes.items()},
            {},
            ["a file of another model (model.layers.blocks.0.", "Choose sama_14b_ema"],
        ),
        (
            dict,
            {"short": 1},
            ["28,601,809,775 bytes", "28,601,809,776 bytes", "truncated", "download it again"],
        ),
        (dict, {"short": 28_000_000_000}, ["601,809,776 bytes", "truncated"]),
        (
            lambda shapes: {key: shapes[key] for key in SAMA_KEYS},
            {},
            ["delta without the base model", "base_model"],
        ),
        (
            lambda shapes: shapes | {"blocks.7.ffn.2.weight": (5120, 9728)},
            {},
            ["1105 tensors matched", "blocks.7.ffn.2.weight [5120, 9728] instead of [5120, 13824]"],
        ),
        (
            lambda shapes: {
                key: shape for key, shape in shapes.items() if key != "blocks.21.norm3.bias"
            },
            {},
            ["1 missing: blocks.21.norm3.bias"],
        ),
        (
            lambda shapes: shapes | {"img_emb.proj.0.weight": (1280,)},
            {},
            ["1 unexpected: img_emb.proj.0.weight"],
        ),
    ],
    ids=[
        "plain Wan",
        "LoRA",
        "another model",
        "one byte short",
        "28 GB short",
        "delta alone",
        "shape conflict",
        "one missing",
        "one too many",
    ],
)
def test_huge_wrong_files_are_refused_without_being_read(
    tmp_path, shapes_14b, frugal, change, options, words
):
    path = sparse(
        tmp_path / "huge.safetensors", change(shapes_14b), metadata=PLAIN_FORMAT, **options
    )
    refusal(lambda: plan_checkpoint(path), "huge.safetensors", *words)


def test_huge_delta_is_planned_over_its_base_without_being_read(tmp_path, shapes_14b, frugal):
    """float32 base shards (57 GB) and a bfloat16 delta."""
    names = sorted(plain_wan(shapes_14b))
    for index in range(6):
        part = {name: shapes_14b[name] for name in names[index::6]}
        sparse(
            tmp_path / f"diffusion_pytorch_model-{index + 1:05d}-of-00006.safetensors",
            part,
            dtype="F32",
            width=4,
        )
    (tmp_path / "delta").mkdir()
    delta = sparse(
        tmp_path / "delta" / "sama.safetensors", {key: shapes_14b[key] for key in SAMA_KEYS}
    )
    plan = plan_checkpoint(delta, tmp_path)
    assert plan.config == SAMA_14B and plan.is_merged and len(plan.files) == 7


# --- files that are no SAMA model --------------------------------------------------------------


NOT_SAFETENSORS = {
    "zero bytes": b"",
    "a few bytes": b"\x10\0\0",
    "a text file": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:a3bf2bef8366\nsize 28601809776\n"
    ),
    "an HTML page": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>",
    "a GGUF file": b"GGUF" + struct.pack("<IQQ", 3, 1106, 20) + bytes(200),
    "a pickle": pickle.dumps({"blocks.0.modulation": [0.0] * 100}),
    "zeros": bytes(4096),
    "an enormous header": struct.pack("<Q", 1 << 40) + bytes(64),
    "a header of no JSON": framed(b"not json at all!"),
    "a header that is a list": framed(b'["a", 1]'),
    "a header that is a text": framed(b'"text"'),
    "a header of numbers": framed(b'{"a":12}'),
    "a deeply nested header": framed(b"[" * 100_000),
    "an entry without offsets": framed(b'{"a":{"dtype":"F32","shape":[1]}}'),
    "an entry with one offset": framed(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}'),
    "a shape of fractions": framed(b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}')
    + bytes(4),
    "a shape below zero": framed(b'{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}')
    + bytes(4),
    "a fraction of an offset": framed(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0.0,4.0]}}')
    + bytes(4),
    "an offset of text": framed(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":["0","4"]}}'),
}


@pytest.mark.parametrize("content", NOT_SAFETENSORS.values(), ids=NOT_SAFETENSORS.keys())
def test_anything_else_is_no_safetensors_file(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refusal(
        lambda: plan_checkpoint(path),
        "model.safetensors",
        "no readable safetensors header",
        "Download it again",
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (NOT_SAFETENSORS["a GGUF file"], "a GGUF file"),
        (NOT_SAFETENSORS["an HTML page"], "a web page"),
        (NOT_SAFETENSORS["a text file"], "a Git LFS pointer"),
        (b"PK\3\4" + bytes(99), "a PyTorch file"),
        (b"", "an empty file)"),
        (b"abc", "a file of 3 bytes)"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path, content, what):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refusal(lambda: plan_checkpoint(path), f"no readable safetensors header ({what}")


@pytest.mark.parametrize("metadata", [7, ["a"], {"config": 7}, {"config": {"transformer": {}}}])
def test_metadata_that_is_no_text_is_refused(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    path.write_bytes(framed(json.dumps({"__metadata__": metadata}).encode()))
    refusal(lambda: plan_checkpoint(path), "no readable safetensors header")


@pytest.mark.parametrize("config", ["[" * 100_000, '{"a":' * 50_000])
def test_endlessly_nested_settings_are_no_settings(config):
    assert transformer_settings({"config": config}) == {}


def test_many_tensors_are_judged_in_no_time(tmp_path):
    """The work grows with their number, not with its square."""
    names = {
        f"t{number}": {"dtype": "U8", "shape": [1], "data_offsets": [number, number + 1]}
        for number in range(20_000)
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(framed(json.dumps(names).encode()) + bytes(len(names)))
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            header_module, "own_name", lambda name, diffusers=False: calls.append(name) or name
        )
        refusal(lambda: plan_checkpoint(path), "a file of another model")
    assert len(calls) <= 10 * len(names)


@pytest.mark.parametrize("name", ["nowhere.safetensors", "."])
def test_absent_files_and_folders_are_named(tmp_path, name):
    refusal(
        lambda: plan_checkpoint(tmp_path / name),
        str(tmp_path / name),
        "no such file",
        "Choose a file that exists",
    )


@pytest.mark.parametrize("keep", [0, 7, 8, 9, 500, -1, -100_000])
def test_a_truncated_file_is_refused_wherever_it_ends(write, weights, keep):
    path = write("model.safetensors", weights)
    path.write_bytes(path.read_bytes()[:keep])
    refusal(lambda: plan_checkpoint(path), "model.safetensors", "ownload it again")


def test_bytes_after_the_data_are_refused(write, weights):
    path = write("model.safetensors", weights)
    path.write_bytes(path.read_bytes() + b"more")
    refusal(lambda: plan_checkpoint(path), "truncated or damaged")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {}, optional={"dtype": json_values, "shape": json_values, "data_offsets": json_values}
)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.text(max_size=5) | st.just("__metadata__"), entries | json_values, max_size=3
    ),
    st.binary(),
)
def test_no_header_brings_the_reader_down(tmp_path_factory, content, data):
    """Whatever the JSON holds, the answer is a WeightFile or a CheckpointError."""
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(framed(json.dumps(content).encode()) + data)
    try:
        assert isinstance(read_header(path), WeightFile)
    except CheckpointError as refused:
        assert "fuzz.safetensors" in str(refused)


LORA_KEYS = {
    "diffusers": "diffusion_model.blocks.0.self_attn.q.lora_A.weight",
    "PEFT default": "blocks.0.self_attn.q.lora_A.default.weight",
    "bare down": "blocks.0.self_attn.q.lora_down.weight",
    "kohya": "lora_unet_blocks_0_self_attn_q.lora_up.weight",
    "difference": "diffusion_model.blocks.0.norm3.diff",
    "bias difference": "diffusion_model.blocks.0.ffn.0.diff_b",
    "LoHa": "diffusion_model.blocks.0.ffn.0.hada_w1_a",
    "LoKr": "diffusion_model.blocks.0.ffn.0.lokr_w1",
}


@pytest.mark.parametrize("key", LORA_KEYS.values(), ids=LORA_KEYS.keys())
def test_loras_are_sent_to_the_lora_loader(write, key):
    path = write("style.safetensors", {key: torch.zeros(4, 4)})
    refusal(
        lambda: plan_checkpoint(path),
        "style.safetensors",
        "a LoRA",
        "a full SAMA model",
        "Load SAMA LoRA",
    )


@pytest.mark.parametrize(
    ("tensors", "content"),
    [
        (
            {"model.diffusion_model.input_blocks.0.0.weight": (4, 4), "first_stage_model.x": (1,)},
            "first_stage_model.x, input_blocks.0.0.weight",
        ),
        ({"decoder.middle.0.residual.0.gamma": (4,)}, "decoder.middle.0.residual.0.gamma"),
        ({}, "no tensors"),
    ],
    ids=["Stable Diffusion", "Wan VAE", "empty"],
)
def test_foreign_files_show_what_they_hold(write, tensors, content):
    path = write("other.safetensors", {key: torch.zeros(shape) for key, shape in tensors.items()})
    refusal(
        lambda: plan_checkpoint(path),
        f"other.safetensors: got a file of another model ({content})",
        "sama_14b",
    )


def test_an_image_to_video_model_is_named(write, wan):
    """It is no base for a SAMA delta, and that is not advised."""
    first = wan["patch_embedding.weight"]
    wider = first.new_zeros(first.shape[0], 36, *first.shape[2:])
    path = write("i2v.safetensors", {**wan, "patch_embedding.weight": wider})
    message = refusal(
        lambda: plan_checkpoint(path), "a Wan image-to-video model (36 input channels)"
    )
    assert "base_model" not in message and "plain" not in message


def test_plain_wan_names_all_eleven(write, wan):
    message = refusal(
        lambda: plan_checkpoint(write("wan.safetensors", wan)),
        "wan.safetensors",
        "a plain Wan model",
    )
    assert [key for key in SAMA_KEYS if key in message] == list(SAMA_KEYS) and len(SAMA_KEYS) == 11


# --- nearly right files ------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(set(model_shapes(TINY)) - {"head.modulation"}))
def test_one_missing_tensor_is_named(write, weights, key):
    """Any of them, SAMA's own included: such a file is not a plain Wan."""
    path = write(
        "model.safetensors", {name: value for name, value in weights.items() if name != key}
    )
    assert "plain Wan" not in refusal(lambda: plan_checkpoint(path), "model.safetensors: got ", key)


def test_a_file_without_the_head_looks_like_a_delta(write, weights):
    path = write(
        "model.safetensors",
        {name: value for name, value in weights.items() if name != "head.modulation"},
    )
    refusal(
        lambda: plan_checkpoint(path), "model.safetensors: got a SAMA delta without the base model"
    )


@pytest.mark.parametrize("key", sorted(model_shapes(TINY)))
def test_one_wrong_shape_is_named_with_both_shapes(weights, key):
    """And nothing is loaded, not even the tensors that fit."""
    model = SamaDiT.from_state_dict(weights)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = torch.zeros(weights[key].shape[0] + 1, *weights[key].shape[1:])
    report = load_state_dict_report(model, {**weights, key: wrong})
    assert report.shape_conflicts == [(key, tuple(wrong.shape), tuple(weights[key].shape))]
    assert report.matched == len(weights) - 1 and not report.missing and not report.unexpected
    message = refusal(lambda: report.raise_if_bad("model.safetensors"), "model.safetensors")
    assert f"{key} {list(wrong.shape)} instead of {list(weights[key].shape)}" in message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_everything_wrong_is_in_one_summary():
    report = LoadReport(3, ["a", "b"], ["c"], [("d", (1, 2), (3,))])
    assert report.summary() == (
        "3 tensors matched; 2 missing: a, b; 1 unexpected: c; "
        "1 of another shape: d [1, 2] instead of [3]"
    )
    assert not report.ok


def test_long_lists_are_cut():
    assert LoadReport(0, [str(i) for i in range(15)]).summary() == (
        "0 tensors matched; 15 missing: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sd: {**sd, "extra": torch.zeros(1)}, "1 unexpected: extra"),
        (
            lambda sd: {key: value for key, value in sd.items() if key != "head.head.weight"},
            "1 missing: head.head.weight",
        ),
    ],
)
def test_from_state_dict_is_strict(weights, change, words):
    refusal(lambda: SamaDiT.from_state_dict(change(weights)), words)


# --- right files -------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_prefixes_are_stripped(write, weights, prefix):
    path = write("model.safetensors", {prefix + key: value for key, value in weights.items()})
    plan = plan_checkpoint(path)
    assert plan.config == TINY and plan.report.ok and plan.files[0].kind == "full"
    model = SamaDiT.from_state_dict(strip_prefix(load_file(path)))
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_only_the_models_own_prefix_is_stripped():
    assert strip_prefix({"model.blocks.0.x": 1}) == {"model.blocks.0.x": 1}


def transformer(**settings_) -> dict[str, str]:
    return {"config": json.dumps({"transformer": settings_})}


def test_heads_and_semantic_tokens_come_from_the_metadata(write, weights):
    path = write(
        "model.safetensors", weights, transformer(num_heads=4, semantic_tokens=260, area=16384)
    )
    plan = plan_checkpoint(path)
    assert (plan.config.num_heads, plan.config.semantic_tokens) == (4, 260)
    assert plan_checkpoint(path, num_heads=2).config.num_heads == 2


def test_heads_that_do_not_fit_are_refused(write, weights):
    path = write("model.safetensors", weights, transformer(num_heads=3))
    refusal(lambda: plan_checkpoint(path), "3 heads for width 128", "Set num_heads")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "not json",
        "null",
        "12",
        "[]",
        '"text"',
        "{}",
        '{"transformer": null}',
        '{"transformer": [1]}',
        '{"transformer": "x"}',
        '{"transformer": {"num_heads": "2"}}',
        '{"transformer": {"num_heads": 0}}',
        '{"transformer": {"num_heads": -1, "semantic_tokens": 6.5}}',
        '{"transformer": {"num_heads": true}}',
        '{"transformer": {"heads": 2}}',
    ],
)
def test_garbage_metadata_is_ignored(write, weights, config):
    assert transformer_settings({"config": config}) == {}
    assert plan_checkpoint(write("model.safetensors", weights, {"config": config})).config == TINY


@pytest.mark.parametrize("metadata", [None, {}, {"config": 5}, {"config": None}])
def test_odd_metadata_is_ignored(metadata):
    """A header may hold values that are no text; safetensors itself refuses those only later."""
    assert transformer_settings(metadata) == {}


def test_only_known_settings_are_taken():
    assert transformer_settings(transformer(num_heads=4, semantic_tokens=65, area=100, dim=3)) == {
        "num_heads": 4,
        "semantic_tokens": 65,
        "area": 100,
    }


QUANTISED = {
    "scaled fp8": {
        "scaled_fp8": (0,),
        "blocks.0.ffn.0.scale_weight": (),
        "blocks.0.ffn.0.scale_input": (),
    },
    "ComfyUI": {"blocks.0.ffn.0.weight_scale": (), "blocks.0.ffn.0.comfy_quant": (40,)},
    "four bits": {
        "blocks.0.ffn.0.weight_scale": (32, 8),
        "blocks.0.ffn.0.weight_scale_2": (),
        "blocks.0.ffn.0.input_scale": (),
        "blocks.0.ffn.0.weight": (32, 64),
    },
}


def test_a_packed_weight_needs_its_scale():
    """Half a weight without a scale is a damaged file, and a bias is never packed."""
    need = model_shapes(TINY)
    half = {"blocks.0.ffn.0.weight": (32, 64)}
    assert compare(need | half, need).shape_conflicts == [
        ("blocks.0.ffn.0.weight", (32, 64), (32, 128))
    ]
    half_bias = {"blocks.0.ffn.0.bias": (16,), "blocks.0.ffn.0.weight_scale": ()}
    assert compare(need | half_bias, need).shape_conflicts == [
        ("blocks.0.ffn.0.bias", (16,), (32,))
    ]


@pytest.mark.parametrize("extra", QUANTISED.values(), ids=QUANTISED.keys())
def test_torch_alone_refuses_quantised_weights_by_name(weights, extra):
    """It could not apply the scales, and weights without them are garbage."""
    quantised = weights | {key: torch.zeros(shape) for key, shape in extra.items()}
    message = refusal(lambda: SamaDiT.from_state_dict(quantised))
    assert all(key in message for key in extra)


# --- base and delta ----------------------------------------------------------------------------


@pytest.fixture
def delta(write, weights):
    """SAMA's tensors and one trained Wan tensor, in bfloat16."""
    trained = {key: weights[key] for key in SAMA_KEYS} | {
        "blocks.1.norm3.bias": torch.full((128,), 7.0)
    }
    return write(
        "delta/sama_delta.safetensors",
        {key: value.bfloat16() for key, value in trained.items()},
        transformer(semantic_tokens=33),
    )


@pytest.fixture
def shards(write, wan):
    """`shards(names)` writes the base in as many float32 files as there are names."""

    def write_parts(*names: str) -> list[Path]:
        keys = sorted(wan)
        return [
            write(f"base/{name}", {key: wan[key] for key in keys[index :: len(names)]})
            for index, name in enumerate(names)
        ]

    return write_parts


NUMBERED = [f"diffusion_pytorch_model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("names", "pick"),
    [
        (["wan.safetensors"], lambda files: files[0]),
        (NUMBERED, lambda files: files[0]),
        (NUMBERED, lambda files: files[2]),
        (NUMBERED, lambda files: files[0].parent),
        (["a.safetensors", "b.safetensors"], lambda files: files[0].parent),
    ],
    ids=["one file", "first shard", "last shard", "folder of shards", "folder of unnumbered files"],
)
def test_delta_over_base(delta, shards, weights, wan, names, pick):
    files = shards(*names)
    plan = plan_checkpoint(delta, pick(files))
    assert [file.path for file in plan.files] == [*files, delta]
    assert plan.is_merged and plan.config.semantic_tokens == 33 and plan.config.num_layers == 2

    merged = {}
    for file in plan.files:
        merged |= strip_prefix(load_file(file.path))
    model = SamaDiT.from_state_dict(merged, dtype=torch.float32)
    assert model.state_dict()["blocks.1.norm3.bias"].unique().tolist() == [7.0]
    for key, value in model.state_dict().items():
        if key != "blocks.1.norm3.bias":
            assert torch.equal(
                value, weights[key] if key in wan else weights[key].bfloat16().float()
            )


@pytest.mark.parametrize(
    "note", ["._wan.safetensors", ".wan.safetensors.0123456789ab.part.safetensors"]
)
def test_hidden_files_in_a_folder_are_no_shards(delta, shards, note):
    """macOS writes them beside every file on disks of other systems."""
    (wan_file,) = shards("wan.safetensors")
    wan_file.with_name(note).write_bytes(b"\0\5\x16\7" * 100)
    assert [file.path for file in plan_checkpoint(delta, wan_file.parent).files] == [
        wan_file,
        delta,
    ]


def test_delta_alone_asks_for_the_base(delta):
    refusal(
        lambda: plan_checkpoint(delta),
        "sama_delta.safetensors",
        "delta without the base model",
        "base_model",
    )


@pytest.mark.parametrize(
    "pick", [lambda files: files[0], lambda files: files[0].parent], ids=["shard", "folder"]
)
def test_a_missing_shard_is_named(delta, shards, pick):
    files = shards(*NUMBERED)
    files[1].unlink()
    refusal(
        lambda: plan_checkpoint(delta, pick(files)), "2 of 3 shards", f"Missing: {NUMBERED[1]}."
    )


def test_a_truncated_shard_is_named(delta, shards):
    files = shards(*NUMBERED)
    os.truncate(files[1], files[1].stat().st_size - 1)
    refusal(lambda: plan_checkpoint(delta, files[0]), NUMBERED[1], "truncated")


def test_an_empty_folder_is_no_base(delta, tmp_path):
    (tmp_path / "empty").mkdir()
    refusal(
        lambda: plan_checkpoint(delta, tmp_path / "empty"),
        "empty: got a folder without .safetensors files",
        "diffusion_pytorch_model-*.safetensors",
    )


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ({"blocks.0.ffn.0.weight": (4, 4)}, "no tensor 'head.modulation'"),
        ({"decoder.conv1.weight": (4,)}, "no tensor 'head.modulation'"),
        ("wider", "segment_embedding.weight [3, 128] instead of [3, 256]"),
        ("image to video", "1 unexpected: img_emb.proj.0.weight"),
    ],
    ids=["piece of a model", "VAE", "another size of Wan", "image-to-video Wan"],
)
def test_a_wrong_base_is_refused(delta, write, wan, base, words):
    if base == "wider":
        wide = diffusion_model(torch.Generator(), DitConfig(**{**vars(TINY), "dim": 256}))
        tensors = {key: value for key, value in wide.items() if key not in SAMA_KEYS}
    elif base == "image to video":
        tensors = wan | {"img_emb.proj.0.weight": torch.zeros(4)}
    else:
        tensors = {key: torch.zeros(shape) for key, shape in base.items()}
    refusal(
        lambda: plan_checkpoint(delta, write("base.safetensors", tensors)),
        "sama_delta.safetensors over base.safetensors: got ",
        words,
    )


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model-1-of-2.safetensors", "model-00001-of-00002.ckpt"]
)
def test_other_names_are_single_files(tmp_path, name):
    assert shard_paths(tmp_path / name) == [tmp_path / name]


# --- NaN and infinity --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(
            (dtype, float(value))
            for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2)
            for value in ("nan", "inf", "-inf")
        ),
        (torch.float8_e4m3fn, float("nan")),  # has no infinity
    ],
    ids=str,
)
def test_non_finite_weights_are_named(dtype, value):
    bad = torch.ones(5, 7)
    bad[2, 3] = value
    sd = {
        "good": torch.ones(3).to(dtype),
        "bad": bad.to(dtype),
        "ids": torch.arange(3),
        "empty": torch.ones(0),
    }
    assert non_finite(sd) == ["bad"]
    refusal(
        lambda: refuse_non_finite(sd, "model.safetensors"),
        "model.safetensors",
        "NaN or infinite values in bad",
        "finite weights",
    )


def test_large_but_finite_weights_pass():
    refuse_non_finite(
        {
            "large": torch.tensor([3e38, -3e38]),
            "half": torch.tensor([65504.0]).half(),
            "eight": torch.tensor([448.0]).to(torch.float8_e4m3fn),
        },
        "model.safetensors",
    )
