"""Alignment on rows of a file: targets from the cache or from a teacher, and what is refused."""

import json
import os
import time
from shutil import copytree

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.errors import RuntimeSetupError
from sama_core.geometry import ClipShape
from sama_core.training.__main__ import main
from sama_core.training.alignment import AlignConfig, SaliencyAligner
from sama_core.training.config import TrainConfig, load_config
from sama_core.training.recipe import ConfigError, settings_of
from sama_core.training.rows.data import read_mask, read_row, read_usable_rows
from sama_core.training.rows.features import RowFeatures
from sama_core.training.rows.fill_features import fill_row
from sama_core.training.rows.rows import RowError
from sama_core.training.rows.rows_run import RowsRun

from .rows_files import (
    BLUE,
    GREEN,
    RED,
    clip,
    image,
    jsonl,
    logged,
    losses,
    pair,
    recipe,
    report,
    settings,
)  # fmt: skip

SHAPE = ClipShape(5, 32, 32)
WHITE = (255, 255, 255)


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN), ("mask", WHITE)):
        clip(tmp_path / f"{name}.mp4", colour)
        image(tmp_path / f"{name}.png", colour)
    return tmp_path


ROWS = [pair("a.mp4", "b.mp4", "make it blue"), pair("b.mp4", "c.mp4", "make it green")]


def values_of(folder, rows=ROWS, align=None, **changes) -> dict:
    data = jsonl(folder / "data.jsonl", rows)
    return settings(data, folder / "out", steps=2, align=align or {}, **changes)


def config_of(folder, rows=ROWS, align=None, **changes) -> TrainConfig:
    return settings_of(TrainConfig, values_of(folder, rows, align, **changes), "test")


def features_of(config: TrainConfig, encode_text=None) -> RowFeatures:
    return RowFeatures(config, config.align, read_mask, encode_text)


def made_of(features: RowFeatures, number: int = 1, shape: ClipShape = SHAPE):
    rows, bad = read_usable_rows(features.config, features)
    assert not bad
    row = next(row for row in rows if row.number == number)
    return features.of(row, shape, *read_row(row, shape))


def files_of(folder):
    return sorted(folder.rglob("*.safetensors"))


def run(task: str, folder, values: dict) -> int:
    return main([task, str(recipe(folder / "recipe.toml", values))])


# --- targets of a row ----------------------------------------------------------------------------


def test_the_target_clip_is_what_the_teacher_sees(folder, teachers):
    features = features_of(
        config_of(folder, align={"method": "trd", "teacher": teachers["dinov3"]})
    )
    made = made_of(features)
    rows, _ = read_usable_rows(features.config, features)
    seen = features.teacher.features(read_row(rows[0], SHAPE)[1])["features"]
    assert made["features"].shape == (5, 2, 2, 48)
    torch.testing.assert_close(made["features"], seen.half().float())


def test_what_is_kept_is_read_and_not_made_again(folder, teachers):
    config = config_of(folder, align={"method": "sara_changed", "teacher": teachers["vjepa2"]})
    first = made_of(features_of(config))
    again = features_of(config)
    found = made_of(again)
    assert "teacher" not in again.__dict__  # it was not loaded
    assert found.keys() == {"features", "saliency"}
    assert all(torch.equal(value, found[name]) for name, value in first.items())
    assert found["features"].shape == (3, 2, 2, 48) and found["saliency"].shape == (3, 2, 2)


@pytest.mark.parametrize("damage", ["cut", "other form", "no tensors"])
def test_a_damaged_file_is_made_again(folder, teachers, damage):
    config = config_of(folder, align={"method": "trd", "teacher": teachers["dinov3"]})
    first = made_of(features_of(config))
    [path] = files_of(folder / "out")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        save_file({"features": torch.ones(4, 2, 2, 48)} if "form" in damage else {}, path)
    assert torch.equal(made_of(features_of(config))["features"], first["features"])
    assert load_file(path)["features"].shape == (5, 2, 2, 48)


