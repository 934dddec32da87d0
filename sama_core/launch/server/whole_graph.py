"""The edit workflow for a whole video, and for a share of one."""

import json
from typing import Any

from ..progress import LaunchError
from .client import Client

WHOLE, SHARE = "SAMAEditWholeVideo", "SAMAVideoShare"
PARTS = ("SAMAFinishVideo", "SAMAEdit", "SAMASourceVideo")
"""The nodes that WHOLE stands for; of inputs with the same name the later one's counts."""
SAVER = "SaveVideo"


def edit_whole(graph: dict, client: Client, segment_frames: int | None = None) -> None:
    """Puts SAMA Edit Whole Video in the place of the nodes that hold all frames.

    What these do not say are the node's defaults on the server. `segment_frames` as the node's.
    """
    described = (client.node(WHOLE) or {}).get("input", {})
    inputs = {
        name: options[0]["default"]
        for name, (_, *options) in described.get("required", {}).items()
        if options and "default" in options[0]
    }
    known = {name for group in described.values() for name in group}
    for kind in PARTS:
        for node in (node for node in graph.values() if node["class_type"] == kind):
            inputs |= {name: value for name, value in node["inputs"].items() if name in known}
    if segment_frames:
        inputs["segment_frames"] = segment_frames
    for key in [key for key, node in graph.items() if node["class_type"] in PARTS]:
        del graph[key]
    graph["whole"] = {"class_type": WHOLE, "inputs": inputs}
    for node in graph.values():
        if node["class_type"] == SAVER:
            node["inputs"]["video"] = ["whole", 0]


def ask_share(graph: dict, part: str, first: int, count: int) -> None:
    """Makes a graph of `edit_whole` do a share of the edit, and save nothing."""
    for key in [key for key, node in graph.items() if node["class_type"] == SAVER]:
        del graph[key]
    graph["whole"]["class_type"] = SHARE
    graph["whole"]["inputs"] |= {"part": part, "first": first, "count": count}


def read_share(entry: dict) -> dict[str, Any]:
    """What the node of `ask_share` reports, from a history entry."""
    try:
        return json.loads(entry["outputs"]["whole"]["text"][0])
    except (LookupError, TypeError, ValueError) as error:
        raise LaunchError("ComfyUI: a share of a video ended without a report.") from error
