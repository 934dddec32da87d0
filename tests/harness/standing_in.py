"""What stands in for files that cannot be had here: SAMA-Shapes for SAMA-14B, a LoRA of its size
for the step-distilled one, and a box for what SAM 3 would find.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sama_core import embedded
from sama_core.released_files import STEP_LORA, default_file

from .imports import REPO_ROOT

ROLES = ("SAMA model", "text encoder", "VAE")
INSTEAD = {
    default_file(role).filename: file.name for role, file in zip(ROLES, embedded.FILES, strict=True)
}
"""Names of SAMA-14B's files, and those of SAMA-Shapes."""
BOX = ("10", "11", "12")
"""The nodes of `region_edit` that make its mask; the last one gives it."""


def write_lora(models: Path) -> None:
    """A LoRA for SAMA-Shapes under the name of the step-distilled one."""
    width, hidden = load_file(embedded.DIT)["blocks.0.ffn.0.weight"].shape[::-1]
    lora = {
        "diffusion_model.blocks.0.ffn.0.lora_A.weight": torch.full((4, width), 0.01),
        "diffusion_model.blocks.0.ffn.0.lora_B.weight": torch.full((hidden, 4), 0.01),
    }
    target = models / STEP_LORA.folder / STEP_LORA.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(lora, target)


def small_workflow(workflow: dict) -> dict:
    """A canvas-format workflow with SAMA-Shapes' files where it has SAMA-14B's."""
    for node in workflow["nodes"]:
        if isinstance(node.get("widgets_values"), list):
            node["widgets_values"] = [_instead(value) for value in node["widgets_values"]]
    return workflow


def small_graph(prompt: dict) -> dict:
    """An API graph that runs here: with SAMA-Shapes' files and settings, and a box for SAM 3."""
    found = [key for key, node in prompt.items() if node["class_type"] == "SAM3_TrackToMask"]
    made = dict(prompt)
    if found:
        made = {key: node for key, node in prompt.items() if not _finds_things(node)}
        box = json.loads((REPO_ROOT / "workflows" / "api" / "region_edit.json").read_text("utf-8"))
        made |= {key: box[key] for key in BOX}
    for key, node in made.items():
        inputs = {
            name: [BOX[-1], 0] if value == [*found, 0] else _instead(value)
            for name, value in node["inputs"].items()
        }
        if inputs.get("steps") == 50:
            inputs |= {"steps": embedded.STEPS, "cfg": embedded.CFG}
        made[key] = {**node, "inputs": inputs}
    return made


def _finds_things(node: dict) -> bool:
    return node["class_type"].startswith("SAM3") or node["class_type"] in (
        "CheckpointLoaderSimple",
        "CLIPTextEncode",
    )


def _instead(value: object) -> object:
    return INSTEAD.get(value, value) if isinstance(value, str) else value
