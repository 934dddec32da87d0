"""A LoRA from a recipe to ComfyUI: it learns, its file matches every layer, and it edits as the
merged weights do.
"""

from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file, save_file

from sama_core.training.__main__ import main

from ..comfyui.graphs import CLIP_FILE, SMALL_AREA, Edit, SmallModels, output
from ..harness.moving_shapes import moving_shapes
from .rows_files import BLUE, RED, clip, jsonl, losses, models, pair, recipe, settings

RANK, ALPHA = 8, 12.0
STEPS = 70
LAYERS = [
    f"blocks.{block}.{layer}"
    for block in (0, 1)
    for layer in (
        *(f"{attention}.{part}" for attention in ("self_attn", "cross_attn") for part in "qkvo"),
        "ffn.0",
        "ffn.2",
    )
]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The output folder of a LoRA trained on one pair of one frame."""
    folder = tmp_path_factory.mktemp("lora")
    clip(folder / "a.mp4", RED, frames=1)
    clip(folder / "b.mp4", BLUE, frames=1)
    data = jsonl(folder / "data.jsonl", [pair("a.mp4", "b.mp4", "make it blue")])
    values = settings(
        data,
        folder / "out",
        steps=STEPS,
        batch_size=2,
        frames=1,
        lora_rank=RANK,
        lora_alpha=ALPHA,
        learning_rate=1e-2,
        warmup=5,
        text_dropout=0.0,
        ema=0.9,
        checkpoint_every=STEPS,
    )
    assert main(["train", str(recipe(folder / "recipe.toml", values))]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def lora(out) -> dict[str, torch.Tensor]:
    return load_file(out / "sama_lora.safetensors")


def test_loss_falls(out):
    """The mean loss of the last 20 steps is less than 0.65 of the first 5's: one pair always."""
    found = losses(out)
    assert len(found) == STEPS
    assert sum(found[-20:]) / 20 < 0.65 * sum(found[:5]) / 5


def test_only_the_lora_is_written(lora):
    parts = ("lora_A.weight", "lora_B.weight", "alpha")
    assert set(lora) == {f"diffusion_model.{layer}.{part}" for layer in LAYERS for part in parts}
    assert {lora[f"diffusion_model.{layer}.alpha"].item() for layer in LAYERS} == {ALPHA}
    assert all(value.dtype == torch.float32 and value.abs().sum() > 0 for value in lora.values())
    assert {value.shape[0] for name, value in lora.items() if ".lora_A." in name} == {RANK}


@pytest.fixture(scope="module")
def files(comfyui, lora) -> SmallModels:
    """In ComfyUI's folders: the model, the LoRA, and the model with the LoRA multiplied into its
    weights.
    """
    from ..harness.untrained import write_untrained
    from ..harness.write_clip import write_clip

    names = write_untrained(comfyui.base / "models")
    write_clip(comfyui.base / "input" / CLIP_FILE, moving_shapes(9, 48, 32), Fraction(12))
    save_file(lora, comfyui.models("loras") / "trained.safetensors")
    path = models() / "diffusion_models" / "sama_untrained.safetensors"
    merged = load_file(path)
    for layer in LAYERS:
        down, up = (lora[f"diffusion_model.{layer}.lora_{side}.weight"].double() for side in "AB")
        added = ALPHA / RANK * up @ down
        merged[f"{layer}.weight"] = (merged[f"{layer}.weight"].double() + added).float()
    save_file(merged, comfyui.models("diffusion_models") / "merged.safetensors")
    return SmallModels(
        names["diffusion_models"], names["text_encoders"], names["vae"], "merged.safetensors"
    )


def test_comfyui_applies_it_as_the_merged_weights(comfyui, files):
    plain = Edit(comfyui, files, area=SMALL_AREA).sample()
    merged = Edit(
        comfyui, SmallModels(files.wan, files.text_encoder, files.vae, files.wan), area=SMALL_AREA
    ).sample()
    graph = Edit(comfyui, files, area=SMALL_AREA)
    graph.model = graph.add(
        "SAMALoadLora", model=graph.model, lora_name="trained.safetensors", strength=1.0
    )
    assert graph.values(output(graph.model, 1)) == "20 of 20 LoRA layers matched"
    found = graph.sample()
    for name in ("video", "semantic"):
        changed = (merged[name] - plain[name]).norm()
        assert changed > 0.1 * plain[name].norm()
        assert (found[name] - merged[name]).norm() < 1e-4 * changed
