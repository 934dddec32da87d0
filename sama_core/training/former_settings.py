"""Settings of SAMA-Shapes that a recipe for rows could name in version 0.1.0."""

from typing import Any

from ..errors import needed
from .recipe import ConfigError

UNUSED = (
    "edits",
    "shades",
    "image_pairs",
    "clip_pairs",
    "pool_growth",
    "pool",
    "start",
    "text_length",
)
"""Settings of SAMA-Shapes that a recipe for rows could name in version 0.1.0: they have no
effect."""

REFUSED = {
    "reading_weight": (0.0, "0", "Only procedural scenes say what is where."),
    "pixel_weight": (0.0, "0", "It is measured on the procedural clips."),
    "init": ("", "nothing", "Set model to the sama.safetensors of the earlier stage."),
}
"""Others that would change what is trained: the value without effect, its name, and what to do.
`init` is for a LoRA."""


def without_shapes(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without those of SAMA-Shapes alone.

    Raises ConfigError for one that rows cannot have.
    """
    left_out = {*UNUSED, *REFUSED} - ({"init"} if values.get("lora_rank") else set())
    for name, (idle, need, fix) in REFUSED.items():
        if name in left_out and values.get(name, idle) != idle:
            raise ConfigError(needed(name, values[name], f"{need} with data of your own", fix))
    return {name: value for name, value in values.items() if name not in left_out}
