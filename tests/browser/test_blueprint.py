"""The blueprints: listed by ComfyUI; "Video Edit (SAMA)" is run from the canvas as one node."""

import json
import urllib.request
from pathlib import Path

import av
import pytest

from sama_core import embedded
from sama_core.launch.commands.serve import provide_clips
from sama_core.released_files import COMPANIONS, MODEL_FILES

from ..harness.server import TestPlaces

FOLDER = Path(__file__).resolve().parents[2] / "subgraphs"
PATH = FOLDER / "Video Edit (SAMA).json"
FAST = FOLDER / "Video to Video in 6 Steps (SAMA).json"
SMALL = {
    "model_name": embedded.DIT.name,
    "text_encoder_name": embedded.TEXT_ENCODER.name,
    "vae_name": embedded.VAE.name,
}


WIDGETS = """() => app.graph.getNodeById(7).widgets
    .map(widget => widget.name).filter(name => !name.includes('control'))"""


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def blueprint():
    return read(PATH)


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


def test_they_are_listed_by_comfyui(comfy_server):
    def fetch(path):
        with urllib.request.urlopen(f"{comfy_server.url}{path}", timeout=120) as reply:
            return json.loads(reply.read())

    listed = {
        key: entry
        for key, entry in fetch("/global_subgraphs").items()
        if entry["name"] in (PATH.stem, FAST.stem)
    }
    assert sorted(entry["name"] for entry in listed.values()) == [PATH.stem, FAST.stem]
    for key, entry in listed.items():
        assert entry["source"] == "custom_node"
        shipped = read(FOLDER / f"{entry['name']}.json")
        assert json.loads(fetch(f"/global_subgraphs/{key}")["data"]) == shipped


@pytest.mark.parametrize(("path", "count"), [(PATH, 3), (FAST, 4)])
def test_every_loader_says_where_its_file_is(path, count):
    known = {file.filename: file for file in (*MODEL_FILES, *COMPANIONS)}
    named = 0
    for node in inner(read(path)).values():
        for model in node["properties"].get("models", ()):
            file = known[model["name"]]
            assert model["url"] == f"https://huggingface.co/{file.repo}/resolve/main/{file.path}"
            assert model["directory"] == file.folder and model["name"] in node["widgets_values"]
            named += 1
    assert named == count


def test_the_fast_one_has_the_lora_before_the_sampler(canvas):
    canvas.open_workflow(on_the_canvas(read(FAST)))
    nodes = canvas.prompt()
    (key, lora), (_, edit) = (
        next(item for item in nodes.items() if item[1]["class_type"] == kind)
        for kind in ("SAMALoadLora", "SAMAEditWholeVideo")
    )
    assert edit["inputs"]["model"] == [key, 0]
    assert (edit["inputs"]["steps"], edit["inputs"]["cfg"]) == (0, -1)
    assert lora["inputs"]["lora_name"].startswith("lightx2v_T2V_14B_cfg_step_distill")
    assert canvas.evaluate(WIDGETS) == [
        "instruction",
        "frames",
        "start",
        "seed",
        "model_name",
        "lora_name",
        "text_encoder_name",
        "vae_name",
    ]


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
    values = nodes["SAMAEditWholeVideo"]["widgets_values"]
    values[:5], values[10] = ["make the circle red", 3, "fixed", 2, 1.3], 5
    canvas.open_workflow(on_the_canvas(blueprint))
    prompt = {node["class_type"]: node["inputs"] for node in canvas.prompt().values()}
    assert sorted(prompt) == [
        "LoadVideo",
        "SAMAEditWholeVideo",
        "SAMALoadModel",
        "SAMALoadTextEncoder",
        "SAMALoadVAE",
        "SaveVideo",
    ]
    edit = prompt["SAMAEditWholeVideo"]
    assert [edit[name] for name in ("instruction", "seed", "frames")] == [
        "make the circle red",
        3,
        5,
    ]
    assert prompt["SAMALoadModel"]["model_name"] == SMALL["model_name"]
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
    entry = canvas.queue_and_wait()
    assert entry["status"]["status_str"] == "success" and canvas.errors == []
    (path,) = (comfy_server.base / "output" / "blueprint").iterdir()
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
