"""A learned saliency from one's own rows: trained by a command, read by a run, and what is
refused.
"""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sama_core.shapes.config import load_config as load_shapes_config
from sama_core.training.__main__ import main
from sama_core.training.alignment import FeatureCache
from sama_core.training.alignment.saliency import load_saliency_aligner
from sama_core.training.alignment.teachers import TeacherSource
from sama_core.training.config import load_config
from sama_core.training.outputs import load_state
from sama_core.training.recipe import ConfigError, find_recipe
from sama_core.training.rows import saliency_run
from sama_core.training.rows.held_out import hold_out as hold_out_rows
from sama_core.training.rows.rows import BadRows, Row, read_rows
from sama_core.training.rows.saliency_rows import SaliencyRows, group_rows
from sama_core.training.rows.saliency_run import hold_out, train_saliency

from .rows_files import (
    BLUE,
    GREEN,
    RED,
    clip,
    image,
    jsonl,
    logged,
    losses,
    models,
    pair,
    recipe,
    report,
    settings,
)  # fmt: skip

WHITE = (255, 255, 255)
SALIENCY = {"steps": 4, "batch_size": 2, "warmup": 1, "log_every": 1, "checkpoint_every": 2}
ROWS = [
    {**pair("a.mp4", "b.mp4", "make it blue"), "mask": "mask.mp4"},
    pair("b.mp4", "c.mp4", "make it green"),
    pair("c.mp4", "a.mp4", "make it red"),
]


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN), ("mask", WHITE)):
        clip(tmp_path / f"{name}.mp4", colour)
        image(tmp_path / f"{name}.png", colour)
    return tmp_path


def write(folder, teacher: str, rows=ROWS, align=None, saliency=None, **changes):
    """A recipe whose run reads what the task `saliency` trains."""
    align = {"method": "sara", "teacher": teacher, "hidden": [32], **(align or {})}
    align = {"saliency_model": str(folder / "saliency.safetensors"), **align}
    data = jsonl(folder / "data.jsonl", rows)
    tables = {"align": align, "saliency": {**SALIENCY, **(saliency or {})}}
    values = settings(data, folder / "out", **{"steps": 2, **tables})
    return recipe(folder / "recipe.toml", values | changes)


def run(task: str, path, *changes: str) -> int:
    return main([task, str(path), *changes])


def weights_of(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "saliency.safetensors")


def test_trained_on_rows_and_read_by_a_loras_run(folder, teachers, capsys):
    path = write(folder, teachers["vjepa2"], lora_rank=2)
    assert run("train", path) == 1
    assert "the task saliency trains one" in capsys.readouterr().err
    assert run("saliency", path) == 0
    said = capsys.readouterr().out
    names = ("mean", "max", "coverage", "entropy", "focus", "self_entropy_change", "top3_change",
             "overlap", "mask_mean", "mask_max", "mask_coverage", "mask_entropy")  # fmt: skip
    assert str(folder / "saliency.safetensors") in said and all(
        f"{name} " in said for name in names
    )
    assert "On 3 rows of the training" in said
    out = folder / "out" / "saliency"
    found = json.loads((out / "diagnostics.json").read_text())
    assert set(found) == {"rows", "held_out", *names} and found["held_out"] is False
    assert len(losses(out)) == 4 and (out / "loss.png").exists() and report(out) == []
    totals, masks, contrasts = (logged(out, name) for name in ("total", "mask", "contrast"))
    assert totals == pytest.approx([sum(pair) for pair in zip(masks, contrasts, strict=True)])
    assert logged(out, "rate") == pytest.approx([5e-5, 5e-5, 3.775e-5, 1.325e-5])

    aligner = load_saliency_aligner(folder / "saliency.safetensors")
    assert (aligner.text_in.out_features, aligner.text_in.in_features) == (48, 64)
    with safe_open(folder / "saliency.safetensors", "pt") as file:
        origin = json.loads(file.metadata()["sama.saliency"])
    assert origin["teacher"].startswith("vjepa2:") and origin["steps"] == 4
    assert (origin["size"], origin["frames"], origin["seed"]) == ([32, 32], 5, 0)

    assert run("train", path) == 0
    assert len(losses(folder / "out")) == 2
    assert all(loss > 0 for loss in logged(folder / "out", "align"))
    lora = load_file(folder / "out" / "sama_lora.safetensors")
    assert lora and all(name.startswith("diffusion_model.blocks.") for name in lora)


