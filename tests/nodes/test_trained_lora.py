"""The shipped workflow that trains a LoRA, on a real server: what it saves loads in ComfyUI's own
LoRA loader in the next graph, and changes the edit as it was taught."""

import av
import numpy as np

from sama_core.launch.commands.serve import provide_clips

from ..harness.server import TestPlaces
from ..workflows.shipped import api_graph

STEPS = 48
"""Fewer than the workflow's 120. 24 teach 1.5 dB on ComfyUI 0.33.0, which draws other noise."""
LEAST_GAIN = 3.0
"""Decibels."""


def test_the_saved_lora_does_the_edit_in_the_next_graph(comfy_server):
    provide_clips(TestPlaces(folder=comfy_server.base.parent))
    training = api_graph("train_lora")
    training["7"]["inputs"]["steps"] = STEPS
    training["10"]["inputs"]["prefix"] = "loras/next_graph"
    entry = comfy_server.run(training, timeout=600)
    assert entry["status"]["status_str"] == "success", entry["status"]
    (saved,) = (comfy_server.base / "output" / "loras").glob("next_graph_*.safetensors")
    assert f"_{STEPS}_steps_" in saved.name

    edit = {key: node for key, node in training.items() if key not in ("4", "5", "6", "10", "13")}
    edit["8"] = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["1", 0], "lora_name": saved.name, "strength_model": 1.0},
    }
    del edit["7"]
    with_lora = frames_of(comfy_server, edit)
    edit["8"]["inputs"]["strength_model"] = 0.0
    without = frames_of(comfy_server, edit)
    source = read(comfy_server.base / "input" / "moving_shapes.mp4")
    truth = source[..., ::-1]
    assert psnr(with_lora, truth) > psnr(without, truth) + LEAST_GAIN


def frames_of(server, prompt: dict) -> np.ndarray:
    """The video that a graph saves."""
    entry = server.run(prompt)
    assert entry["status"]["status_str"] == "success", entry["status"]
    (item,) = (
        item
        for output in entry["outputs"].values()
        for item in output.get("images", [])
        if item["filename"].endswith(".mp4")
    )
    return read(server.base / item["type"] / item["subfolder"] / item["filename"])


def read(path) -> np.ndarray:
    """Frames (F, H, W, 3) of a video, in 0…1."""
    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]) / 255


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(one - other).mean()))
