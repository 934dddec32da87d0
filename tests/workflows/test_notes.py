"""The notes in the workflows say the settings of the code, and are those of the layouts."""

import json

import pytest

from sama_core import embedded
from sama_core.released_files import SAMA_14B, default_file

from ..harness.imports import REPO_ROOT

NAMES = [path.stem for path in sorted((REPO_ROOT / "workflows").glob("*.json"))]
LARGE_ONLY = "few_step_edit"

each_workflow = pytest.mark.parametrize("name", NAMES)


def read(*path: str) -> dict:
    return json.loads(REPO_ROOT.joinpath(*path).read_text(encoding="utf-8"))


def note_of(name: str) -> str:
    """The text of a workflow's only note."""
    nodes = read("workflows", f"{name}.json")["nodes"]
    (text,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    return text


@each_workflow
def test_the_note_is_the_layouts(name):
    (note,) = read("tests", "browser", "layouts", f"{name}.json")["notes"]
    assert note_of(name) == note["text"]


@each_workflow
def test_the_note_names_the_released_files_and_settings(name):
    note = note_of(name)
    for role in ("SAMA model", "text encoder", "VAE"):
        file = default_file(role)
        assert f"models/{file.folder}/{file.filename}" in note and file.repo in note
    if name == "native_edit":  # ComfyUI's sampler cannot know the model's own
        assert f"set steps {SAMA_14B.steps}, cfg {SAMA_14B.cfg:g}" in note
    else:
        assert "steps 0 and cfg -1" in note


@each_workflow
def test_the_graph_has_the_settings_of_the_model_that_it_names(name):
    inputs = [node["inputs"] for node in read("workflows", "api", f"{name}.json").values()]
    (model,) = (given["model_name"] for given in inputs if "model_name" in given)
    (sampled,) = (given for given in inputs if {"steps", "cfg"} <= given.keys())
    own = (embedded.STEPS, embedded.CFG) if name == "native_edit" else (0, -1)
    assert (sampled["steps"], sampled["cfg"]) == own
    large = default_file("SAMA model").filename
    assert model == (large if name == LARGE_ONLY else embedded.DIT.name)
