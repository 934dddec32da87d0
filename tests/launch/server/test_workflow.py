"""Setting the edit workflow's inputs, and its errors in words."""

import json

import pytest

from sama_core import embedded
from sama_core.launch.model_choice import Trio
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.edit_graph import save_frames
from sama_core.launch.server.follow import NODE_STAGES
from sama_core.launch.server.mask_graph import add_mask
from sama_core.launch.server.workflow import (
    class_types,
    load_workflow,
    node_name,
    refusal,
    set_inputs,
    set_models,
)
from sama_core.released_files import MODEL_FILES

from ...workflows.shipped import shipped

SHAPES = {
    "SAMALoadModel": ("model_name", "sama_shapes.safetensors", "diffusion_models"),
    "SAMALoadTextEncoder": ("text_encoder_name", "sama_shapes_umt5.safetensors", "text_encoders"),
    "SAMALoadVAE": ("vae_name", "sama_shapes_vae.safetensors", "vae"),
}
GRAPH = {
    "3": {
        "class_type": "SAMAEdit",
        "inputs": {"steps": 50, "cfg": 5.0},
        "_meta": {"title": "SAMA Edit"},
    },
    "4": {"class_type": "Other", "inputs": {}},
}


def test_the_workflow_has_every_node_the_command_sets():
    graph = load_workflow(PACK_ROOT)
    assert "SAMACompare" not in class_types(graph), "nobody looks at the comparison"
    frames = json.loads(json.dumps(graph))
    add_mask(frames, "mask.png")
    save_frames(frames)
    assert {*class_types(graph), *class_types(frames)} == set(NODE_STAGES)
    set_models(graph, Trio("a", "b", "c"))
    names = {
        "SAMALoadModel": "model_name",
        "SAMALoadTextEncoder": "text_encoder_name",
        "SAMALoadVAE": "vae_name",
    }
    for node in graph.values():
        if node["class_type"] in names:
            assert node["inputs"][names[node["class_type"]]] in "abc"


@pytest.mark.parametrize("name", ["simple_edit", "anchor_preview", "native_edit"])
def test_the_examples_run_on_what_is_in_the_pack(name):
    """Model files, clip, steps and guidance, in the API graph and on the canvas."""
    graph = json.loads(
        (PACK_ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8")
    )
    canvas = shipped(name)
    inputs = {node["class_type"]: node["inputs"] for node in graph.values()}
    widgets = {
        node["type"]: node["widgets_values"]
        for node in canvas["nodes"]
        if node.get("widgets_values")
    }
    for loader, (field, file, folder) in SHAPES.items():
        assert inputs[loader][field] == file == widgets[loader][0]
        assert (embedded.FOLDER / folder / file).stat().st_size > 500_000
    assert inputs["LoadVideo"]["file"] == "moving_shapes.mp4" == widgets["LoadVideo"][0]
    assert (PACK_ROOT / "workflows" / "moving_shapes.mp4").is_file()
    (sampler,) = [node for node in inputs.values() if "steps" in node]
    settings = [embedded.STEPS, embedded.CFG] if name == "native_edit" else [0, -1]
    assert [sampler["steps"], sampler["cfg"]] == settings
    (numbers,) = [
        widgets[kind]
        for kind in ("SAMAEditWholeVideo", "SAMAAnchorPreview", "KSampler")
        if kind in widgets
    ]
    fixed = numbers.index("fixed")
    assert numbers[fixed + 1 : fixed + 3] == settings


def test_the_distilled_lora_goes_with_sama_14b():
    graph = json.loads(
        (PACK_ROOT / "workflows" / "api" / "few_step_edit.json").read_text(encoding="utf-8")
    )
    named = {
        node["class_type"]: node["inputs"][SHAPES[node["class_type"]][0]]
        for node in graph.values()
        if node["class_type"] in SHAPES
    }
    assert named == {
        "SAMALoadModel": "sama_14b_ema.safetensors",
        "SAMALoadVAE": "wan_2.1_vae.safetensors",
        "SAMALoadTextEncoder": "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    }
    assert set(named.values()) <= {file.filename for file in MODEL_FILES}


def test_only_given_values_are_set():
    graph = json.loads(json.dumps(GRAPH))
    set_inputs(graph, "SAMAEdit", steps=4, cfg=None)
    assert graph["3"]["inputs"] == {"steps": 4, "cfg": 5.0}


def test_a_node_that_is_not_there_is_named():
    with pytest.raises(LaunchError, match="no LoadVideo node"):
        set_inputs(GRAPH, "LoadVideo", file="x")


@pytest.mark.parametrize("content", [None, "{"])
def test_a_missing_or_broken_workflow(tmp_path, content):
    if content:
        (tmp_path / "workflows" / "api").mkdir(parents=True)
        (tmp_path / "workflows" / "api" / "simple_edit.json").write_text(content)
    with pytest.raises(LaunchError, match="needs the file that comes with the pack"):
        load_workflow(tmp_path)


def test_nodes_are_called_by_their_titles():
    assert node_name(GRAPH, "3") == "SAMA Edit (node 3)"
    assert node_name(GRAPH, "4") == "Other (node 4)"
    assert node_name(GRAPH, "9") == "node (node 9)"


def test_refusals_in_words():
    errors = {
        "3": {
            "errors": [
                {
                    "type": "custom_validation_failed",
                    "message": "Custom validation failed for node",
                    "details": "instruction - The instruction is empty - say what to change.",
                },
                {
                    "type": "value_smaller_than_min",
                    "message": "Value 0 smaller than min of 1",
                    "details": "steps",
                },
            ]
        }
    }
    assert refusal(GRAPH, json.dumps({"error": {}, "node_errors": errors}).encode()) == (
        "SAMA Edit (node 3): The instruction is empty - say what to change.\n"
        "SAMA Edit (node 3): Value 0 smaller than min of 1: steps"
    )
    told = {
        "error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}
    }
    assert (
        refusal(GRAPH, json.dumps(told).encode())
        == "ComfyUI refused the workflow: Prompt has no outputs"
    )
    assert refusal(GRAPH, b"<html>") == "ComfyUI refused the workflow: <html>"
    assert refusal(GRAPH, b"[]") == "ComfyUI refused the workflow: []"
