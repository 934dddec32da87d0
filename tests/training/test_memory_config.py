"""The table `[memory]`: its defaults, what it needs beside it, and what a resume may change."""

from dataclasses import asdict

import pytest

from sama_core.training.config import TrainConfig
from sama_core.training.memory.config import MemoryConfig
from sama_core.training.recipe import ConfigError, refuse_changes, settings_of

PLAIN = {"stage": 1, "data": "rows", "model": "m", "output": "", "steps": 1, "batch_size": 1}
LORA = {**PLAIN, "lora_rank": 2, "gradient_checkpointing": True, "precision": "bf16"}


def config(**values) -> TrainConfig:
    return settings_of(TrainConfig, values, "test")


def test_without_the_table_nothing_is_saved():
    assert config(**PLAIN).memory == MemoryConfig("file", 0, "float32", False)


def test_a_table():
    table = {"base": "fp8", "block_swap": 20, "states": "bf16", "activations_in_ram": True}
    assert config(**LORA, memory=table).memory == MemoryConfig("fp8", 20, "bf16", True)


@pytest.mark.parametrize(
    ("settings", "table", "told"),
    [
        (LORA, {"base": "int4"}, 'memory.base: got int4, needs "file" or "fp8"'),
        (LORA, {"block_swap": -1}, "block_swap: got -1, needs 0 or more"),
        (LORA, {"swap": 1}, "unknown settings swap"),
        (PLAIN, {"base": "fp8"}, "memory: got a table, needs a lora_rank beside it"),
        (
            {**LORA, "gradient_checkpointing": False},
            {"block_swap": 1},
            "memory.block_swap: got 1, needs gradient_checkpointing = true",
        ),
        (
            {**LORA, "gradient_checkpointing": False},
            {"activations_in_ram": True},
            "memory.activations_in_ram: got True, needs gradient_checkpointing = true",
        ),
        (
            {**LORA, "precision": "no"},
            {"states": "bf16"},
            'memory.states: got bf16, needs precision "bf16"',
        ),
    ],
)
def test_refused(settings, table, told):
    with pytest.raises(ConfigError) as refused:
        config(**settings, memory=table)
    assert told in str(refused.value)


def test_a_resume_may_move_memory_but_not_change_numbers():
    """After running out of memory, blocks and inputs may go to RAM: the numbers stay the same."""
    old = asdict(config(**LORA))
    del old["memory"]  # of a version without the table
    free = TrainConfig.FREE_TO_CHANGE
    moved = {"block_swap": 4, "activations_in_ram": True}
    refuse_changes(old, config(**LORA, memory=moved), free)
    with pytest.raises(ConfigError, match="memory.states 'float32' → 'bf16'"):
        refuse_changes(old, config(**LORA, memory={"states": "bf16"}), free)
