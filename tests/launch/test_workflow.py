"""Setting the edit workflow's inputs, and its errors in words."""

import json

import pytest

from sama_core.launch.failure import LaunchError
from sama_core.launch.follow import NODE_STAGES
from sama_core.launch.models import Trio
from sama_core.launch.places import PACK_ROOT
from sama_core.launch.workflow import class_types, load_workflow, node_name, refusal, set_inputs, set_models

GRAPH = {"3": {"class_type": "SAMAEdit", "inputs": {"steps": 50, "cfg": 5.0}, "_meta": {"title": "SAMA Edit"}},
         "4": {"class_type": "Other", "inputs": {}}}


def test_the_workflow_has_every_node_the_command_sets():
    graph = load_workflow(PACK_ROOT)
    assert set(class_types(graph)) == set(NODE_STAGES)
    set_models(graph, Trio("a", "b", "c"))
    names = {"SAMALoadModel": "model_name", "SAMALoadTextEncoder": "text_encoder_name", "SAMALoadVAE": "vae_name"}
    for node in graph.values():
        if node["class_type"] in names:
            assert node["inputs"][names[node["class_type"]]] in "abc"


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
    errors = {"3": {"errors": [
        {"type": "custom_validation_failed", "message": "Custom validation failed for node",
         "details": "instruction - The instruction is empty - say what to change."},
        {"type": "value_smaller_than_min", "message": "Value 0 smaller than min of 1", "details": "steps"}]}}
    assert refusal(GRAPH, json.dumps({"error": {}, "node_errors": errors}).encode()) == (
        "SAMA Edit (node 3): The instruction is empty - say what to change.\n"
        "SAMA Edit (node 3): Value 0 smaller than min of 1: steps")
    told = {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}}
    assert refusal(GRAPH, json.dumps(told).encode()) == "ComfyUI refused the workflow: Prompt has no outputs"
    assert refusal(GRAPH, b"<html>") == "ComfyUI refused the workflow: <html>"
