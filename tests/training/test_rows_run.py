"""Training on files end to end: stage 1 on pairs, stage 0 on clips and images, killing and
resuming, command line.
"""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from sama_core.errors import SamaError
from sama_core.training.__main__ import main
from sama_core.training.config import load_config
from sama_core.training.rows.rows_run import RowsRun
from sama_core.training.run import run_command
from sama_core.weights.checkpoint import plan_checkpoint
from sama_core.weights.header import read_header

from ..harness.comfy_home import declare_torchvision_schemas
from .processes import environment
from .rows_files import (
    BLUE,
    GREEN,
    RED,
    clip,
    config,
    image,
    jsonl,
    losses,
    models,
    pair,
    recipe,
    report,
    settings,
)
from .stalled_run import LONGEST, kill_after_a_checkpoint


@pytest.fixture
def pairs(tmp_path):
    """Three good pairs and four bad rows: two seen at once, two when they are decoded."""
    for name, colour in (("a", RED), ("b", BLUE), ("c", GREEN)):
        clip(tmp_path / f"{name}.mp4", colour)
    clip(tmp_path / "short.mp4", RED, frames=3)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    return jsonl(
        tmp_path / "pairs.jsonl",
        [
            pair("a.mp4", "b.mp4", "make it blue"),
            pair("a.mp4", "gone.mp4", "x"),
            pair("b.mp4", "c.mp4", "make it green"),
            pair("a.mp4", "short.mp4", "x"),
            pair("a.mp4", "b.mp4", ""),
            pair("broken.mp4", "b.mp4", "x"),
            pair("c.mp4", "a.mp4", "make it red"),
        ],
    )


BAD = [
    {"row": 2, "error": "row 2: got no file 'gone.mp4', needs a file that exists."},
    {"row": 4, "error": "row 4: got 3 frames in 'short.mp4', needs 5."},
    {"row": 5, "error": "row 5: got an empty 'instruction', needs some text."},
    {
        "row": 6,
        "error": "row 6: video 'broken.mp4': got a file that is not a video, or is damaged, "
        "needs a video that "
        "plays (mp4, mov, webm, mkv, avi or gif).",
    },
]


def command(*arguments: str, hidden: str = "") -> list[str]:
    """The command line in a new process; `hidden` is a package that cannot be imported there."""
    code = (
        f"import sys, runpy; sys.modules.update({{{hidden!r}: None}} if {hidden!r} else {{}}); "
        "runpy.run_module('sama_core.training', run_name='__main__', alter_sys=True)"
    )
    program = ["-c", code] if hidden else ["-m", "sama_core.training"]
    return [sys.executable, *program, *arguments]


def run(*arguments: str, hidden: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments, hidden=hidden),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def train(tmp_path, values: dict) -> int:
    return main(["train", str(recipe(tmp_path / "recipe.toml", values))])


