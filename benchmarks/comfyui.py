"""The one starter of ComfyUI for benchmarks: inside this process without nodes, or as a server.

Inside the process ComfyUI's model management, loaders and samplers are there, no nodes and no
server.
"""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.own_process import ROOT
from sama_core.errors import needed
from sama_core.launch.places import Places
from sama_core.launch.progress import LaunchError
from sama_core.launch.server.comfy_main import cpu_only, declare_vision_operators, torch_build
from sama_core.launch.server.process import Server, prepare_base
from sama_core.launch.setup.comfyui_source import ComfyUI, find_comfyui


def find(asked: str | None = None) -> ComfyUI:
    """The ComfyUI in the folder `asked`, in SAMA_COMFYUI, or as `run.py` finds one.

    Raises LaunchError if there is none.
    """
    found = find_comfyui(Places(), asked or os.environ.get("SAMA_COMFYUI"))
    if found is None:
        raise LaunchError(
            needed(
                "--comfyui",
                "no ComfyUI on this machine",
                "a ComfyUI folder",
                "Give it with --comfyui, or run `python3 run.py test` once, which fetches one.",
            )
        )
    return found


def start_here(folder: Path, dynamic: bool = False, **settings: object) -> bool:
    """Import ComfyUI into this process with these of its command-line settings; make SAMA known to
    it.

    Call once, before anything imports ComfyUI or, on a card, torch. Without a card ComfyUI runs
    with `cpu=True`. `dynamic` switches its dynamic memory on, as its main.py does; returns whether
    that is on now: it needs a card and the library comfy-aimdo.
    """
    packages = Path(importlib.util.find_spec("torch").origin).parents[1]
    build = torch_build(packages)
    if not any(build.values()):
        declare_vision_operators(packages / "torchvision")
    # The pack's own `nodes` folder must not hide ComfyUI's `nodes.py`.
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    sys.path[:] = [str(folder), *elsewhere]
    importlib.import_module("comfy.options")  # before cli_args: that leaves sys.argv unparsed
    arguments = importlib.import_module("comfy.cli_args").args
    for name, value in ({"cpu": cpu_only(build)} | settings).items():
        if not hasattr(arguments, name):
            raise ValueError(f"ComfyUI has no setting {name}")
        setattr(arguments, name, value)
    logging.getLogger().setLevel(logging.WARNING)
    dynamic = dynamic and not arguments.cpu and _load_dynamic_library(arguments.reserve_vram)
    importlib.import_module("utils.extra_config")
    importlib.import_module("folder_paths")
    importlib.import_module("sama_core.comfyui.register").register()
    return dynamic and _switch_dynamic_memory_on()


@contextmanager
def running_server(places: Places, comfyui: ComfyUI, *options: str) -> Iterator[Server]:
    """A ComfyUI server with this pack, ready, on the CPU and a free port; stopped whatever happens.

    Its base directory is that of `places`, its database lies in memory unless `options` name one.
    Raises LaunchError with the end of its log if it does not start.
    """
    prepare_base(places)
    given = ["--cpu", "--disable-auto-launch", "--base-directory", str(places.base)]
    if "--database-url" not in options:
        given += ["--database-url", "sqlite:///:memory:"]
    log = places.log("server")
    with Server(Path(sys.executable), comfyui, [*given, *options], log) as server:
        server.wait_ready()
        yield server


def _load_dynamic_library(reserve: float | None) -> bool:
    """Load the library of ComfyUI's dynamic memory, which must come before torch.

    `reserve` is in GB.
    """
    import comfy_aimdo.control

    headroom = None if reserve is None else int(reserve * 1024**3)
    return comfy_aimdo.control.init(simple_vram_headroom=headroom)


def _switch_dynamic_memory_on() -> bool:
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
