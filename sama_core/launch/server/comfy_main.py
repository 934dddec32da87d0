"""Starts ComfyUI's main.py: `python comfy_main.py COMFYUI_FOLDER [ComfyUI's own options]`.

It runs as a plain script, never as a module of the pack: on the search path the pack's `nodes`
folder must not come before ComfyUI's `nodes.py`. It adds what ComfyUI needs on a machine without a
graphics card, starts it sooner, and ends the server when the process that started it has ended.
"""

import gc
import importlib.util
import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path

PARENT_PIPE = "SAMA_STOP_WITH_PARENT"
"""Environment variable: if it is set, standard input is a pipe from the parent process."""

_declared: list[object] = []


def torch_build(site_packages: Path) -> dict[str, str | None]:
    """Versions of `cuda`, `hip` and `xpu` in the torch of a package folder, without importing
    torch.

    ComfyUI sets the memory allocator up before the first import of torch: it must not be imported
    here.
    """
    spec = importlib.util.spec_from_file_location(
        "torch_version", site_packages / "torch" / "version.py"
    )
    if spec is None or spec.loader is None:
        return {"cuda": None, "hip": None, "xpu": None}
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: getattr(module, name, None) for name in ("cuda", "hip", "xpu")}


def graphics_card_answers() -> bool:
    """Whether the NVIDIA driver lists at least one card."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], check=False, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and b"GPU" in listed.stdout


def cpu_only(build: dict[str, str | None]) -> bool:
    """Whether ComfyUI needs the option `--cpu`: without it, it expects a card and stops."""
    if sys.platform == "darwin" or build["hip"] or build["xpu"]:
        return False
    return not (build["cuda"] and graphics_card_answers())


def declare_vision_operators(vision: Path) -> bool:
    """Declares torchvision's two operators if its C++ part does not load, as with CPU-only torch.

    Without them `import torchvision` fails with "operator torchvision::nms does not exist". Returns
    whether they were declared now; a second call does nothing. `vision` is torchvision's folder.
    """
    if _declared:
        return False
    import torch

    for library in [*vision.glob("_C*.so"), *vision.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(str(library))
            return False
        except OSError:
            continue
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(operators)
    return True


def end_with_parent() -> None:
    """Ends this process when standard input closes, as it does even if the parent was killed."""

    def watch() -> None:
        # Not sys.stdin: the interpreter aborts at its end while a buffered read is waiting.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def collect_garbage_once_it_listens() -> None:
    """Leaves Python's garbage collector off until the server listens on its port.

    While thousands of modules are imported it looks through all of them again and again and finds
    nothing: a third of the start. What is there by then stays, so later turns pass over it too.
    """
    gc.disable()
    is_waiting = True

    def notice(event: str, arguments: tuple) -> None:
        nonlocal is_waiting
        # The pair of sockets of an event loop is bound to port 0 where a system has no such pairs.
        if is_waiting and event == "socket.bind" and any(arguments[1][1:2]):
            is_waiting = False
            gc.freeze()
            gc.enable()

    sys.addaudithook(notice)


def main(comfyui: Path, options: list[str]) -> None:
    """Runs main.py of the folder `comfyui` in this process, as if it was started with `options`."""
    collect_garbage_once_it_listens()
    sys.path[0] = str(comfyui)
    if os.environ.pop(PARENT_PIPE, None):
        end_with_parent()
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        sys.exit("torch is not installed in this environment")
    build = torch_build(Path(spec.origin).parents[1])
    if "--cpu" not in options and cpu_only(build):
        options = ["--cpu", *options]
    vision = importlib.util.find_spec("torchvision")
    if not any(build.values()) and vision is not None and vision.origin:
        declare_vision_operators(Path(vision.origin).parent)
    sys.argv = [str(comfyui / "main.py"), *options]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"usage: comfy_main.py COMFYUI_FOLDER [ComfyUI's own options]\n\n{__doc__}")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    main(Path(sys.argv[1]), sys.argv[2:])
