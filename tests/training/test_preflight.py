"""What is missing for a training is named at once, before anything is loaded."""

import shutil
from collections import namedtuple

import pytest

from sama_core.errors import CheckpointError
from sama_core.training import packages
from sama_core.training.alignment import AlignConfig
from sama_core.training.recipe import ConfigError
from sama_core.training.rows import preflight
from sama_core.training.rows.clips_config import ClipsConfig
from sama_core.training.rows.preflight import PreflightError, list_room, refuse_missing
from sama_core.training.rows.rows_run import RowsRun

from .rows_files import BLUE, RED, clip, config, jsonl, models, pair


@pytest.fixture
def rows(tmp_path):
    clip(tmp_path / "a.mp4", RED)
    clip(tmp_path / "b.mp4", BLUE)
    return jsonl(tmp_path / "rows.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])


def test_nothing_is_missing(rows, tmp_path):
    refuse_missing(config(rows, tmp_path / "out", clips=ClipsConfig()))


def test_everything_is_named_at_once_with_source_and_folder(tmp_path, monkeypatch):
    """In the order model, VAE, umT5, SigLIP, rows, packages; no weight file is opened."""
    from sama_core.training.rows import rows_run

    monkeypatch.setattr(rows_run, "FrozenEncoders", None)
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("av", "PIL") else 1)
    lacking = config(
        tmp_path / "none.jsonl",
        tmp_path / "out",
        model=str(tmp_path / "sama.safetensors"),
        vae=str(tmp_path / "vae.safetensors"),
        text_encoder="",
        semantic_encoder="siglip-so400m-patch14-384",
        base_model=str(tmp_path / "wan"),
    )
    with pytest.raises(PreflightError) as caught:
        RowsRun.of(lacking)
    lines = str(caught.value).splitlines()
    assert lines[0] == "7 things are missing for this training:"
    for line, words in zip(
        lines[1:],
        (
            ("model ", "no file", "sama_14b_ema.safetensors, 29 GB, for models/diffusion_models"),
            ("base_model ", "no such file or folder"),
            (
                "vae ",
                "wan_2.1_vae.safetensors, 0.25 GB, for models/vae",
                "https://huggingface.co/Comfy-Org/",
            ),
            ("text_encoder: got ''", "umt5_xxl_fp16.safetensors, 11 GB, for models/text_encoders"),
            ("semantic encoder", "google/siglip-so400m-patch14-384 --local-dir", "huggingface.co"),
            ("data ", "no readable file"),
            ("packages: got none of av, pillow", "pip install -r requirements-train.txt"),
        ),
        strict=True,
    ):
        assert all(word in line for word in words), line


def test_one_lack_is_the_error_that_it_is(rows, tmp_path):
    with pytest.raises(CheckpointError, match=r"vae .*gone: got no file, needs a weight file"):
        RowsRun.of(config(rows, tmp_path / "out", vae=str(tmp_path / "gone")))


def test_a_converted_model_says_how_it_is_made(rows, tmp_path):
    name = str(tmp_path / "sama_14b_ema_fp8_scaled.safetensors")
    with pytest.raises(CheckpointError, match="convert FILE --format fp8_scaled makes this one"):
        RowsRun.of(config(rows, tmp_path / "out", model=name))


def test_an_output_of_nothing_is_refused(rows):
    with pytest.raises(ConfigError, match="output: got nothing, needs a folder"):
        RowsRun.of(config(rows, ""))


def test_a_teacher_is_named_with_its_source(rows, tmp_path):
    table = {"method": "sara_changed", "teacher": f"vjepa2:{tmp_path}/vjepa2-vitl-fpc64-256"}
    align = AlignConfig.of_table(table, "recipe")
    with pytest.raises(preflight.RuntimeSetupError, match="facebook/vjepa2-vitl-fpc64-256"):
        refuse_missing(config(rows, tmp_path / "out", align=align, height=32, width=32))