def test_it_learns_where_the_mask_is(folder, teachers):
    """A picture of two halves, of which the mask is the left: the cross-entropy, which a constant
    leaves at log 2, falls below 0.3 in 30 steps of seed 0, and what is found is the left half.
    """
    picture = Image.new("RGB", (32, 32), RED)
    mask = Image.new("RGB", (32, 32))
    picture.paste(BLUE, (0, 0, 16, 32))
    mask.paste(WHITE, (0, 0, 16, 32))
    picture.save(folder / "halves.png")
    mask.save(folder / "left.png")
    row = {**pair("a.png", "halves.png", "make its left half blue"), "mask": "left.png"}
    quick = {"steps": 30, "rate": 2e-3, "warmup": 5, "contrast_weight": 0.0, "batch_size": 1}
    path = write(folder, teachers["dinov3"], [row], saliency=quick, image_share=1.0)
    assert run("saliency", path) == 0
    out = folder / "out" / "saliency"
    assert logged(out, "mask")[-1] < 0.3
    assert json.loads((out / "diagnostics.json").read_text())["overlap"] == 1.0


def test_stopped_and_resumed(folder, teachers, monkeypatch):
    """Bit for bit a training that was left alone; teacher and clips are not read again."""
    path = write(folder, teachers["vjepa2"])
    assert run("saliency", path) == 0
    alone, log = weights_of(folder), (folder / "out" / "saliency" / "log.jsonl").read_text()
    (folder / "saliency.safetensors").unlink()

    step = saliency_run.SaliencyTraining.train_step

    def stop(training):
        if training.step == 3:
            raise KeyboardInterrupt
        return step(training)

    again = f"output={folder / 'again'}"
    with monkeypatch.context() as patched:
        patched.setattr(saliency_run.SaliencyTraining, "train_step", stop)
        assert run("saliency", path, again) == 130
    assert load_state(folder / "again" / "saliency")["step"] == 2
    assert not (folder / "saliency.safetensors").exists()
    with monkeypatch.context() as patched:
        patched.setattr(saliency_run.TeacherSource, "load", None)
        assert run("saliency", path, again) == 0
    assert (folder / "again" / "saliency" / "log.jsonl").read_text() == log
    assert all(torch.equal(value, alone[name]) for name, value in weights_of(folder).items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_what_was_learned(folder, teachers, monkeypatch, capsys, number):
    """After the step, not at the last checkpoint; the same command goes on."""
    path = write(folder, teachers["vjepa2"], saliency={"checkpoint_every": 100})
    step = saliency_run.SaliencyTraining.train_step

    def signalled(training):
        if training.step == 2:
            os.kill(os.getpid(), number)
        return step(training)

    with monkeypatch.context() as patched:
        patched.setattr(saliency_run.SaliencyTraining, "train_step", signalled)
        assert run("saliency", path) == 128 + number
    assert "Stopped after 3 of 4 steps; all is saved in" in capsys.readouterr().err
    assert load_state(folder / "out" / "saliency")["step"] == 3
    assert not (folder / "saliency.safetensors").exists()
    assert run("saliency", path) == 0
    assert len(losses(folder / "out" / "saliency")) == 4 and weights_of(folder)


def test_a_file_that_is_not_this_trainings_is_not_written_over(folder, teachers):
    """With a checkpoint of its own in the output folder, too."""
    path = write(folder, teachers["dinov3"])
    assert run("saliency", path) == 0
    assert run("saliency", path) == 0  # its own file
    other = folder / "my_lora.safetensors"
    save_file({"mine": torch.ones(3)}, other)
    with pytest.raises(ConfigError, match=r"my_lora\.safetensors, which is there and not of this"):
        train_saliency(load_config(path, **{"align.saliency_model": str(other)}))
    assert load_file(other)["mine"].tolist() == [1, 1, 1]


def test_a_resume_with_something_else_is_refused(folder, teachers):
    path = write(folder, teachers["dinov3"])
    assert run("saliency", path) == 0
    with pytest.raises(ConfigError, match=r"changed settings: batch_size 2 → 1"):
        train_saliency(load_config(path, **{"saliency.batch_size": 1}))
    with pytest.raises(ConfigError, match=r"resume: got another teacher than before"):
        train_saliency(load_config(path, **{"align.teacher": teachers["vjepa2"]}))
    jsonl(folder / "data.jsonl", ROWS[:2])
    with pytest.raises(ConfigError, match=r"got another data and seed than before"):
        train_saliency(load_config(path, seed=1))


def test_rows_that_are_left_out(folder, teachers, caplog):
    clip(folder / "black.mp4", (0, 0, 0), size=(64, 64))
    same = pair("a.mp4", "a.mp4", "do nothing")
    rows = [
        *ROWS, {"video": "a.mp4", "caption": "a square"}, same, {**ROWS[0], "mask": "black.mp4"},
        pair("a.png", "b.png", "make it blue"),
    ]  # fmt: skip
    path = write(folder, teachers["dinov3"], rows, image_share=0.5, stage=1)
    assert run("saliency", path) == 0
    found = {line["row"]: line["error"] for line in report(folder / "out" / "saliency")}
    assert found == {
        4: "row 4: got a clip without an edit, needs a source and a target in stage 1.",
        5: "row 5: got an empty mask, or an edit that changes nothing, needs a part.",
        6: "row 6: got a mask of 64x64, needs the size of its target, 32x32.",
    }


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("mask", "row 2: got no 'mask', needs one for saliency.target mask."),
        ("changed", "row 1: got a clip without an edit, needs a source and a target for"),
    ],
)
def test_rows_without_the_target_that_is_asked_for(folder, teachers, target, words):
    clips = [{"video": "a.mp4", "caption": "a square", "mask": "mask.mp4"}]
    rows = clips if target == "changed" else ROWS
    path = write(
        folder, teachers["dinov3"], rows, saliency={"target": target}, stage=int(target == "mask")
    )
    assert run("saliency", path) == (1 if target == "changed" else 0)
    assert any(line["error"].startswith(words) for line in report(folder / "out" / "saliency"))


