"""`run.py plan --train`: a recipe as the plan reads it."""

import pytest

from sama_core.errors import SamaError
from sama_core.launch.cli import parser
from sama_core.launch.places import PACK_ROOT
from sama_core.plan.machine import GIB, Machine
from sama_core.training.config import load_config
from sama_core.training.memory.plan_recipe import plan_recipe, request_of

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
