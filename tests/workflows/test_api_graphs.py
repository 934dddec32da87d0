"""The graphs in `workflows/api`: graphs only, and without a finding of comfy-lint.

comfy-lint is an independent linter. It reads the list of nodes that the running server gives out,
so these tests fail when a node loses an input, a choice or an output that a graph uses.
"""

import json
from pathlib import Path

import pytest
from comfy_lint import lint_workflow
from comfy_lint.linter import load_workflow
from comfy_lint.schema import fetch_from_server

from sama_core.launch.commands.serve import provide_clip
from sama_core.released_files import MODEL_FILES

from ..harness.imports import REPO_ROOT
from ..harness.server import TestPlaces

GRAPHS = sorted((REPO_ROOT / "workflows" / "api").iterdir())
LORA = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"


@pytest.fixture(scope="module")
def schema(comfy_server):
    """What the server answers while the files that the graphs name lie in its folders."""
    provide_clip(TestPlaces(folder=comfy_server.base.parent))
    models = comfy_server.base / "models"
    wanted = [file.place(models) for file in MODEL_FILES] + [models / "loras" / LORA]
    made = [path for path in wanted if not path.exists()]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listed, _ = fetch_from_server(comfy_server.url, timeout=60)
    for path in made:  # other tests list this server's models
        path.unlink()
    return listed


def test_the_folder_holds_a_graph_for_each_workflow_and_nothing_else():
    workflows = [path.name for path in sorted((REPO_ROOT / "workflows").glob("*.json"))]
    assert [path.name for path in GRAPHS] == workflows
    for path in GRAPHS:
        graph = json.loads(path.read_text(encoding="utf-8"))
        assert {"class_type", "inputs", "_meta"} == set().union(*graph.values())


def test_a_layout_lies_beside_the_browser_tests_for_each_graph():
    layouts = sorted((REPO_ROOT / "tests" / "browser" / "layouts").iterdir())
    assert [path.name for path in layouts] == [path.name for path in GRAPHS]
    for path in layouts:
        assert set(json.loads(path.read_text(encoding="utf-8"))) <= {"nodes", "groups", "notes"}


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_comfy_lint_finds_nothing(path: Path, schema):
    found = lint_workflow(load_workflow(str(path)), schema)
    assert [f"{finding.anchor(path.name)}: {finding.message}" for finding in found] == []


def test_comfy_lint_sees_what_is_wrong(schema):
    """A wrong choice, a missing input and an unknown one are found."""
    graph = load_workflow(str(REPO_ROOT / "workflows" / "api" / "simple_edit.json"))
    (edit,) = (node for node in graph.values() if node["class_type"] == "SAMAEdit")
    edit["inputs"] |= {"tiling": "no such choice", "stranger": 1}
    del edit["inputs"]["instruction"]
    rules = {finding.rule for finding in lint_workflow(graph, schema)}
    assert rules == {"invalid-enum", "extraneous-input", "missing-required"}
