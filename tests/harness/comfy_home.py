"""ComfyUI's sources: where they are, whether this environment fits, what CPU torch needs."""

import importlib.util
import os
import re
from importlib import metadata
from pathlib import Path

import pytest

from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.comfy_main import declare_vision_operators
from sama_core.launch.setup.comfyui_source import ComfyUI, find_comfyui

VARIABLE = "SAMA_COMFYUI"
"""The one variable that names the ComfyUI to test with; `run.py test` sets it."""
MISSING = (
    "No ComfyUI found: run `python3 run.py test`, which fetches one, "
    f"or set {VARIABLE} to the folder of a ComfyUI (the one with main.py)."
)
FRONTEND = "comfyui-frontend-package"


def comfy_source() -> ComfyUI:
    """The ComfyUI to test with: SAMA_COMFYUI, else the one that `run.py` would use.

    Ends the pytest session with a sentence saying what to do when there is none, or when this
    environment lacks what it pins: then it would not be tested as people run it.
    """
    try:
        found = find_here()
    except LaunchError as error:
        pytest.exit(f"{VARIABLE}: {error}", returncode=3)
    if found is None:
        pytest.exit(MISSING, returncode=3)
    others = {name: told for name, told in other_versions(found).items() if name != FRONTEND}
    if others:
        pytest.exit(
            f"ComfyUI in {found.folder}: this environment has {', '.join(others.values())}. "
            f"`python3 run.py test --comfyui {found.folder}` makes one for it.",
            returncode=3,
        )
    return found


def describe_comfyui() -> str | None:
    """The ComfyUI and the frontend that this run used, for the end of its report.

    None without one.
    """
    try:
        found = find_here()
    except LaunchError:
        return None
    if found is None:
        return None
    frontend = other_versions(found).get(FRONTEND) or f"{FRONTEND} {_version(FRONTEND) or 'none'}"
    return f"ComfyUI {'.'.join(map(str, found.version()))} in {found.folder}, {frontend}"


def other_versions(comfyui: ComfyUI) -> dict[str, str]:
    """Packages that this ComfyUI pins and this environment has otherwise.

    What is here, and what it pins.
    """
    pins = re.findall(r"^([\w.-]+)==([\w.]+)\s*$", comfyui.requirements(), re.MULTILINE)
    return {
        name: f"{name} {_version(name) or 'none'} where it pins {pinned}"
        for name, pinned in pins
        if _version(name) != pinned
    }


def find_here() -> ComfyUI | None:
    """The ComfyUI that VARIABLE names, else the one that `run.py` would use; None without one."""
    return find_comfyui(Places(), os.environ.get(VARIABLE), environ={})


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def declare_torchvision_schemas() -> None:
    """Declare torchvision's operators where its own library cannot be loaded, once a process."""
    spec = importlib.util.find_spec("torchvision")
    if spec is not None:
        declare_vision_operators(Path(spec.origin).parent)