@pytest.mark.parametrize("task", ["features", "train"])
def test_a_folder_in_the_place_of_a_file_ends_the_run(folder, teachers, capsys, task):
    values = values_of(folder, align={"method": "trd", "teacher": teachers["dinov3"]})
    made_of(features_of(settings_of(TrainConfig, values, "test")))
    [path] = files_of(folder / "out")
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    assert run(task, folder, values) == 1
    got = f"{path}: got a folder of that name, which is kept, needs a free name. Move that folder"
    assert got in capsys.readouterr().err
    assert (path / "notes.txt").read_text() == "mine"


def test_features_belong_to_what_files_hold(folder, teachers, tmp_path_factory):
    """A copy of clips, teacher and cache elsewhere finds them; another clip by that name not."""
    align = {"method": "trd", "teacher": teachers["dinov3"]}
    made_of(features_of(config_of(folder, align=align)))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    copytree(folder, elsewhere, dirs_exist_ok=True)
    copytree(teachers["dinov3"].partition(":")[2], elsewhere / "teacher")
    there = features_of(
        config_of(elsewhere, align={**align, "teacher": f"dinov3:{elsewhere}/teacher"})
    )
    rows, _ = read_usable_rows(there.config, there)
    assert there.find(rows[0], SHAPE) is not None
    clip(elsewhere / "b.mp4", GREEN)
    assert there.find(rows[0], SHAPE) is None


@pytest.mark.parametrize(
    ("align", "changes"),
    [
        ({"teacher": "vjepa2"}, {}),
        ({"cell": 8}, {}),
        ({"saliency": "named", "router": "or"}, {}),
        ({}, {"frames": 9}),
        ({}, {"height": 16}),
    ],
)
def test_features_of_other_settings_count_as_missing(folder, teachers, align, changes):
    for name in "abc":
        clip(folder / f"{name}.mp4", RED, frames=9)
    clip(folder / "mask.mp4", WHITE, frames=9)
    rows = [{**ROWS[0], "mask": "mask.mp4"}]
    before = {"method": "trd", "teacher": teachers["dinov3"]}
    made_of(features_of(config_of(folder, rows, before)))
    now = {**before, **align}
    now["teacher"] = teachers.get(now["teacher"], now["teacher"])
    config = config_of(folder, rows, now, **changes)
    features = features_of(config)
    row = read_usable_rows(config, features)[0][0]
    assert features.find(row, ClipShape(config.frames, config.height, config.width)) is None


def test_another_prompt_counts_as_missing(folder, teachers):
    """SAM 2 tracks the mask, else what changed; another mask is another clip of features."""
    align = {"method": "sam2videox", "teacher": teachers["sam2"]}
    rows = [ROWS[0], {**ROWS[0], "mask": "mask.mp4"}]
    features = features_of(config_of(folder, rows, align))
    changed, masked = (made_of(features, number)["flow"] for number in (1, 2))
    assert changed.shape == masked.shape == (4, 2, 2, 49) and not torch.equal(changed, masked)
    assert len(files_of(folder / "out")) == 2
    clip(folder / "mask.mp4", RED)
    made_of(features, 2)
    assert len(files_of(folder / "out")) == 3


# --- saliency ------------------------------------------------------------------------------------


def test_changed_cells_are_where_source_and_target_differ(folder, teachers):
    align = {"method": "sara_changed", "teacher": teachers["dinov3"], "cell": 8}
    saliency = made_of(features_of(config_of(folder, align=align)))["saliency"]
    # The square lies in rows 8 to 23 and begins at column 0.
    assert saliency.shape == (5, 4, 4)
    # Colours of a video reach two pixels further than shapes.
    assert saliency[0, 1:3, :2].min() > 0.9 and saliency[0, 0].max() <= 0.25
    assert saliency[0, :, 3].max() < 0.1