@pytest.mark.parametrize(
    ("align", "changes", "words"),
    [
        ({"method": "trd"}, {}, "align.saliency: got 'none', needs 'learned'"),
        ({"teacher": ""}, {}, "align.teacher: got none, needs one for the task saliency"),
        ({"teacher": "sam2:x"}, {}, "learned with sam2, needs a teacher that follows no subject"),
        ({}, {"text_encoder": "none"}, "text_encoder: got no file none, needs the path of umT5"),
        ({}, {"data": "shapes", "output": "out"}, "saliency: got data \"shapes\", needs rows"),
        ({}, {"image_share": 0.5}, "no good row with images, needs at least one"),
        ({"saliency_model": "data.jsonl"}, {}, "which is there and not of this training"),
    ],
)  # fmt: skip
def test_recipes_that_are_refused(folder, teachers, capsys, align, changes, words):
    if "saliency_model" in align:
        align = {"saliency_model": str(folder / align["saliency_model"])}
    path = write(folder, teachers["dinov3"], align=align, **changes)
    assert run("saliency", path) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"steps": 0}, "saliency.steps: got 0, needs 1 or more"),
        ({"target": "named"}, "saliency.target: got 'named', needs '' or 'mask' or 'changed'"),
        ({"contrast_weight": -1}, "saliency.contrast_weight: got -1, needs 0 or more"),
        ({"mask_weight": 0}, "saliency.mask_weight: got 0, needs more than 0"),
        ({"method": "half"}, "saliency.method: got 'half'.*There are: full, without_infonce"),
        ({"least_rate": 1.0}, "saliency.least_rate: got 1.0, needs 0 to rate"),
        ({"wait": 1}, "unknown settings wait"),
    ],
)
def test_settings_that_are_refused(folder, table, words):
    path = write(folder, "dinov3:x", saliency=table)
    with pytest.raises(ConfigError, match=words):
        load_config(path)


