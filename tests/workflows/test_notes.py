"""The notes in the workflows say the settings of the code, and are those of the layouts."""

import re

import pytest

from sama_core import embedded
from sama_core.released_files import COMPANIONS, MODEL_FILES, SAMA_14B, default_file

from ..harness.imports import REPO_ROOT
from .shipped import NAMES, api_graph, layout, shipped

LARGE = ["few_step_edit", "region_by_words", "sama_14b_drafts", "sama_14b_edit"]
LINK = re.compile(r"\]\((https://[^)\s]+)\)")
OURS = "https://github.com/comfyui-sama/ComfyUI-SAMA"

each_workflow = pytest.mark.parametrize("name", NAMES)


def note_of(name: str) -> str:
    """The text of a workflow's only note."""
    nodes = shipped(name)["nodes"]
    (text,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    return text


@each_workflow
def test_the_note_is_the_layouts_and_has_links_that_lead_somewhere(name):
    (note,) = (
        group["note"] for column in layout(name)["columns"] for group in column if "note" in group
    )
    assert note_of(name) == note
    links = LINK.findall(note)
    assert links and "`" not in note, "code is unreadable in Nodes 2.0's notes"
    for link in links:
        if link.startswith(OURS):
            page = link.removeprefix(OURS).partition("#")[0].removeprefix("/blob/main/")
            assert (REPO_ROOT / (page or "README.md")).is_file(), link
        else:
            repos = {file.repo for file in (*MODEL_FILES, *COMPANIONS)}
            assert any(link.startswith(f"https://huggingface.co/{repo}") for repo in repos), link


@each_workflow
def test_the_note_says_which_files_and_settings(name):
    note = note_of(name)
    if name in LARGE:
        for role in ("SAMA model", "text encoder", "VAE"):
            assert default_file(role).repo in note
    else:
        assert "SAMA-Shapes" in note
    frames = {"context_windows": "context_length", "long_edit": "segment_frames"}.get(name)
    if frames:
        assert f"{frames} {SAMA_14B.frames}" in note


@each_workflow
def test_the_graph_has_the_settings_of_the_model_that_it_names(name):
    inputs = [node["inputs"] for node in api_graph(name).values()]
    (model,) = (given["model_name"] for given in inputs if "model_name" in given)
    sampled, *drafts = (given for given in inputs if {"steps", "cfg"} <= given.keys())
    own = (embedded.STEPS, embedded.CFG) if name == "native_edit" else (0, -1)
    for given in (sampled, *drafts):
        assert (given["steps"], given["cfg"]) == own
    assert model == (default_file("SAMA model").filename if name in LARGE else embedded.DIT.name)