@pytest.mark.parametrize("kind", ["mp4", "png"])
def test_named_cells_are_the_masks_first_channel(folder, teachers, kind):
    rows = [{**pair(f"a.{kind}", f"b.{kind}", "make it blue"), "mask": f"mask.{kind}"}]
    align = {"method": "sara_named", "teacher": teachers["dinov3"], "cell": 8}
    shape = SHAPE if kind == "mp4" else ClipShape(1, 32, 32)
    saliency = made_of(features_of(config_of(folder, rows, align)), shape=shape)["saliency"]
    assert saliency.shape == (shape.frames, 4, 4)
    assert saliency[:, 1:3, 1].min() > 0.9
    if kind == "mp4":
        assert saliency[0, 0].mean() == pytest.approx(0.5, abs=0.03)  # the grey ground


def write_saliency(path, width: int = 48, text_width: int = 64):
    torch.manual_seed(0)
    save_file(SaliencyAligner(width, text_width, hidden=16).state_dict(), path)
    return str(path)


def test_learned_saliency_depends_on_the_text(folder, teachers):
    align = {"method": "sara", "teacher": teachers["vjepa2"]}
    align["saliency_model"] = write_saliency(folder / "saliency.safetensors")
    rows = [ROWS[0], pair("a.mp4", "b.mp4", "remove the square")]
    run_ = RowsRun.of(config_of(folder, rows, align))
    features = run_.data.features
    one, other = (made_of(features, number)["saliency"] for number in (1, 2))
    assert one.shape == (3, 2, 2) and 0 < one.min() <= one.max() < 1
    assert not torch.equal(one, other)


def test_a_learned_saliency_that_does_not_fit(folder, teachers):
    align = {"method": "sara", "teacher": teachers["vjepa2"]}
    with pytest.raises(ConfigError, match=r"align.saliency_model: got nothing, needs the file"):
        features_of(config_of(folder, align=align))
    align["saliency_model"] = str(folder / "none")
    with pytest.raises(ConfigError, match=r"align.saliency_model: got no file .*none"):
        features_of(config_of(folder, align=align))
    align["saliency_model"] = write_saliency(folder / "s.safetensors", width=32)
    run_ = RowsRun.of(config_of(folder, align=align))
    with pytest.raises(ConfigError, match=r"features 32 and a text 64 wide, needs .* 48 and .* 64"):
        made_of(run_.data.features)
    (folder / "s.safetensors").write_bytes(b"none")
    with pytest.raises(RuntimeSetupError, match=r"saliency_model: got .*s.safetensors"):
        features_of(config_of(folder, align=align))  # told before any model is read
    save_file({"blocks.0.lora_A.weight": torch.ones(2, 2)}, folder / "s.safetensors")
    with pytest.raises(RuntimeSetupError, match=r"s.safetensors \(it has no mask.0.weight\)"):
        features_of(config_of(folder, align=align))


# --- rows that cannot be aligned -----------------------------------------------------------------


def bad_rows(folder, rows, align, **changes):
    config = config_of(folder, rows, align, **changes)
    return read_usable_rows(config, features_of(config))[1]


