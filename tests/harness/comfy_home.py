"""Where ComfyUI's sources are, and what a CPU build of torch needs before they can be imported."""

import importlib.util
import os
from pathlib import Path

import pytest

from sama_core.launch.comfy_main import declare_vision_operators
from sama_core.launch.failure import LaunchError
from sama_core.launch.places import Places
from sama_core.launch.runtime import ComfyUI, find_comfyui

MISSING = (
    "No ComfyUI found: run `python3 run.py test`, which fetches one, "
    "or set SAMA_COMFYUI to the folder of a ComfyUI (the one with main.py)."
)


def comfy_source() -> ComfyUI:
    """The ComfyUI to test with: SAMA_COMFYUI, else the one that `run.py` would use.

    Ends the pytest session with a sentence saying what to do when there is none.
    """
    try:
        found = find_comfyui(Places(), os.environ.get("SAMA_COMFYUI"))
    except LaunchError as error:
        pytest.exit(f"SAMA_COMFYUI or COMFYUI_PATH: {error}", returncode=3)
    if found is None:
        pytest.exit(MISSING, returncode=3)
    return found


def declare_torchvision_schemas() -> None:
    """Declare torchvision's operators where its own library cannot be loaded, once a process."""
    spec = importlib.util.find_spec("torchvision")
    if spec is not None:
        declare_vision_operators(Path(spec.origin).parent)
