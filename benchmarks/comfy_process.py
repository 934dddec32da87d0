"""ComfyUI inside a benchmark's own process: its model management and loaders, without nodes or server."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if "sama_core" not in sys.modules:
    sys.path.insert(0, str(ROOT))

from sama_core.errors import needed  # noqa: E402
from sama_core.launch.places import Places  # noqa: E402
from sama_core.launch.progress import LaunchError  # noqa: E402
from sama_core.launch.server.comfy_main import cpu_only, declare_vision_operators, torch_build  # noqa: E402
from sama_core.launch.setup.comfyui_source import find_comfyui  # noqa: E402


def comfyui_folder(asked: str | None = None) -> Path:
    """ComfyUI's sources, as `run.py` finds them. Raises LaunchError if there are none."""
    found = find_comfyui(Places(), asked or os.environ.get("SAMA_COMFYUI"))
    if found is None:
        raise LaunchError(
            needed(
                "ComfyUI",
                "none on this machine",
                "its sources",
                "Run `python3 run.py test` once, which fetches them, or give --comfyui FOLDER.",
            )
        )
    return found.folder


def start(folder: Path, dynamic: bool = False, **settings: object) -> bool:
    """Import ComfyUI with these of its command-line settings, and make SAMA known to it.

    Once a process, before anything imports ComfyUI or, on a card, torch. Without a card it runs with `cpu=True`.
    `dynamic` switches core's dynamic memory on, as its main.py does. Returns whether that is on now: it needs a card
    and the library comfy-aimdo.
    """
    packages = Path(importlib.util.find_spec("torch").origin).parents[1]
    build = torch_build(packages)
    if not any(build.values()):
        declare_vision_operators(packages / "torchvision")
    # The pack's own `nodes` folder must not hide ComfyUI's `nodes.py`.
    sys.path[:] = [
        str(folder),
        *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT),
    ]
    importlib.import_module("comfy.options")
    arguments = importlib.import_module("comfy.cli_args").args
    for name, value in ({"cpu": cpu_only(build)} | settings).items():
        if not hasattr(arguments, name):
            raise ValueError(f"ComfyUI has no setting {name}")
        setattr(arguments, name, value)
    dynamic = dynamic and not arguments.cpu and _dynamic_library(arguments.reserve_vram)
    importlib.import_module("utils.extra_config")
    importlib.import_module("folder_paths")
    importlib.import_module("sama_core.comfyui.register").register()
    return dynamic and _dynamic_memory()


def _dynamic_library(reserve: float | None) -> bool:
    """Load the library of core's dynamic memory; it has to come before torch. `reserve` is in GB."""
    import comfy_aimdo.control

    return comfy_aimdo.control.init(
        simple_vram_headroom=None if reserve is None else int(reserve * 1024**3)
    )


def _dynamic_memory() -> bool:
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy_aimdo.control

    devices = [device.index for device in comfy.model_management.get_all_torch_devices()]
    if not comfy_aimdo.control.init_devices(devices):
        return False
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
    return True
