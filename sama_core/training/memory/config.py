"""The table `[memory]` of a recipe: what is kept small, and what is kept in RAM."""

from dataclasses import dataclass
from typing import Any

from ..recipe import Check, check_ranges, check_types, refuse_bad, settings_of

BASES = ("file", "fp8")
STATES = ("float32", "bf16")


@dataclass(frozen=True)
class MemoryConfig:
    """How a LoRA's run saves card memory. Every value has a default that saves nothing."""

    base: str = "file"
    """The frozen matrices of the blocks: "file" keeps them as the model's file has them, a file in
    fp8 in fp8; "fp8" makes fp8 of a 16-bit file while it is read, a byte a weight."""
    block_swap: int = 0
    """Blocks whose frozen weights stay in RAM. Each is copied to the card when it is due, and the
    next one meanwhile, so that two of them are on the card. Needs gradient_checkpointing."""
    states: str = "float32"
    """Numbers of the hidden states between the blocks: "float32", or "bf16", as they are when a
    clip is edited: half the memory. Needs precision "bf16"."""
    activations_in_ram: bool = False
    """Keep the blocks' inputs, which gradient_checkpointing needs, in RAM. Needs
    gradient_checkpointing."""

    def __post_init__(self) -> None:
        check_types(self, "memory")
        refuse_bad(self.checks())

    def checks(self) -> list[Check]:
        """What a value must be beyond its type, see `refuse_bad`."""
        return [
            (self.base in BASES, "memory.base", self.base, _quote(BASES)),
            (self.states in STATES, "memory.states", self.states, _quote(STATES)),
            *check_ranges(self, not_negative=("block_swap",)),
        ]

    def checks_with(self, lora: bool, checkpointing: bool, half: bool) -> list[Check]:
        """What the rest of the recipe must be: with a LoRA, with `checkpointing`, in bf16."""
        again = "gradient_checkpointing = true"
        return [
            (lora or self == MemoryConfig(), "memory", "a table", "a lora_rank beside it"),
            (checkpointing or not self.block_swap, "memory.block_swap", self.block_swap, again),
            (
                checkpointing or not self.activations_in_ram,
                "memory.activations_in_ram",
                self.activations_in_ram,
                again,
            ),
            (half or self.states == "float32", "memory.states", self.states, 'precision "bf16"'),
        ]

    @classmethod
    def of_table(cls, values: dict[str, Any], name: str) -> "MemoryConfig":
        """The settings of the table `name`. ConfigError names an unknown key."""
        return settings_of(cls, values, name)


def _quote(words: tuple[str, ...]) -> str:
    return " or ".join(f'"{word}"' for word in words)
