"""Load SAMA LoRA: spellings, reports, and files that are refused."""

import pytest
import torch
from safetensors.torch import save_file

from ..comfyui.graphs import output
from ..comfyui.model_files import SPELLINGS, write_lora
from ..harness.golden import distance


def apply(edit, file: str, strength: float = 1.0):
    """The graph with the LoRA; returns the report's link."""
    node = edit.add("SAMALoadLora", model=edit.model, lora_name=file, strength=strength)
    edit.model = node
    return output(node, 1)


def test_every_spelling_gives_the_same_edit(comfyui, small, sampled):
    """Four spellings of the same LoRA, all layers matched, one result."""
    from ..comfyui.graphs import SMALL_AREA, Edit

    results = []
    for spelling in SPELLINGS:
        graph = Edit(comfyui, small, area=SMALL_AREA)
        report = apply(graph, write_lora(comfyui, spelling))
        assert graph.values(report) == "3 of 3 LoRA layers matched"
        results.append(graph.sample())
    for other in results[1:]:
        assert torch.equal(other["video"], results[0]["video"])
        assert torch.equal(other["semantic"], results[0]["semantic"])
    assert distance(results[0]["video"], sampled["video"])[0] > 1e-3


def test_report_names_unmatched_layers(comfyui, edit):
    file = write_lora(
        comfyui,
        "official",
        {
            "blocks.99.self_attn.q.lora_A.weight": torch.zeros(4, 256),
            "blocks.99.self_attn.q.lora_B.weight": torch.zeros(256, 4),
        },
    )
    assert edit.values(apply(edit, file)) == (
        "3 of 4 LoRA layers matched; not in this model: diffusion_model.blocks.99.self_attn.q"
    )


def test_report_names_layers_of_another_size(comfyui, edit):
    """A LoRA of the 1.3B model has the same names: misfits are named, the rest is applied."""
    file = write_lora(
        comfyui,
        "official",
        {
            "blocks.1.self_attn.k.lora_A.weight": torch.zeros(4, 128),
            "blocks.1.self_attn.k.lora_B.weight": torch.zeros(128, 4),
        },
    )
    assert edit.values(apply(edit, file)) == (
        "3 of 4 LoRA layers matched; of another size: diffusion_model.blocks.1.self_attn.k"
    )


def test_a_foreign_lora_is_refused(comfyui, edit):
    foreign = {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(4, 8)}
    save_file(foreign, comfyui.models("loras") / "sdxl.safetensors")
    report = apply(edit, "sdxl.safetensors")
    result = edit.comfyui.run(edit.nodes, keep=[report[0]])
    assert "0 of 1 LoRA layers matched" in result.errors[0]


def test_strength_0_changes_nothing(comfyui, edit, sampled):
    report = apply(edit, write_lora(comfyui, "official"), strength=0.0)
    assert edit.values(report) == "not applied: strength is 0"
    assert torch.equal(edit.sample()["video"], sampled["video"])


@pytest.mark.parametrize("content", [b"", b"text, not weights", b"\xff" * 100])
def test_a_damaged_lora_is_told_by_its_name(comfyui, edit, content):
    """A file cut off or renamed gives a sentence, not core's raw error."""
    (comfyui.models("loras") / "damaged.safetensors").write_bytes(content)
    report = apply(edit, "damaged.safetensors")
    result = edit.comfyui.run(edit.nodes, keep=[report[0]])
    assert "damaged.safetensors" in result.errors[0] and "again" in result.errors[0]


def test_core_lora_loader_applies_its_spellings(comfyui, edit, sampled):
    """Core's own loader works for the names it knows."""
    edit.patch("LoraLoaderModelOnly", lora_name=write_lora(comfyui, "kohya"), strength_model=1.0)
    assert distance(edit.sample()["video"], sampled["video"])[0] > 1e-3
