"""`run.py plan --train`: a recipe as the plan reads it."""

from pathlib import Path

import pytest

from sama_core.errors import SamaError
from sama_core.launch.cli import parser
from sama_core.launch.places import PACK_ROOT
from sama_core.plan.machine import GIB, Machine
from sama_core.plan.train_law import lora_weights
from sama_core.plan.train_plan import plan_training
from sama_core.plan.train_summary import report_training
from sama_core.training.alignment import AlignConfig, Aligner, FeatureCache
from sama_core.training.alignment.teachers import TeacherSource
from sama_core.training.config import load_config
from sama_core.training.memory.plan_recipe import plan_recipe, request_of
from sama_core.training.run import read_overrides

from .rows_files import RED, clip, config, jsonl, pair

CARD = Machine(card="RTX 4090", free_vram=24 * GIB, total_vram=24 * GIB, free_ram=64 * GIB)
LORA = "sama_14b_lora.toml"


def test_of_a_recipe_whose_files_are_not_here():
    text = plan_recipe(LORA, CARD)
    assert text.startswith("Model file sama_14b_ema.safetensors is not here")
    assert "33 frames of 832x480, a LoRA of rank 32 over bfloat16" in text
    assert "8 passes a step, 1 sample a pass" in text


def test_of_a_small_model_that_is_here(tmp_path):
    """Sizes from its header, rows counted, files of the encoders as they are."""
    data = jsonl(tmp_path / "rows.jsonl", [pair("a", "b", "x"), pair("c", "d", "y")])
    found, note = request_of(config(data, tmp_path / "out", lora_rank=4))
    assert note == "" and found.config.dim == 256 and found.config.num_layers == 2
    assert found.rows == 2 and found.semantic_encoder == 0
    assert 0 < found.text_encoder < 10**8 and not found.cached


def test_settings_beside_the_recipe():
    found, _ = request_of(load_config(LORA, **{"frames": 17, "memory.block_swap": 8}))
    assert found.clip.frames == 17 and found.block_swap == 8


def test_the_command_line():
    options = parser().parse_args(["plan", "--train", "my.toml", "frames=17", "--vram", "16"])
    assert options.train == ["my.toml", "frames=17"] and options.vram == 16


@pytest.mark.parametrize("name", ["shapes_stage0", "shapes_codec", "shapes_stage1_path"])
def test_a_recipe_of_sama_shapes_is_refused_by_name(name):
    recipe = PACK_ROOT / "sama_core" / "shapes" / "recipes" / f"{name}.toml"
    with pytest.raises(SamaError, match='data: got "shapes", needs a file or a folder of rows'):
        plan_recipe(recipe, CARD)


def test_rows_of_a_folder_are_counted(tmp_path):
    (tmp_path / "pairs").mkdir()
    for name in ("a", "b"):
        for role in ("source", "target"):
            clip(tmp_path / "pairs" / f"{name}_{role}.mp4", RED)
        (tmp_path / "pairs" / f"{name}.txt").write_text("make it blue")
    found, _ = request_of(config(tmp_path / "pairs", tmp_path / "out", steps=7))
    assert found.rows == 2 and found.steps == 7


def test_rows_in_utf_16_are_counted(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes('{"a": 1}\r\n\r\n{"b": 1}\r\n'.encode("utf-16"))
    found, _ = request_of(config(tmp_path, tmp_path / "out"))
    assert found.rows == 2


def align_of(tmp_path, teacher: str, method: str = "sara_changed", **table):
    data = jsonl(tmp_path / "rows.jsonl", [pair("a", "b", "x")])
    align = AlignConfig.of_table({"method": method, "teacher": teacher, **table}, "recipe")
    wanted = config(data, tmp_path / "out", lora_rank=4, align=align)
    return wanted, *request_of(wanted)


@pytest.mark.parametrize(("method", "kind"), [("sara_changed", "vjepa2"), ("sam2videox", "sam2")])
def test_an_alignment_is_counted(tmp_path, teachers, method, kind):
    """The projector as it is made, the targets as they are kept, the teacher's weights apart."""
    wanted, found, note = align_of(tmp_path, teachers[kind], method)
    align, width = found.align, TeacherSource.of(teachers[kind]).width
    made = Aligner.for_model(wanted.align, found.config, (32, 32), width, 0)
    assert note == "" and align.weights == sum(one.numel() for one in made.parameters())
    cells = 2 * 2
    targets = 4 * cells * 49 if kind == "sam2" else 3 * cells * (width + 1)
    assert (align.targets, align.tracks) == (targets, kind == "sam2")
    folder = Path(teachers[kind].partition(":")[2])
    assert align.teacher == pytest.approx((folder / "model.safetensors").stat().st_size, rel=0.3)
    assert "of [align]" in report_training(plan_training(found, CARD))


def test_an_alignment_whose_teacher_is_not_here(tmp_path):
    """By what is kept of it, or else by a published model, which is told."""
    _, found, note = align_of(tmp_path, "vjepa2:none")
    assert (found.align.width, found.align.slices, found.align.teacher) == (1408, 3, 0)
    assert note == "Teacher vjepa2:none is not here: planned for features of 1408 channels."
    folder = tmp_path / "out" / "features"
    parts = [
        str((32, 32)),
        "5",
        AlignConfig.of_table({"method": "sara_changed"}, "x").targets_key(),
    ]
    cache = FeatureCache(folder, "vjepa2:abc")
    cache.put_facts({"teacher": "vjepa2:abc", "width": 48, "slices": 3, "parts": [*parts, ""]})
    for teacher in ("vjepa2:none", ""):
        _, found, note = align_of(tmp_path, teacher)
        assert (found.align.width, note) == (48, "")


def test_masks_alone_and_the_block(tmp_path):
    _, found, note = align_of(tmp_path, "", "mask_supervision")
    assert (found.align.targets, found.align.width, note) == (5 * 2 * 2, 256, "")
    with pytest.raises(SamaError, match="align.block: got 9, needs 1 to 2 for this model"):
        align_of(tmp_path, "", "mask_supervision", block=9)


def test_a_lora_on_some_layers():
    """Of attention alone, as `sama_14b_lora_structure.toml` has it: 8 matrices of 5120 x 5120."""
    found, _ = request_of(load_config("sama_14b_lora_structure.toml"))
    assert found.weights_to_train == 40 * 256 * 8 * 2 * 5120
    every, _ = request_of(load_config(LORA))
    assert every.weights_to_train == lora_weights(every.config, 32)


def test_the_commands_of_the_page_for_24_gb_fit():
    """What docs/alignment.md says of the two recipes with a teacher."""
    page = (PACK_ROOT / "docs" / "alignment.md").read_text(encoding="utf-8")
    commands = [line.split() for line in page.splitlines() if "run.py plan --train sama" in line]
    assert len(commands) == 2 and "cards of 129 and 108 GiB" in page and "22.2 GiB each" in page
    for _, _, _, _, recipe, *words in commands:
        settings = read_overrides([word for word in words if "=" in word])
        alone, text = (plan_recipe(recipe, CARD, **given) for given in ({}, settings))
        need = "128.5 GiB" if "edit" in recipe else "107.9 GiB"
        assert f"On the card: {need}" in alone
        assert "On the card: 22.2 GiB" in text and "Verdict: it fits" in text, text