@pytest.fixture
def one_thread():
    """As the processes that the test starts have: sums over another number of threads differ in
    their last bit.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- stages ------------------------------------------------------------------------------------


def test_stage_1_on_three_pairs_and_four_bad_rows(pairs, tmp_path, capsys):
    out = tmp_path / "out"
    before = load_file(models() / "diffusion_models" / "sama_untrained.safetensors")
    assert train(tmp_path, settings(pairs, out, steps=4, text_dropout=0.0)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{out / 'sama.safetensors'}  ")
    assert sorted(report(out), key=lambda entry: entry["row"]) == BAD
    assert len(losses(out)) == 4 and all(0.1 < loss < 20 for loss in losses(out))
    after = load_file(out / "sama.safetensors")
    assert plan_checkpoint(out / "sama.safetensors").report.ok
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_stage_0_on_clips_and_images(tmp_path):
    """Both kinds of steps; semantics on both. Then stage 1 goes on from its file."""
    for name, colour in (("a", RED), ("b", BLUE)):
        clip(tmp_path / f"{name}.mp4", colour)
        image(tmp_path / f"{name}.png", colour)
    rows = [
        {"video": "a.mp4", "caption": "a red square"},
        {"video": "b.mp4", "caption": ""},
        {"video": "b.mp4", "caption": "a blue square"},
        pair("a.png", "b.png", "make it blue"),
        pair("a.mp4", "b.mp4", "make it blue"),
    ]
    out = tmp_path / "stage0"
    values = settings(
        jsonl(tmp_path / "stage0.jsonl", rows), out, stage=0, image_share=0.5, steps=6
    )
    assert (
        len({config(tmp_path, out, image_share=0.5).is_image_step(step) for step in range(6)}) == 2
    )
    assert train(tmp_path, values) == 0
    assert report(out) == [
        {"row": 2, "error": "row 2: got an empty 'caption', needs some text."},
        {
            "row": 5,
            "error": "row 5: got a pair of videos, needs a pair of images, or a single video, "
            "in stage 0.",
        },
    ]
    assert len(losses(out)) == 6
    stage1 = settings(
        jsonl(tmp_path / "stage1.jsonl", rows[4:]),
        tmp_path / "stage1",
        steps=1,
        model=str(out / "sama.safetensors"),
    )
    assert train(tmp_path, stage1) == 0
    facts = plan_checkpoint(tmp_path / "stage1" / "sama.safetensors").metadata
    assert facts["sama.training"] == "stage 1, 1 steps, seed 0"


def test_precision_and_memory_settings_train(pairs, tmp_path, forget_precision):
    """Checkpointing and accumulation change nothing, bf16 little; a LoRA begins as the model
    itself.
    """
    found, lean = {}, {"gradient_checkpointing": True}
    for name, steps, extra in (
        ("plain", 2, {}),
        ("parts", 2, {**lean, "accumulation": 2}),
        ("half", 1, {"precision": "bf16"}),
        ("lora", 1, {**lean, "precision": "bf16", "lora_rank": 2}),
    ):
        forget_precision()
        assert train(tmp_path, settings(pairs, tmp_path / name, steps=steps, **extra)) == 0
        found[name] = losses(tmp_path / name)
    assert found["parts"] == pytest.approx(found["plain"], rel=1e-5)
    assert found["half"] == pytest.approx(found["plain"][:1], rel=0.02)
    assert found["lora"] == pytest.approx(found["half"], rel=1e-6)
    assert found["half"] != found["plain"][:1]


@pytest.mark.parametrize("name", ["reading_weight", "pixel_weight"])
def test_settings_of_procedural_data_are_refused(pairs, tmp_path, capsys, name):
    assert train(tmp_path, settings(pairs, tmp_path / "out", **{name: 1.0})) == 1
    assert f"{name}: got 1.0, needs 0 with data of your own" in capsys.readouterr().err


def test_settings_of_shapes_without_effect_are_left_out(pairs, tmp_path):
    """A recipe of version 0.1.0 could name them."""
    values = settings(pairs, tmp_path / "out")
    idle = {"edits": "recolour", "text_length": 20, "pool": "pool", "init": "", "pixel_weight": 0.0}
    path = recipe(tmp_path / "recipe.toml", values | idle)
    assert load_config(path) == config(pairs, tmp_path / "out")


# --- command line ------------------------------------------------------------------------------


def test_killed_and_resumed_on_the_command_line(pairs, tmp_path, one_thread, caplog):
    """SIGKILL after two steps: losses and the final file are those of a run left alone, damaged
    rows or not.
    """
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    values = settings(pairs, alone, steps=6)
    assert train(tmp_path, values) == 0
    assert (
        f"pairs.jsonl: 2 of 7 rows are left out so far, see {alone / 'bad_rows.jsonl'}"
        in caplog.messages
    )
    assert "pairs.jsonl: row 4: got 3 frames in 'short.mp4', needs 5." in caplog.messages
    assert (
        f"pairs.jsonl: 4 of 7 rows are left out so far, see {alone / 'bad_rows.jsonl'}"
        == caplog.messages[-1]
    )

    path = recipe(tmp_path / "killed.toml", {**values, "output": str(killed)})
    kill_after_a_checkpoint(path)
    assert len(losses(killed)) == 2
    assert run("train", str(path)).returncode == 0
    assert losses(killed) == losses(alone)
    first, second = load_file(alone / "sama.safetensors"), load_file(killed / "sama.safetensors")
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_changed_weight_of_a_row_is_noticed(tmp_path, capsys):
    """It changes which rows the next steps take, as other rows do."""
    row = pair(image(tmp_path / "a.png", RED), image(tmp_path / "b.png", BLUE), "make it blue")
    data = jsonl(tmp_path / "rows.jsonl", [row, row])
    values = settings(data, tmp_path / "out", steps=1, frames=1, image_share=1.0, lora_rank=2)
    assert train(tmp_path, values) == 0
    jsonl(data, [row, {**row, "weight": 3}])
    capsys.readouterr()
    assert train(tmp_path, {**values, "steps": 2}) == 1
    said = capsys.readouterr().err
    assert "resume: got changed weights of rows, needs" in said and "new_rows to true" in said
    assert train(tmp_path, {**values, "steps": 2, "new_rows": True}) == 0


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    for word in (
        "train    go on from",
        "export   write",
        "accelerate launch",
        "setting=value",
        "TOML",
    ):
        assert word in shown


def test_fill_is_for_procedural_data(pairs, tmp_path, capsys):
    path = recipe(tmp_path / "recipe.toml", settings(pairs, tmp_path / "out"))
    assert main(["fill", str(path)]) == 1
    assert (
        'pairs.jsonl, needs data "shapes". Clips from files are encoded when'
        in capsys.readouterr().err
    )


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    """As where the output folder is taken away, or its disk is full, in the middle of a run."""

    def write(recipe, settings):
        (tmp_path / "gone" / "log.jsonl").write_text("x")

    assert run_command(["train", "x.toml"], "program", None, {"train": write}) == 1
    said = capsys.readouterr().err
    assert "log.jsonl: got No such file or directory, needs" in said and "Start it again" in said


def test_export_without_a_checkpoint(pairs, tmp_path, capsys):
    path = recipe(tmp_path / "recipe.toml", settings(pairs, tmp_path / "out"))
    assert main(["export", str(path)]) == 1
    assert (
        f"got no checkpoint in {tmp_path / 'out'}, needs one. Train first."
        in capsys.readouterr().err
    )


def test_export_writes_what_training_wrote(pairs, tmp_path):
    out = tmp_path / "out"
    values = settings(pairs, out, steps=2)
    assert train(tmp_path, values) == 0
    trained, info = (
        load_file(out / "sama.safetensors"),
        read_header(out / "sama.safetensors").metadata,
    )
    (out / "sama.safetensors").unlink()
    assert main(["export", str(tmp_path / "recipe.toml")]) == 0
    again = load_file(out / "sama.safetensors")
    assert again.keys() == trained.keys() and all(
        torch.equal(value, again[name]) for name, value in trained.items()
    )
    assert read_header(out / "sama.safetensors").metadata == info


# --- SigLIP ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A random SigLIP vision tower, 48 wide, as transformers saves one."""
    declare_torchvision_schemas()
    from transformers import SiglipVisionConfig, SiglipVisionModel

    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            image_size=32,
            patch_size=4,
        )
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("hidden", ["", "torchvision"])
def test_siglip_on_the_command_line(pairs, siglip, tmp_path, hidden):
    """As the environment is, with a torchvision that does not fit torch or one that does; and
    without any.
    """
    values = settings(pairs, tmp_path / "out", steps=1, semantic_encoder=str(siglip), lora_rank=2)
    done = run("train", str(recipe(tmp_path / "recipe.toml", values)), hidden=hidden)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "sama_lora.safetensors").exists()
    assert "pairs.jsonl: 2 of 7 rows are left out so far" in done.stderr


def test_siglip_gives_the_targets(pairs, siglip, tmp_path):
    from sama_core.training.semantics import SiglipEncoder

    data = RowsRun.of(config(pairs, tmp_path / "out", semantic_encoder=str(siglip))).data
    assert isinstance(data.encoders.semantics, SiglipEncoder)
    assert data.batch(0, slice(0, 1)).semantic.shape == (1, 65, 48)


def test_siglip_of_another_width(pairs, tmp_path):
    declare_torchvision_schemas()
    from transformers import SiglipVisionConfig, SiglipVisionModel

    SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=4,
        )
    ).save_pretrained(tmp_path / "siglip")
    with pytest.raises(SamaError, match="SiglipEncoder with tokens 32 wide, needs the model's 48"):
        RowsRun.of(config(pairs, tmp_path / "out", semantic_encoder=str(tmp_path / "siglip")))


def test_no_siglip_there(pairs, tmp_path, capsys):
    values = settings(pairs, tmp_path / "out", semantic_encoder=str(tmp_path / "none"))
    assert train(tmp_path, values) == 1
    assert "which does not load" in capsys.readouterr().err
