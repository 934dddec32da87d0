"""The blueprint "Video Edit (SAMA)": listed by ComfyUI, and run from the canvas as one node."""

import json
import urllib.request
from pathlib import Path

import av
import pytest

from sama_core import embedded
from sama_core.launch.commands.serve import provide_clips
from sama_core.released_files import MODEL_FILES

from ..harness.server import TestPlaces

PATH = Path(__file__).resolve().parents[2] / "subgraphs" / "Video Edit (SAMA).json"
SMALL = {
    "model_name": embedded.DIT.name,
    "text_encoder_name": embedded.TEXT_ENCODER.name,
    "vae_name": embedded.VAE.name,
}


WIDGETS = """() => app.graph.getNodeById(7).widgets
    .map(widget => widget.name).filter(name => !name.includes('control'))"""


@pytest.fixture
def blueprint():
    return json.loads(PATH.read_text(encoding="utf-8"))


def inner(blueprint) -> dict:
    return {node["type"]: node for node in blueprint["definitions"]["subgraphs"][0]["nodes"]}


def on_the_canvas(blueprint) -> dict:
    """A workflow: Load Video → the blueprint → Save Video, as a user would connect it."""
    (node,) = blueprint["nodes"]
    node["id"], node["inputs"][0]["link"], node["outputs"][0]["links"] = 7, 1, [2]
    load = {
        "id": 8,
        "type": "LoadVideo",
        "pos": [-400, 0],
        "size": [300, 200],
        "order": 0,
        "mode": 0,
        "flags": {},
        "inputs": [],
        "outputs": [{"name": "VIDEO", "type": "VIDEO", "links": [1]}],
        "properties": {},
        "widgets_values": ["moving_shapes.mp4", "image"],
    }
    save = {
        "id": 9,
        "type": "SaveVideo",
        "pos": [500, 0],
        "size": [300, 200],
        "order": 2,
        "mode": 0,
        "flags": {},
        "inputs": [{"name": "video", "type": "VIDEO", "link": 2}],
        "outputs": [],
        "properties": {},
        "widgets_values": ["blueprint/SAMA", "auto", "auto"],
    }
    return {
        **blueprint,
        "id": "0b6f2f0c-3f52-4c7c-8ad3-5a1b7d7f1d01",
        "last_node_id": 9,
        "last_link_id": 2,
        "nodes": [load, node, save],
        "links": [[1, 8, 0, 7, 0, "VIDEO"], [2, 7, 0, 9, 0, "VIDEO"]],
    }


def test_it_is_listed_by_comfyui(comfy_server, blueprint):
    def fetch(path):
        with urllib.request.urlopen(f"{comfy_server.url}{path}", timeout=30) as reply:
            return json.loads(reply.read())

    listed = {
        key: entry
        for key, entry in fetch("/global_subgraphs").items()
        if entry["name"] == PATH.stem
    }
    ((key, entry),) = listed.items()
    assert entry["source"] == "custom_node"
    assert json.loads(fetch(f"/global_subgraphs/{key}")["data"]) == blueprint


def test_its_models_are_those_that_the_pack_fetches(blueprint):
    for node in inner(blueprint).values():
        for model in node["properties"].get("models", ()):
            (file,) = [file for file in MODEL_FILES if file.filename == model["name"]]
            assert model["url"] == f"https://huggingface.co/{file.repo}/resolve/main/{file.path}"
            assert model["directory"] == file.folder and model["name"] in node["widgets_values"]


def test_it_runs_from_the_canvas(canvas, comfy_server, blueprint):
    """With the models that ship with the pack; the graph is that of the simple workflow."""
    provide_clips(TestPlaces(folder=comfy_server.base.parent))
    nodes = inner(blueprint)
    for kind, name in (
        ("SAMALoadModel", "model_name"),
        ("SAMALoadTextEncoder", "text_encoder_name"),
        ("SAMALoadVAE", "vae_name"),
    ):
        nodes[kind]["widgets_values"][0] = SMALL[name]
    nodes["SAMASourceVideo"]["widgets_values"][0] = 5
    nodes["SAMAEdit"]["widgets_values"][:5] = ["make the circle red", 3, "fixed", 2, 1.3]
    canvas.open_workflow(on_the_canvas(blueprint))
    prompt = {node["class_type"]: node["inputs"] for node in canvas.prompt().values()}
    assert sorted(prompt) == [
        "LoadVideo",
        "SAMAEdit",
        "SAMAFinishVideo",
        "SAMALoadModel",
        "SAMALoadTextEncoder",
        "SAMALoadVAE",
        "SAMASourceVideo",
        "SaveVideo",
    ]
    assert (prompt["SAMAEdit"]["instruction"], prompt["SAMAEdit"]["seed"]) == (
        "make the circle red",
        3,
    )
    assert (
        prompt["SAMASourceVideo"]["frames"] == 5
        and prompt["SAMALoadModel"]["model_name"] == SMALL["model_name"]
    )
    assert canvas.evaluate(WIDGETS) == [
        "instruction",
        "frames",
        "start",
        "seed",
        "steps",
        "cfg",
        "model_name",
        "text_encoder_name",
        "vae_name",
    ]
    canvas.evaluate("() => { app.graph.getNodeById(7).widgets[0].value = 'make the circle blue' }")
    assert {node["inputs"].get("instruction") for node in canvas.prompt().values()} == {
        None,
        "make the circle blue",
    }
    entry = canvas.queue_and_wait(timeout=120)
    assert entry["status"]["status_str"] == "success" and canvas.errors == []
    (path,) = (comfy_server.base / "output" / "blueprint").iterdir()
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