@pytest.mark.parametrize("teacher", ["", "vjepa2:google/siglip", "siglip2:my/teacher", "clip:x"])
def test_every_kind_of_teacher_is_looked_for(rows, tmp_path, teacher, monkeypatch):
    """A relative folder that is typed wrong too: no network is asked for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket", None)
    align = AlignConfig.of_table({"method": "trd", "teacher": teacher}, "recipe")
    aligned = config(rows, tmp_path / "out", align=align, model=str(tmp_path / "none"))
    missing = 2 if teacher else 1  # without a name the features are looked for later
    assert len(preflight.list_missing(aligned)) == missing


def test_a_folder_of_features_that_is_a_file(rows, tmp_path):
    align = AlignConfig.of_table({"method": "mask_supervision", "features": str(rows)}, "recipe")
    with pytest.raises(
        ConfigError, match=r"align\.features: got .*Not a directory, needs a folder"
    ):
        refuse_missing(config(rows, tmp_path / "out", align=align))


def count_lora(rank: int) -> int:
    """Weights of a LoRA over the untrained model: rank x (inputs + outputs) of every matrix of its
    blocks' attention and feed-forward.
    """
    from sama_core.weights.header import read_header

    shapes = read_header(models() / "diffusion_models" / "sama_untrained.safetensors").shapes
    found = [
        sum(shape) for name, shape in shapes.items()
        if name.startswith("blocks.") and (".self_attn." in name or ".cross_attn." in name
                                           or ".ffn." in name) and len(shape) == 2
    ]  # fmt: skip
    assert len(found) == 2 * 10
    return rank * sum(found)


def test_room_for_checkpoints_and_cache(rows, tmp_path, monkeypatch):
    """Two clips of 32x32 and 5 frames: 16 channels of 2x4x4 float32, 2048 bytes each; 16 bytes for
    each weight of the LoRA, twice: the new checkpoint lies beside the one that it replaces.
    """
    values = {"lora_rank": 2, "clips": ClipsConfig(cache_folder=str(tmp_path / "cache"))}
    room = list_room(config(rows, tmp_path / "out", **values))
    assert room == [(tmp_path / "out", 2 * 16 * count_lora(2)), (tmp_path / "cache", 4096)]
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    with pytest.raises(preflight.ConfigError, match=r"disk: got 0\.0 GB free at .*clips\.cache_"):
        refuse_missing(config(rows, tmp_path / "out", **values))


def test_a_run_that_goes_on_has_one_of_its_two_checkpoints(rows, tmp_path):
    wanted = config(rows, tmp_path / "out", lora_rank=2)
    ((_, first),) = list_room(wanted)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "state.pt").write_bytes(b"of before")
    assert list_room(wanted) == [(tmp_path / "out", first // 2)]


def test_export_needs_no_room_for_checkpoints(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1000))
    wanted = config(rows, tmp_path / "out", lora_rank=2)
    with pytest.raises(ConfigError, match="disk: got"):
        RowsRun.of(wanted)
    assert RowsRun.of(wanted, fills=False).config == wanted


def test_room_is_that_of_the_parts_that_are_trained(rows, tmp_path):
    """A head of 64 times the width, its bias, and twice the width: 16 bytes for each weight."""
    from sama_core.weights.header import read_header

    model = models() / "diffusion_models" / "sama_untrained.safetensors"
    shapes = read_header(model).shapes
    width = shapes["head.modulation"][-1]
    wanted = config(rows, tmp_path / "out", trained_parts="head.")
    assert list_room(wanted) == [(tmp_path / "out", 2 * 16 * (64 * width + 64 + 2 * width))]


def test_numbered_checkpoints_need_room_too(rows, tmp_path):
    """Two that are kept and a new one, each a state of 16 bytes a weight and a LoRA of 4, and the
    LoRA of the end; fewer where the run saves less often. A run that goes on has some of them.
    """
    weights, out = count_lora(2), tmp_path / "out"
    many = config(rows, out, lora_rank=2, steps=8, checkpoint_every=2, keep_checkpoints=2)
    assert list_room(many) == [(out, (3 * 20 + 4) * weights)]
    few = config(rows, out, lora_rank=2, steps=2, checkpoint_every=2, keep_checkpoints=9)
    assert list_room(few) == [(out, (20 + 4) * weights)]
    for step in (2, 4):
        (out / "checkpoints" / f"step-0000000{step}").mkdir(parents=True)
        (out / "checkpoints" / f"step-0000000{step}" / "state.pt").touch()
    assert list_room(many) == [(out, (20 + 4) * weights)]


def test_the_room_of_a_lora_is_that_of_its_layers(rows, tmp_path):
    whole, part = (
        list_room(config(rows, tmp_path / "out", lora_rank=2, lora_targets=targets))[0][1]
        for targets in ("", "blocks.1")
    )
    assert whole == 2 * part


def test_the_room_of_a_checkpoint_is_what_it_takes(rows, tmp_path):
    """A LoRA's and its projector's, to a few percent."""
    from sama_core.training.run import train

    table = {"method": "mask_supervision", "hidden": [64]}
    masked = {**pair("a.mp4", "b.mp4", "make it blue"), "mask": "b.mp4"}
    align = AlignConfig.of_table(table, "recipe")
    wanted = config(
        jsonl(rows, [masked]), tmp_path / "out", lora_rank=8, steps=2, batch_size=1, align=align
    )
    ((_, room),) = list_room(wanted)
    train(RowsRun.of(wanted))
    assert (tmp_path / "out" / "state.pt").stat().st_size == pytest.approx(room / 2, rel=0.1)
