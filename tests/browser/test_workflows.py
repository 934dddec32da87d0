"""Every example workflow, opened in the real frontend, queued and run to its end."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sama_core import embedded
from sama_core.launch.commands.serve import provide_clip
from sama_core.shapes.demo_clip import FRAMES, SHOWN, demo_scene
from sama_core.shapes.world.render import coverage

from ..harness.browser import NODE_COUNT
from ..harness.server import TestPlaces

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
LORA = "lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors"
# What the workflow for SAMA-14B runs on here; the others run as they are.
INSTEAD = {
    "sama_14b_ema.safetensors": embedded.DIT.name,
    "wan_2.1_vae.safetensors": embedded.VAE.name,
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": embedded.TEXT_ENCODER.name,
}
STAGES = ("reading", "encoding", "sampling", "decoding", "loading")
TEXTS = """() => app.graph.nodes.flatMap(node => node.widgets ?? [])
    .filter(widget => widget.type === "progressText").map(widget => widget.value)"""


def test_workflows_with_thumbnails():
    assert [path.stem for path in WORKFLOWS] == [
        "anchor_preview",
        "context_windows",
        "few_step_edit",
        "long_edit",
        "native_edit",
        "region_edit",
        "simple_edit",
    ]
    for path in WORKFLOWS:
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert picture.format == "JPEG"
            assert 600 <= picture.width <= 1280


@pytest.fixture(scope="module")
def stocked(comfy_server) -> None:
    """The pack's clip, and a LoRA for SAMA-Shapes under the name of the one for SAMA-14B."""
    provide_clip(TestPlaces(folder=comfy_server.base.parent))
    width, hidden = load_file(embedded.DIT)["blocks.0.ffn.0.weight"].shape[::-1]
    loras = comfy_server.base / "models" / "loras"
    loras.mkdir(exist_ok=True)
    lora = {
        "diffusion_model.blocks.0.ffn.0.lora_A.weight": torch.full((4, width), 0.01),
        "diffusion_model.blocks.0.ffn.0.lora_B.weight": torch.full((hidden, 4), 0.01),
    }
    save_file(lora, loras / LORA)


def small(workflow: dict) -> dict:
    """The workflow with SAMA-Shapes' files where it has SAMA-14B's."""
    for node in workflow["nodes"]:
        if isinstance(node.get("widgets_values"), list):
            node["widgets_values"] = [
                INSTEAD.get(value, value) if isinstance(value, str) else value
                for value in node["widgets_values"]
            ]
    return workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_runs_from_the_canvas(canvas, comfy_server, stocked, path):
    """As shipped it is the graph of its API file, and it runs on the pack's files."""
    shipped = json.loads(path.read_text(encoding="utf-8"))
    api = json.loads((path.parent / "api" / path.name).read_text(encoding="utf-8"))
    canvas.open_workflow(shipped)
    opened = {key: (node["class_type"], node["inputs"]) for key, node in canvas.prompt().items()}
    for key, node in api.items():
        kind, inputs = opened[key]
        assert kind == node["class_type"]
        assert {name: inputs.get(name) for name in node["inputs"]} == node["inputs"]

    canvas.open_workflow(small(shipped))
    entry = canvas.queue_and_wait(timeout=180)
    assert entry["status"]["status_str"] == "success"
    assert canvas.errors == []
    for text in canvas.evaluate(TEXTS):
        assert not any(stage in text for stage in STAGES), text
    check_output(entry, comfy_server.base)
    if path.stem == "region_edit":
        check_the_circle_is_red(output_of(entry, comfy_server.base))


def test_a_saved_video_dropped_on_the_canvas_brings_its_graph_back(canvas, comfy_server, stocked):
    workflow = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in WORKFLOWS}
    canvas.open_workflow(workflow["simple_edit"])
    queued = graph_of(canvas.prompt())
    saved = output_of(canvas.queue_and_wait(timeout=180), comfy_server.base)
    canvas.open_workflow(workflow["native_edit"])
    assert graph_of(canvas.prompt()) != queued
    canvas.drop(saved)
    nodes = len(workflow["simple_edit"]["nodes"])
    canvas.wait_until(NODE_COUNT, nodes)
    assert graph_of(canvas.prompt()) == queued


def graph_of(prompt: dict) -> dict:
    """Kinds and inputs of the nodes, without Load Video's preview, which appears at any time."""
    return {
        key: (
            node["class_type"],
            {name: value for name, value in node["inputs"].items() if name != "video-preview"},
        )
        for key, node in prompt.items()
    }


def output_of(entry: dict, base: Path) -> Path:
    """The video that a run saved, or else its one picture."""
    pictures = [
        picture for output in entry["outputs"].values() for picture in output.get("images", [])
    ]
    pictures = [picture for picture in pictures if picture["filename"].endswith(".mp4")] or pictures
    assert len(pictures) == 1
    return base / pictures[0]["type"] / pictures[0]["subfolder"] / pictures[0]["filename"]


def check_output(entry: dict, base: Path) -> None:
    """A playable video like the clip, or for the preview a sheet of three columns in the node."""
    made = output_of(entry, base)
    if made.suffix == ".png":
        with Image.open(made) as sheet:
            # Three columns and two rows of SAMA-Shapes' 64x64, gaps of 8.
            assert sheet.size == (3 * 64 + 16, 2 * 64 + 8)
        return
    with av.open(str(made)) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (256, 256, 12)
        assert sum(1 for _ in video.decode(stream)) == 17


def check_the_circle_is_red(made: Path) -> None:
    """In every frame where the scene has its blue circle, up to its soft edge."""
    circle = coverage(demo_scene(), FRAMES, SHOWN, SHOWN)[0, 0].numpy() > 0.99
    with av.open(str(made)) as video:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    red, green, blue = frames.astype(int)[circle].T
    assert circle.sum((1, 2)).min() > 5000
    assert ((red > blue) & (red > green)).mean() > 0.99