def test_rows_that_lack_something_are_named_before_training(folder, teachers):
    clips = {"video": "a.mp4", "caption": "a square"}
    changed = {"method": "sara_changed", "teacher": teachers["dinov3"]}
    assert bad_rows(folder, [clips], changed, stage=0) == {
        1: "row 1: got a clip without an edit, needs a source and a target for align.saliency "
        "changed."
    }
    named = {"method": "sara_named", "teacher": teachers["dinov3"]}
    rows = [ROWS[0], {**ROWS[0], "mask": "none.mp4"}, {**ROWS[0], "mask": 3}]
    assert bad_rows(folder, rows, named) == {
        1: "row 1: got no 'mask', needs one for align.saliency named.",
        2: "row 2: got no file 'none.mp4', needs a file that exists.",
        3: "row 3: got 'mask' of type int, needs text.",
    }
    tracked = {"method": "sam2videox", "teacher": teachers["sam2"]}
    assert bad_rows(folder, [clips], tracked, stage=0) == {
        1: "row 1: got no 'mask', needs one, or a source, for the teacher to know its subject."
    }
    with pytest.raises(RowError, match=r"no good row with videos among 1.*a clip without an edit"):
        RowsRun.of(config_of(folder, [clips], changed, stage=0))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"size": (64, 64)}, "row 1: got a mask of 64x64, needs the size of its target, 32x32."),
        ({"frames": 4}, "row 1: got a mask of 4 frames, needs as many as its target has, 5."),
    ],
)
def test_masks_of_another_size_or_length(folder, teachers, mask, words):
    clip(folder / "other.mp4", WHITE, **mask)
    rows = [{**ROWS[0], "mask": "other.mp4"}]
    align = {"method": "sara_named", "teacher": teachers["dinov3"]}
    with pytest.raises(RowError) as caught:
        made_of(features_of(config_of(folder, rows, align)))
    assert str(caught.value) == words


