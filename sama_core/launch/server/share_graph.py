"""The edit workflow for a share of a whole video."""

import json
from typing import Any

from ..progress import LaunchError
from .workflow import EDITOR

SHARE, SAVER = "SAMAVideoShare", "SaveVideo"


def ask_share(graph: dict, part: str, first: int, count: int) -> None:
    """Makes an edit workflow do a share of its edit, and save nothing."""
    for key in [key for key, node in graph.items() if node["class_type"] == SAVER]:
        del graph[key]
    share = next(node for node in graph.values() if node["class_type"] == EDITOR)
    share["class_type"] = SHARE
    share["inputs"] |= {"part": part, "first": first, "count": count}


def read_share(entry: dict, graph: dict) -> dict[str, Any]:
    """What the node of `ask_share` reports, from the history entry of its graph."""
    share = next(key for key, node in graph.items() if node["class_type"] == SHARE)
    try:
        return json.loads(entry["outputs"][share]["text"][0])
    except (LookupError, TypeError, ValueError) as error:
        raise LaunchError("ComfyUI: a share of a video ended without a report.") from error