def test_a_recipe_of_sama_shapes_takes_no_table(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(find_recipe("shapes_stage1.toml").read_text() + "[saliency]\nsteps = 3\n")
    with pytest.raises(ConfigError, match="saliency: got a table, needs none: it is for rows"):
        load_shapes_config(path)


def test_a_saliency_of_another_teacher_or_text_encoder(folder, teachers, capsys):
    path = write(folder, teachers["dinov3"])
    assert run("saliency", path) == 0
    assert run("train", path, f"align.teacher={teachers['vjepa2']}") == 1
    assert "trained with another teacher, needs this teacher" in capsys.readouterr().err
    other = folder / "other.safetensors"
    weights = load_file(models() / "text_encoders" / "sama_untrained_umt5.safetensors")
    save_file(weights | {"shared.weight": weights["shared.weight"] + 1}, other)
    assert run("train", path, f"text_encoder={other}") == 1
    assert "trained with another text encoder, needs this text" in capsys.readouterr().err


CLIPS = [
    {"video": "a.mp4", "caption": "a red square", "mask": "mask.mp4"},
    {"video": "a.mp4", "caption": "the ground", "mask": "mask.mp4"},
    {"video": "b.mp4", "caption": "a blue square", "mask": "mask.mp4"},
]


def test_clips_with_a_row_for_each_subject(folder, teachers):
    """Stage 0, in bfloat16 and with activations that are computed again: tokens are kept once for
    each clip, masks for each clip and mask.
    """
    heavy = {"precision": "bf16", "gradient_checkpointing": True}
    path = write(folder, teachers["vjepa2"], CLIPS, stage=0, **heavy)
    assert run("saliency", path) == 0
    assert len(losses(folder / "out" / "saliency")) == 4
    kept = [load_file(path) for path in (folder / "out" / "features").rglob("*.safetensors")]
    shapes = sorted(str({name: tuple(one.shape) for name, one in made.items()}) for made in kept)
    assert shapes == ["{'features': (3, 4, 4, 48)}"] * 2 + ["{'mask': (3, 4, 4)}"] * 2
    assert all(value.dtype == torch.float32 for value in weights_of(folder).values())


@pytest.mark.parametrize(
    ("method", "counts"), [("full", 3), ("without_infonce", 3), ("without_entity", 2)]
)
def test_rows_of_saras_table_by_name(folder, teachers, method, counts):
    """Without entities a clip is one sample; without InfoNCE its loss is not in the sum."""
    path = write(folder, teachers["dinov3"], CLIPS, saliency={"method": method}, stage=0)
    assert run("saliency", path) == 0
    out = folder / "out" / "saliency"
    assert json.loads((out / "diagnostics.json").read_text())["rows"] == counts
    alone = logged(out, "total") == logged(out, "mask")
    assert alone == (method == "without_infonce")


def test_rows_of_one_target_seen_as_one(tmp_path):
    one, other, third = (Row(number, tmp_path / name, None, "x")
                         for number, name in ((1, "a"), (2, "b"), (3, "a")))  # fmt: skip
    assert group_rows([one, other, third], unite=False) == [(one,), (other,), (third,)]
    assert group_rows([one, other, third], unite=True) == [(one, third), (other,)]


def test_a_step_reads_each_file_once(folder, teachers, monkeypatch):
    """The tokens of a clip are 66 MB in a real training."""
    config = load_config(write(folder, teachers["dinov3"]))
    rows, _ = read_rows(folder / "data.jsonl", 1, masks=True)
    source = TeacherSource.of(config.align.teacher)
    read = SaliencyRows(config, source, lambda text: torch.ones(3, 8))
    read.prepare(rows, BadRows(folder, folder / "data.jsonl", len(rows), {}))
    got, get = [], FeatureCache.get
    monkeypatch.setattr(FeatureCache, "get", lambda *asked: got.append(asked) or get(*asked))
    assert read.read([(rows[0],), (rows[1], rows[2])]).tokens.shape[0] == 2
    assert len(got) == len(set(got)) == 2 + 3


def test_rows_of_one_clip_are_held_out_together(tmp_path):
    rows = [(Row(number, tmp_path / f"{number // 2}.mp4", None, "x"),) for number in range(20)]
    kept, apart = hold_out(rows, 16, seed=0)
    assert (len(kept), len(apart)) == (16, 4)
    assert not {row.target for (row,) in kept} & {row.target for (row,) in apart}
    assert hold_out(rows, 16, seed=0) == (kept, apart)
    assert hold_out(rows, 0, seed=0) == (rows, [])


@pytest.fixture
def seen(monkeypatch) -> set[int]:
    """The numbers of all rows that a step or a measurement looks at."""
    numbers, read = set(), SaliencyRows.read

    def watch(rows, groups):
        numbers.update(row.number for group in groups for row in group)
        return read(rows, groups)

    monkeypatch.setattr(SaliencyRows, "read", watch)
    return numbers


@pytest.mark.parametrize("held_out", [[2], "held.jsonl"])
def test_rows_that_validation_holds_out_are_not_learned(folder, teachers, seen, capsys, held_out):
    """Nor is another row of the same target. The file that is trained without them is another."""
    if isinstance(held_out, str):
        held_out = str(jsonl(folder / held_out, [ROWS[1]]))
    rows = [*ROWS, pair("a.mp4", "c.mp4", "make it green")]
    path = write(folder, teachers["dinov3"], rows, validation={"rows": held_out, "every": 9})
    assert run("saliency", path) == 0
    assert seen == {1, 3}
    assert "2 rows that [validation] holds out: not learned from." in capsys.readouterr().out
    with pytest.raises(ConfigError, match="resume: got another rows held out than before"):
        train_saliency(load_config(path, validation=None))


def test_the_same_rows_are_held_out_as_in_training(folder, teachers, seen):
    """Drawn from all rows, with those that only the saliency cannot use."""
    rows = [{**ROWS[0], "mask": "none.mp4"}, *ROWS[1:], pair("c.mp4", "b.mp4", "back to blue")]
    path = write(folder, teachers["dinov3"], rows, validation={"rows": 1, "every": 9}, seed=1)
    assert run("saliency", path) == 0
    left, _ = hold_out_rows(config := load_config(path), read_rows(Path(config.data), 1)[0])
    assert seen == {row.number for row in left} - {1}
    usable, _ = read_rows(Path(config.data), 1, masks=True)
    assert seen != {row.number for row in hold_out_rows(config, usable)[0]}