def lossless(path, frames: int):
    """A white mkv without loss, which does not say how many frames it has."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 255, np.uint8), "rgb24")
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
    return path.name


@pytest.mark.parametrize("target", ["b.mp4", "b.mkv"])
def test_masks_without_loss(folder, teachers, target):
    """Counted where the file does not say its length, that of the target too; so is a picture."""
    clip(folder / "b.mp4", BLUE, frames=9)
    lossless(folder / "b.mkv", 9)
    masks = [lossless(folder / f"m{frames}.mkv", frames) for frames in (5, 9, 7)] + ["mask.png"]
    rows = [{**pair("a.mp4", target, "make it blue"), "mask": mask} for mask in masks]
    align = {"method": "sara_named", "teacher": teachers["dinov3"]}
    features = features_of(config_of(folder, rows, align))
    for number in (1, 2):
        assert made_of(features, number)["saliency"].min() > 0.9
    for number, got in ((3, "7 frames"), (4, "1 frame")):
        words = f"row {number}: got a mask of {got}, needs as many as its target has, 9, or the 5"
        with pytest.raises(RowError, match=words):
            made_of(features, number)


def test_a_mask_of_the_part_that_is_trained_on(folder, teachers):
    """Or of the whole target: of both the first frames count. Another length is refused."""
    clip(folder / "b.mp4", BLUE, frames=9)
    clip(folder / "long.mp4", WHITE, frames=9)
    clip(folder / "other.mp4", WHITE, frames=7)
    masks = ("mask.mp4", "long.mp4", "other.mp4")
    rows = [{**ROWS[0], "mask": mask} for mask in masks]
    align = {"method": "sara_named", "teacher": teachers["dinov3"]}
    features = features_of(config_of(folder, rows, align))
    part, whole = (made_of(features, number)["saliency"] for number in (1, 2))
    torch.testing.assert_close(part, whole, atol=0.01, rtol=0)  # two encodings of the same frames
    with pytest.raises(RowError, match=r"^row 3: got a mask of 7 frames, needs as many as its "
                       r"target has, 9, or the 5 that are trained on\.$"):  # fmt: skip
        made_of(features, 3)


@pytest.mark.parametrize("teacher", ["", "dinov3:no folder"])
def test_masks_are_learned_without_a_teacher(folder, teacher, capsys):
    """By name: one that is not needed is not even looked for. Every frame has its mask."""
    align = {"method": "mask_supervision", "teacher": teacher, "cell": 8, "hidden": [16]}
    rows = [{**ROWS[0], "mask": "mask.mp4"}]
    made = made_of(features_of(config_of(folder, rows, align)))
    assert {name: value.shape for name, value in made.items()} == {"saliency": (5, 4, 4)}
    assert made["saliency"][:, 1:3, 1].min() > 0.9
    values = values_of(folder, rows, align)
    assert run("features", folder, values) == 0
    assert "0 made, 1 kept, 0 left out" in capsys.readouterr().out
    assert run("train", folder, values) == 0
    found = logged(folder / "out", "align")
    assert len(found) == 2 and all(0 < loss < 1 for loss in found)


def test_a_row_whose_features_are_no_numbers_is_left_out(folder, teachers):
    config = config_of(folder, align={"method": "trd", "teacher": teachers["dinov3"]})
    features = features_of(config)
    weight = next(features.teacher.model.parameters())
    weight.data.fill_(torch.nan)
    with pytest.raises(RowError, match=r"^row 1: features of dinov3:.*values that are no numbers"):
        made_of(features)
    assert files_of(folder / "out") == []


def test_sam2_without_a_subject_on_the_last_frame(folder, teachers):
    rows = [pair("a.mp4", "a.mp4", "do nothing")]
    align = {"method": "sam2videox", "teacher": teachers["sam2"]}
    with pytest.raises(RowError, match=r"^row 1: masks of the subject: got an empty one on"):
        made_of(features_of(config_of(folder, rows, align)))


@pytest.mark.parametrize(
    ("align", "error", "words"),
    [
        ({"method": "trd", "teacher": "scene"}, RuntimeSetupError, "'scene'.*vjepa2:FOLDER"),
        ({"method": "trd"}, ConfigError, "align.teacher: got nothing, and in .*no teacher"),
        ({"method": "sam2videox_separate", "teacher": "dinov3"}, ConfigError, "separate.*two"),
        ({"method": "sara", "teacher": "sam2", "saliency_model": "data.jsonl"},
         ConfigError, "learned with sam2"),
    ],
)  # fmt: skip
def test_settings_that_no_row_can_have(folder, teachers, align, error, words):
    align = {**align, "teacher": teachers.get(align.get("teacher"), align.get("teacher", ""))}
    jsonl(folder / "data.jsonl", ROWS)
    if "saliency_model" in align:
        align["saliency_model"] = str(folder / "data.jsonl")
    with pytest.raises(error, match=words):
        features_of(config_of(folder, align=align))


# --- the task `features` -------------------------------------------------------------------------


def test_the_task_makes_what_is_missing_and_says_what_it_did(folder, teachers, capsys):
    rows = [*ROWS, pair("a.mp4", "gone.mp4", "x"), pair("a.png", "b.png", "make it blue")]
    align = {"method": "sam2videox", "teacher": teachers["sam2"], "features": str(folder / "kept")}
    assert run("features", folder, values_of(folder, rows, align)) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{folder / 'kept'}  2 made, 0 kept, 1 left out, 1 pictures")
    assert said.rstrip().endswith("MB")
    assert [line["row"] for line in report(folder / "out")] == [3]
    one, other = files_of(folder / "kept")
    before = other.stat().st_mtime_ns
    one.write_bytes(b"damaged")
    assert run("features", folder, values_of(folder, rows, align)) == 0
    assert "1 made, 1 kept, 1 left out" in capsys.readouterr().out
    assert other.stat().st_mtime_ns == before


def test_the_task_removes_what_killed_work_left(folder, teachers):
    align = {"method": "trd", "teacher": teachers["dinov3"], "features": str(folder / "kept")}
    values = values_of(folder, align=align)
    assert run("features", folder, values) == 0
    inside = files_of(folder / "kept")[0].parent
    for name, age in ((".old.part", 7200), (".new.part", 0)):
        (inside / name).touch()
        os.utime(inside / name, (time.time() - age,) * 2)
    assert run("features", folder, values) == 0
    assert [path.name for path in inside.glob(".*")] == [".new.part"]


def test_a_row_whose_clip_is_gone_is_left_out(folder, teachers):
    """It was there when the rows were read."""
    align = {"method": "trd", "teacher": teachers["dinov3"], "features": str(folder / "kept")}
    features = features_of(config_of(folder, align=align))
    rows, _ = read_usable_rows(features.config, features)
    (folder / "b.mp4").unlink()
    with pytest.raises(
        RowError, match=r"^row 1: got '.*b\.mp4' \(No such file or directory\), needs"
    ):
        fill_row(features, rows[0])


def test_the_task_needs_a_teacher_and_a_row(folder, teachers, capsys):
    assert run("features", folder, values_of(folder, align={"method": "trd"})) == 1
    assert "align.teacher: got none, needs one for the task features" in capsys.readouterr().err
    plain = values_of(folder)
    plain.pop("align")
    assert main(["features", str(recipe(folder / "plain.toml", plain))]) == 1
    assert "[align]: got none, needs a table for the task features" in capsys.readouterr().err
    align = {"method": "sara_named", "teacher": teachers["dinov3"]}
    assert run("features", folder, values_of(folder, align=align)) == 1
    assert (
        "no row with features, needs at least one. row 1: got no 'mask'" in capsys.readouterr().err
    )


# --- training ------------------------------------------------------------------------------------


def test_a_cache_serves_without_its_teacher(folder, teachers, tmp_path):
    """Rows that it does not have count as without a teacher, and are reported once."""
    kept = str(folder / "kept")
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"], "features": kept}
    made_of(features_of(config_of(folder, align=align)))  # row 1 alone
    values = values_of(folder, align={**align, "teacher": ""}, batch_size=2)
    assert run("train", folder, values) == 0
    [line] = report(folder / "out")
    assert line["row"] == 2 and "got no features, needs those of a teacher" in line["error"]
    assert len(losses(folder / "out")) == 2 and all(
        line > 0 for line in logged(folder / "out", "align")
    )


@pytest.mark.parametrize("facts", [{"width": None}, {"slices": "3"}, {"teacher": 1}, {"parts": ""}])
def test_damaged_facts_of_a_cache_are_none(folder, teachers, facts):
    align = {"method": "trd", "teacher": teachers["dinov3"], "features": str(folder / "kept")}
    made_of(features_of(config_of(folder, align=align)))
    [path] = (folder / "kept").glob("*/facts.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    with pytest.raises(ConfigError, match="in .*kept features of no teacher for these settings"):
        features_of(config_of(folder, align={**align, "teacher": ""}))


@pytest.mark.parametrize(
    ("changes", "table", "words"),
    [
        ({"frames": 9}, {}, r"have frames 5 and not 9, needs"),
        ({"height": 16}, {}, r"have \(height, width\) \(32, 32\) and not \(16, 32\), needs"),
        ({}, {"cell": 8}, r"have other settings of \[align\], needs"),
    ],
)
def test_a_cache_of_other_settings_says_which(folder, teachers, changes, table, words):
    align = {"method": "trd", "teacher": teachers["dinov3"], "features": str(folder / "kept")}
    made_of(features_of(config_of(folder, align=align)))
    with pytest.raises(ConfigError, match=f"these settings; those of dinov3 {words}"):
        features_of(config_of(folder, align={**align, **table, "teacher": ""}, **changes))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_kept_features_that_are_no_numbers_count_as_missing(folder, teachers, value):
    """Of a file without a digest, as earlier versions wrote it; made again, they are right."""
    config = config_of(folder, align={"method": "trd", "teacher": teachers["dinov3"]})
    first = made_of(features_of(config))
    [path] = files_of(folder / "out")
    broken = first["features"].half()
    broken[0, 0, 0, 0] = value
    save_file({"features": broken}, path)
    assert torch.equal(made_of(features_of(config))["features"], first["features"])


def test_a_cache_without_any_of_the_rows(folder, teachers, capsys):
    """All would be trained on without an alignment."""
    align = {"method": "trd", "teacher": teachers["dinov3"], "features": str(folder / "kept")}
    made_of(features_of(config_of(folder, align=align)))
    clip(folder / "b.mp4", GREEN)  # the clip whose features are kept
    assert run("train", folder, values_of(folder, align={**align, "teacher": ""})) == 1
    words = (
        f"align.features: got {folder / 'kept'}, with features of none of 2 rows, needs those of"
    )
    assert words in capsys.readouterr().err


def test_a_batch_may_mix_rows_with_and_without_features(folder, teachers):
    align = {"method": "trd", "teacher": teachers["dinov3"], "features": str(folder / "kept")}
    made_of(features_of(config_of(folder, align=align)))
    data = RowsRun.of(config_of(folder, align={**align, "teacher": ""})).data
    batch = data.batch(0, slice(0, 2))
    rows = [int(name.split()[3]) for name in batch.names]
    assert batch.teacher["known"].tolist() == [row == 1 for row in rows]
    assert batch.teacher["features"][rows.index(2)].abs().sum() == 0
    data.batch(1, slice(0, 2))
    assert [line["row"] for line in report(folder / "out")] == [2]


def test_features_of_two_teachers_need_a_choice(folder, teachers):
    kept = {"method": "trd", "features": str(folder / "kept")}
    for kind in ("dinov3", "vjepa2"):
        made_of(features_of(config_of(folder, align={**kept, "teacher": teachers[kind]})))
    with pytest.raises(ConfigError, match="features of dinov3:.* and vjepa2:"):
        features_of(config_of(folder, align=kept))


def test_a_miss_is_made_in_training_and_later_read(folder, teachers):
    """Made or read, features are the same numbers, and a resumed run sees the same."""
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"]}
    values = values_of(folder, align=align)
    assert run("train", folder, {**values, "output": str(folder / "making")}) == 0
    kept = str(folder / "making" / "features")
    assert len(files_of(folder / "making" / "features")) == 2
    align = {**align, "teacher": "", "features": kept}
    assert run("train", folder, {**values, "align": align, "output": str(folder / "reading")}) == 0
    for name in ("total", "align"):
        assert logged(folder / "reading", name) == logged(folder / "making", name)


def test_pictures_are_aligned_with_pictures(folder, teachers):
    """One frame: pairs within it alone; a flow has none, and its step gives 0."""
    rows = [*ROWS, pair("a.png", "b.png", "make it blue")]
    align = {"method": "sara_changed", "teacher": teachers["vjepa2"]}
    data = RowsRun.of(config_of(folder, rows, align, image_share=1.0)).data
    assert data.batch(0, slice(0, 1)).teacher["features"].shape == (1, 1, 2, 2, 48)
    align = {"method": "sam2videox", "teacher": teachers["sam2"]}
    data = RowsRun.of(config_of(folder, rows, align, image_share=1.0)).data
    assert data.batch(0, slice(0, 1)).teacher is None
    assert report(folder / "out") == []


def test_a_teacher_of_several_slices_sees_no_picture(folder, teachers):
    """VideoMAE gives every clip as many, here four: more than a picture has frames."""
    rows = [*ROWS, pair("a.png", "b.png", "make it blue")]
    align = {"method": "trd", "teacher": teachers["videomae"]}
    data = RowsRun.of(config_of(folder, rows, align, image_share=1.0)).data
    assert data.batch(0, slice(0, 1)).teacher is None
    assert made_of(features_of(data.config))["features"].shape == (4, 2, 2, 48)
    with pytest.raises(ConfigError, match="frames: got 1, needs 4 or more, one for each slice"):
        features_of(config_of(folder, align=align, frames=1))


def test_rows_are_those_of_before_without_an_alignment(folder):
    """A key "mask" is nothing without one."""
    rows = [{**ROWS[0], "mask": "none.mp4"}, ROWS[1]]
    values = values_of(folder, rows)
    values.pop("align")
    data = RowsRun.of(load_config(recipe(folder / "r.toml", values))).data
    assert not data.bad.reasons and data.batch(0, slice(0, 1)).teacher is None


def test_a_distance_from_masks_needs_masks():
    with pytest.raises(ConfigError, match="align.saliency: got 'none', needs one for .*bce"):
        AlignConfig(relation="tokens", distance="bce")
