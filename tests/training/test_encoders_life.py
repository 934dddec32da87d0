"""The encoders' life: opened when they are needed, released once all is kept; umT5 in fp8."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.convert.layouts import fp8_scale, to_fp8
from sama_core.errors import CheckpointError
from sama_core.training.memory.frozen_linear import FrozenLinear
from sama_core.training.rows import frozen_encoders
from sama_core.training.rows.clips_config import ClipsConfig
from sama_core.training.rows.frozen_encoders import FrozenEncoders, embed_text, load_text_encoder
from sama_core.training.rows.rows_run import RowsRun

from .rows_files import BLUE, RED, clip, config, jsonl, models, pair

TEXT = "[Video edit] make it blue"


@pytest.fixture
def data(tmp_path):
    clip(tmp_path / "a.mp4", RED)
    clip(tmp_path / "b.mp4", BLUE)
    return jsonl(tmp_path / "data.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])


def test_opened_one_by_one_when_asked(data, tmp_path):
    encoders = FrozenEncoders.of(config(data, tmp_path / "out"), torch.device("cpu"))
    assert not encoders.is_open
    first = encoders.text(TEXT)
    assert set(encoders._open) == {"text"}
    encoders.release()
    assert not encoders.is_open
    assert torch.equal(encoders.text(TEXT), first)


def test_released_once_all_is_kept(data, tmp_path):
    """With the cache of `[clips]` no encoder is in memory when the model is; without, all are."""
    kept = RowsRun.of(config(data, tmp_path / "kept", clips=ClipsConfig(workers=0)))
    assert not kept.data.encoders.is_open
    found = kept.data.batch(0, slice(0, 2))
    assert not kept.data.encoders.is_open
    fresh = RowsRun.of(config(data, tmp_path / "fresh"))
    assert set(fresh.data.encoders._open) == {"vae", "text", "semantics"}
    again = fresh.data.batch(0, slice(0, 2))
    for name in ("source_latents", "target_latents", "text", "semantic"):
        assert torch.equal(getattr(found, name), getattr(again, name))


def test_umt5_is_not_read_where_all_is_kept(data, tmp_path, monkeypatch):
    """The second start needs the width of its embeddings alone, which the header tells."""
    settings = config(data, tmp_path / "out", clips=ClipsConfig(workers=0))
    RowsRun.of(settings)
    monkeypatch.setattr(frozen_encoders, "load_text_encoder", None)
    RowsRun.of(settings)


def test_a_wrong_file_is_told_before_the_model_is_read(data, tmp_path):
    wrong = config(data, tmp_path / "out", text_encoder=str(data))
    with pytest.raises(CheckpointError, match="text_encoder"):
        RowsRun.of(wrong)


@pytest.fixture(scope="module")
def umt5_fp8(tmp_path_factory):
    """The untrained umT5 in the form of ComfyUI's `umt5_xxl_fp8_e4m3fn_scaled`."""
    weights = load_file(models() / "text_encoders" / "sama_untrained_umt5.safetensors")
    stored = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, value in weights.items():
        stored[name] = value
        if value.ndim == 2 and "bias" not in name and name != "shared.weight":
            scale = fp8_scale([value])
            stored[name] = to_fp8(value, scale)
            stored[name.replace(".weight", ".scale_weight")] = scale
    path = tmp_path_factory.mktemp("umt5") / "umt5_fp8.safetensors"
    save_file(stored, path)
    return path


def test_umt5_in_fp8(umt5_fp8, tmp_path):
    """Fourteen matrices of two blocks stay packed, and give what their unpacked numbers give."""
    stored, weights = load_file(umt5_fp8), {}
    for name, value in stored.items():
        scale = stored.get(name.replace(".weight", ".scale_weight"))
        if name != "scaled_fp8" and not name.endswith(".scale_weight"):
            weights[name] = value if scale is None or scale is value else value.float() * scale
    save_file(weights, tmp_path / "unpacked.safetensors")
    exact, packed = (
        load_text_encoder(tmp_path / "unpacked.safetensors"),
        load_text_encoder(umt5_fp8),
    )
    layers = [one for one in packed[0].modules() if isinstance(one, FrozenLinear)]
    assert len(layers) == 14 and {one.stored for one in layers} == {torch.float8_e4m3fn}
    wanted, found = (embed_text(*pair_, "cpu", TEXT) for pair_ in (exact, packed))
    assert ((found - wanted).norm() / wanted.norm()).item() < 1e-5


def test_umt5_in_another_quantisation_is_refused(umt5_fp8, tmp_path):
    stored = load_file(umt5_fp8)
    del stored["scaled_fp8"]
    path = tmp_path / "loose.safetensors"
    save_file(stored, path)
    with pytest.raises(CheckpointError, match="quantisation scales that nothing applies"):
        load_text_encoder(path)
