"""Where an edit may change something: a mask's file, and the nodes that read it."""

import os
from pathlib import Path

from ...errors import needed
from ..places import say_missing
from ..progress import LaunchError
from .workflow import EDITOR

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
"""Endings of masks that are one picture for the whole clip; any other file is taken for a video."""
READER = "LoadImageMask"
"""ComfyUI's node that reads a picture as a mask."""


def is_picture(mask: str) -> bool:
    """Whether a mask is one picture for the whole clip."""
    return Path(mask).suffix.lower() in PICTURES


def check_mask(mask: str, as_frames: bool = False) -> Path:
    """The mask's absolute path. Raises LaunchError for an absent or empty file, and for a video
    where the result shall be frames.
    """
    path = Path(os.path.abspath(os.path.expanduser(mask)))
    if not path.is_file() or not path.stat().st_size:
        there = "an empty file" if path.is_file() else say_missing(path)
        need = "a picture or a video, white where the edit may change something"
        raise LaunchError(needed(f"mask {path}", there, need, "Check the path."))
    if as_frames and not is_picture(mask):
        fix = "Give one picture, or leave --frames out."
        raise LaunchError(needed(f"mask {path}", "a video", "a picture where --frames is", fix))
    return path


def add_mask(graph: dict, uploaded: str) -> None:
    """Lets the graph's edit change only what is white in a file of the server's input folder."""
    editor = next(node for node in graph.values() if node["class_type"] == EDITOR)
    if is_picture(uploaded):
        graph["mask"] = {"class_type": READER, "inputs": {"image": uploaded, "channel": "red"}}
        editor["inputs"]["mask"] = ["mask", 0]
    else:
        graph["mask"] = {"class_type": "LoadVideo", "inputs": {"file": uploaded}}
        editor["inputs"]["mask_video"] = ["mask", 0]
