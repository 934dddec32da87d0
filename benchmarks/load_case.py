"""One case of `load_time.py`, in this process: reading the file, or loading it through ComfyUI."""

import ctypes
import mmap
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.comfyui import start_here
from benchmarks.own_process import reset_peak, resident

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

BUFFER = 16 << 20


def read_file(path: Path, keep: bool = False) -> None:
    """Read the whole file into one buffer that is used again, or with `keep` into new memory."""
    kept = []
    with path.open("rb", buffering=0) as file:
        buffer = _buffer()
        while file.readinto(buffer):
            if keep:
                kept.append(buffer)
                buffer = _buffer()


def _buffer() -> memoryview:
    """New memory that nothing has written to yet."""
    return memoryview(mmap.mmap(-1, BUFFER))


def drop_pages(path: Path) -> None:
    """Ask the kernel to forget the file, where it can be asked."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def share_in_memory(path: Path) -> float | None:
    """Share of the file's pages in memory; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    with (
        path.open("rb") as file,
        mmap.mmap(
            file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE
        ) as pages,
    ):
        held = (ctypes.c_ubyte * -(-len(pages) // mmap.PAGESIZE))()
        view = ctypes.c_ubyte.from_buffer(pages)
        failed = ctypes.CDLL(None).mincore(ctypes.byref(view), ctypes.c_size_t(len(pages)), held)
        del view
    return None if failed else round(sum(page & 1 for page in held) / len(held), 3)


def load_ours(path: Path) -> "ModelPatcher":
    """As the node Load SAMA Model."""
    from sama_core.comfyui.loaders import load_diffusion_model

    return load_diffusion_model(str(path))


def load_core(path: Path) -> "ModelPatcher":
    """As ComfyUI's node Load Diffusion Model."""
    import comfy.sd

    from sama_core.comfyui.joint_state import prepare

    return prepare(comfy.sd.load_diffusion_model(str(path)))


def run_step(patcher: "ModelPatcher") -> None:
    """One call of the DiT through core, at two latent frames of 16x16 pixels."""
    import comfy.model_management
    import torch

    from sama_core.comfyui.streams import JointShape

    config, device = patcher.model.dit_config, patcher.load_device
    shape = JointShape((config.in_dim, 2, 2, 2), (config.semantic_tokens, config.semantic_dim))
    comfy.model_management.load_models_gpu([patcher])
    generator = torch.Generator().manual_seed(0)
    source, context = (
        torch.randn(1, *shape.video, generator=generator),
        torch.randn(1, 8, config.text_dim, generator=generator),
    )
    state = shape.pack(source, torch.randn(1, *shape.semantic, generator=generator))
    patcher.model.apply_model(
        state.to(device),
        torch.tensor([0.5], device=device),
        c_crossattn=context.to(device),
        source_latents=source.to(device),
        sama_shapes=tuple(shape),
        transformer_options={},
    )


def measure_loading(case: str, path: Path, comfyui: Path, cold: bool, widened: bool) -> dict:
    """Seconds and memory of one way of loading, in this process."""
    start_here(comfyui, cpu=True, bf16_unet=not widened)
    import torch

    import sama_core.comfyui.loaders  # noqa: F401

    torch.set_num_threads(1)
    load = {"ours": load_ours, "core": load_core}[case]
    kept = _prepare_pages(path, cold)
    before, own, size = reset_peak(), resident("RssAnon"), path.stat().st_size
    with torch.inference_mode():
        begun = _read_clocks()
        patcher = load(path)
        loaded = _read_clocks()
        peak, anonymous = resident("VmHWM") - before, resident("RssAnon") - own
        run_step(patcher)
        first = _read_clocks()
        run_step(patcher)
        second = _read_clocks()
    own_time = [max(0.0, (b - a) - (c - b)) for a, b, c in zip(loaded, first, second, strict=True)]
    return {
        "case": case,
        "cold": cold,
        "cached": kept,
        "dtype": str(next(patcher.model.diffusion_model.blocks.parameters()).dtype),
        "seconds": loaded[0] - begun[0],
        "cpu_seconds": loaded[1] - begun[1],
        "first_step": own_time[0],
        "first_step_cpu": own_time[1],
        "second_step": second[0] - first[0],
        "peak_per_file": peak / size,
        "anonymous_per_file": anonymous / size,
    }


def measure_reading(case: str, path: Path, cold: bool) -> dict:
    """Seconds of reading the file, whose bytes the case `kept` keeps."""
    held, begun = _prepare_pages(path, cold), _read_clocks()
    read_file(path, keep=case == "kept")
    ended = _read_clocks()
    return {
        "case": case,
        "cold": cold,
        "cached": held,
        "seconds": ended[0] - begun[0],
        "cpu_seconds": ended[1] - begun[1],
        "first_step": 0.0,
        "first_step_cpu": 0.0,
    }


def _prepare_pages(path: Path, cold: bool) -> float | None:
    """Bring the file's pages into the wanted state; the share of them that is in memory."""
    drop_pages(path) if cold else read_file(path)
    return share_in_memory(path)


def _read_clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()
