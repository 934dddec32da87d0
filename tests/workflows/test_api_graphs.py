"""The graphs in `workflows/api`: graphs only, and without a finding of comfy-lint.

comfy-lint is an independent linter. It reads the list of nodes that the running server gives out,
so these tests fail when a node loses an input, a choice or an output that a graph uses.
"""

import json
import re
from pathlib import Path

import pytest
from comfy_lint import lint_workflow
from comfy_lint.linter import load_workflow
from comfy_lint.schema import fetch_from_server

from sama_core.launch.commands.serve import provide_clips
from sama_core.released_files import COMPANIONS, MODEL_FILES

from ..harness.imports import REPO_ROOT
from ..harness.server import TestPlaces
from .shipped import NAMES, workflow_path

GRAPHS = sorted((REPO_ROOT / "workflows" / "api").iterdir())


@pytest.fixture(scope="module")
def schema(comfy_server):
    """What the server answers while the files that the graphs name lie in its folders."""
    provide_clips(TestPlaces(folder=comfy_server.base.parent))
    models = comfy_server.base / "models"
    wanted = [models / file.folder / file.filename for file in (*MODEL_FILES, *COMPANIONS)]
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
    assert sorted(workflow_path(name).name for name in NAMES) == workflows
    for path in GRAPHS:
        graph = json.loads(path.read_text(encoding="utf-8"))
        assert {"class_type", "inputs", "_meta"} == set().union(*graph.values())


def test_a_layout_lies_beside_the_browser_tests_for_each_graph():
    layouts = sorted((REPO_ROOT / "tests" / "browser" / "layouts").iterdir())
    assert [path.name for path in layouts] == [path.name for path in GRAPHS]
    for path in layouts:
        keys = set(json.loads(path.read_text(encoding="utf-8")))
        assert (
            {"title", "columns"}
            <= keys
            <= {"title", "columns", "heights", "rooms", "widths"} | {"widgets", "app"}
        )


def lint(graph: dict, schema) -> list:
    """What comfy-lint finds; it does not know that an input may take one of several types."""
    return [finding for finding in lint_workflow(graph, schema) if not one_of_several(finding)]


def one_of_several(finding) -> bool:
    """Whether a type that does not match is one of those that the input takes."""
    types = re.search(r" expects (\S+) but .* produces (\S+)$", finding.message)
    return finding.rule == "type-mismatch" and types[2] in types[1].split(",")


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_comfy_lint_finds_nothing(path: Path, schema):
    found = lint(load_workflow(str(path)), schema)
    assert [f"{finding.anchor(path.name)}: {finding.message}" for finding in found] == []


def test_comfy_lint_sees_what_is_wrong(schema):
    """A wrong choice, a missing input and an unknown one are found."""
    graph = load_workflow(str(REPO_ROOT / "workflows" / "api" / "simple_edit.json"))
    (edit,) = (node for node in graph.values() if node["class_type"] == "SAMAEditWholeVideo")
    edit["inputs"] |= {"tiling": "no such choice", "stranger": 1}
    del edit["inputs"]["instruction"]
    rules = {finding.rule for finding in lint(graph, schema)}
    assert rules == {"invalid-enum", "extraneous-input", "missing-required"}
