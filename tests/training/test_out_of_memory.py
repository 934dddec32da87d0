"""A run that is out of memory names the setting that helps next."""

import pytest
import torch

from sama_core.training import __main__ as command
from sama_core.training.config import load_config
from sama_core.training.memory.out_of_memory import OutOfMemoryError, advise, advise_on_memory

from .rows_files import config, jsonl, pair, recipe, settings


@pytest.fixture
def data(tmp_path):
    return jsonl(tmp_path / "rows.jsonl", [pair("a.mp4", "b.mp4", "x")])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_each_kind_is_known(data, tmp_path, error):
    with (
        pytest.raises(OutOfMemoryError, match=r"Set \[clips\] cache = true in the recipe."),
        advise_on_memory(config(data, tmp_path / "out", lora_rank=2)),
    ):
        raise error


def test_other_errors_pass(data, tmp_path):
    with (
        pytest.raises(RuntimeError, match="size mismatch"),
        advise_on_memory(config(data, tmp_path / "out")),
    ):
        raise RuntimeError("size mismatch")


def test_on_the_command_line(data, tmp_path, capsys, monkeypatch):
    """Whatever was running, the message is one line with the advice, and no traceback."""

    def run_out(config):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(command.RowsRun, "of", run_out)
    values = settings(data, tmp_path / "out", lora_rank=2, clips={"cache": True})
    assert command.main(["train", str(recipe(tmp_path / "recipe.toml", values))]) == 1
    told = capsys.readouterr().err
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in told
    assert "Set gradient_checkpointing = true in the recipe. Start it again" in told


def test_the_recipes_for_cards_say_what_is_left():
    """With all of it on, more blocks; those are the settings that a run goes on with."""
    told = advise(load_config("sama_14b_lora_16gb.toml"))
    assert told.startswith("Set [memory] block_swap = 25 in the recipe. Start it again")
    plain = advise(load_config("sama_14b_lora_16gb.toml", **{"memory.states": "float32"}))
    assert "choose a new output folder" in plain


def test_a_teacher_that_may_stay_away_is_named_first():
    """Its features can be made ahead; the plan counts no weights of it."""
    align = {"align.method": "sara_changed", "align.teacher": "vjepa2:x"}
    told = advise(load_config("sama_14b_lora_16gb.toml", **align))
    assert told.startswith(
        "Make the teacher's features first, with the task features. Then set [mem"
    )
    assert told.endswith("computes what a recipe takes.")
    masks = {"align.method": "mask_supervision"}
    assert advise(load_config("sama_14b_lora_16gb.toml", **masks)).startswith("Set [memory]")
