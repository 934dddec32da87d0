"""Every example workflow, opened in the real frontend, queued and run to its end."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sama_core.launch.commands.serve import provide_clips
from sama_core.shapes.demo_clip import FRAMES, LONG_FRAMES, SHOWN, demo_scene
from sama_core.shapes.world.render import coverage

from ..harness.browser import NODE_COUNT
from ..harness.canvas_boxes import STEPS, settled_overlaps
from ..harness.imports import REPO_ROOT
from ..harness.server import TestPlaces
from ..harness.standing_in import small_workflow, write_lora
from ..workflows.shipped import NAMES, api_graph, layout, shipped, workflow_path

ON_SHAPES = [name for name in NAMES if "14b" not in name and name != "region_by_words"]
"""The others are one of these with other files; `tests/workflows` compares them."""
STAGES = ("reading", "encoding", "sampling", "decoding", "loading")
TEXTS = """() => app.graph.nodes.flatMap(node => node.widgets ?? [])
    .filter(widget => widget.type === "progressText").map(widget => widget.value)"""
PARTS = {
    "long_edit": (r"SAMA: (sampling) took", ["sampling"] * 4),
    "context_windows": (r"Context window (\d/\d):", ["1/3", "2/3", "3/3"] * 2),
}
"""What ComfyUI's log says of each segment, and of each window in each step."""
QUICK = ("context_windows", "train_lora")
"""Three windows in each of ten steps take long, and so does training; two steps show them as
well. What a training teaches is tested in `tests/nodes/test_trained_lora.py`."""


@pytest.fixture(scope="module")
def stocked(comfy_server) -> None:
    """The pack's clips, and a LoRA for SAMA-Shapes under the name of the one for SAMA-14B."""
    provide_clips(TestPlaces(folder=comfy_server.base.parent))
    write_lora(comfy_server.base / "models")


def test_workflows_have_titles_for_people_and_pictures_of_the_edit():
    titles = [path.stem for path in sorted((REPO_ROOT / "workflows").glob("*.json"))]
    assert titles == [
        "1 Edit a video",
        "2 Drafts first",
        "3 Edit one region",
        "4 Edit a long video",
        "5 Edit a long video in windows",
        "6 Edit with KSampler",
        "7 Preview single frames",
        "8 Edit one frame",
        "9 Train a LoRA",
        "SAMA-14B 1 Edit a video",
        "SAMA-14B 2 Edit in 6 steps",
        "SAMA-14B 3 Drafts first",
        "SAMA-14B 4 Edit a region by words",
    ]
    for name in NAMES:
        with Image.open(workflow_path(name).with_suffix(".jpg")) as picture:
            assert picture.format == "JPEG" and picture.width == 800
            red, green, blue = np.asarray(picture.convert("RGB")).astype(int).transpose(2, 0, 1)
        is_red, is_blue = (
            (red > 2 * green) & (red > 2 * blue),
            (blue > 2 * red) & (blue > 1.5 * green),
        )
        across = name in ("long_edit", "context_windows", "anchor_preview")
        halves = [np.array_split(mask, 2, 0 if across else 1) for mask in (is_blue, is_red)]
        (blue_before, blue_after), (red_before, red_after) = [
            [half.mean() for half in pair] for pair in halves
        ]
        assert blue_before > 0.05 and red_after > 0.05 > red_before, name
        assert blue_after < 0.05 or name == "train_lora"  # which swaps red and blue


@pytest.mark.parametrize("name", ON_SHAPES)
def test_workflow_runs_from_the_canvas(canvas, comfy_server, stocked, name):
    """As shipped it is the graph of its API file, and it runs on the pack's files."""
    workflow = shipped(name)
    canvas.open_workflow(workflow)
    opened = {key: (node["class_type"], node["inputs"]) for key, node in canvas.prompt().items()}
    for key, node in api_graph(name).items():
        kind, inputs = opened[key]
        made = layout(name).get("widgets", {}).get(key, {})
        wanted = {name: value for name, value in node["inputs"].items() if name not in made}
        assert kind == node["class_type"]
        assert {name: inputs.get(name) for name in wanted} == wanted

    canvas.open_workflow(small_workflow(workflow))
    canvas.set_previews("auto")  # as `run.py serve` has them: core's nodes keep their last one
    if name in QUICK:
        canvas.evaluate(STEPS, 2)
    before = len(comfy_server.log)
    entry = canvas.queue_and_wait()
    assert entry["status"]["status_str"] == "success"
    assert canvas.errors == []
    assert settled_overlaps(canvas) == []
    if name in PARTS:
        line, parts = PARTS[name]
        assert re.findall(line, comfy_server.log[before:]) == parts
    for text in canvas.evaluate(TEXTS):
        assert not any(stage in text for stage in STAGES), text
    check_output(name, entry, comfy_server.base)


def test_a_saved_video_dropped_on_the_canvas_brings_its_graph_back(canvas, comfy_server, stocked):
    canvas.open_workflow(shipped("simple_edit"))
    queued = graph_of(canvas.prompt())
    saved = output_of(canvas.queue_and_wait(), comfy_server.base)
    canvas.open_workflow(shipped("native_edit"))
    assert graph_of(canvas.prompt()) != queued
    canvas.drop(saved)
    nodes = len(shipped("simple_edit")["nodes"])
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


LEAST_RED = {"long_edit": 0.95, "edit_one_frame": 0.8}
"""Share of the circle's pixels that are red; the carried square loses its corners."""


def check_output(name: str, entry: dict, base: Path) -> None:
    """A playable video like the clip, named after clip and seed, with the edit in it; or for the
    preview a sheet of three columns in the node.
    """
    made = output_of(entry, base)
    if made.suffix == ".png":
        with Image.open(made) as sheet:
            # Three columns and two rows of SAMA-Shapes' 64x64, gaps of 8.
            assert sheet.size == (3 * 64 + 16, 2 * 64 + 8)
        return
    frames, clip = FRAMES, "moving_shapes.mp4"
    if name in ("long_edit", "context_windows"):
        frames, clip = LONG_FRAMES, "moving_shapes_49.mp4"
    seed = "2_ make the circle red" if name == "drafts_first" else "1"
    if name == "train_lora":
        clip = "swap red and blue"
    assert re.fullmatch(rf"{re.escape(clip)} seed {seed}_0000\d_\.mp4", made.name)
    with av.open(str(made)) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (256, 256, 12)
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(stream)])
    assert len(shown) == frames
    if name == "train_lora":
        assert list((base / "output" / "loras").glob("swap_red_and_blue_2_steps_*.safetensors"))
        return
    check_the_circle_is_red(shown, LEAST_RED.get(name, 0.99))


def check_the_circle_is_red(shown: np.ndarray, least: float) -> None:
    """In every frame where the scene has its blue circle, up to its soft edge."""
    scene = demo_scene(len(shown))
    circle = coverage(scene, len(shown), SHOWN, SHOWN)[0, 0].numpy() > 0.99
    red, green, blue = shown.astype(int)[circle].T
    assert circle.sum((1, 2)).min() > 2500
    assert ((red > blue) & (red > green)).mean() > least
