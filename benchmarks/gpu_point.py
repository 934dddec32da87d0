"""One job of `gpu.py` in this process: `gpu_point.py JSON`; the answer is the last line, as JSON.

card      what this machine computes with
ceiling   its fastest large matrix multiplication
write     a random model file
point     one point, through ComfyUI; or the official code
"""

import importlib.util
import json
import math
import os
import struct
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
for place in (HERE.parent, HERE):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

import comfy_process  # noqa: E402
from process_memory import peak as ram_peak  # noqa: E402

GB = 1 << 30
DRY = {
    "dim": 256,
    "num_heads": 2,
    "ffn_dim": 512,
    "num_layers": 2,
    "text_dim": 64,
    "freq_dim": 64,
    "in_dim": 16,
    "out_dim": 16,
    "semantic_dim": 48,
    "semantic_hidden": 64,
}
DRY_CLIP = (5, 32, 32)
POOL = 1 << 24
KINDS = {
    "pytorch-flash": "FLASH_ATTENTION",
    "pytorch-efficient": "EFFICIENT_ATTENTION",
    "pytorch-cudnn": "CUDNN_ATTENTION",
}
PACKAGES = {
    "sage": ("sageattention", "use_sage_attention"),
    "flash": ("flash_attn", "use_flash_attention"),
}


def sizes(dry: bool):
    """The model's sizes."""
    from sama_core.model.config import DitConfig
    from sama_core.plan.weight_bytes import RELEASED_CONFIG

    return DitConfig(**DRY) if dry else RELEASED_CONFIG


def clip_of(point: dict, dry: bool):
    from sama_core.geometry import ClipShape

    return (
        ClipShape(*DRY_CLIP) if dry else ClipShape(point["frames"], point["height"], point["width"])
    )


def device_of(dry: bool):
    import torch

    return torch.device("cpu" if dry else "cuda")


# --- card and ceiling --------------------------------------------------------------------------


def card(order: dict) -> dict:
    import torch

    from sama_core.version import VERSION

    versions = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "pack": VERSION,
        "comfyui": (Path(order["comfyui"]) / "comfyui_version.py").read_text().split('"')[1],
    }
    found = {"name": "CPU, dry", "total_bytes": 64 * GB, "capability": None}
    if not order["dry"]:
        told = torch.cuda.get_device_properties(0)
        found = {
            "name": told.name,
            "total_bytes": told.total_memory,
            "capability": [told.major, told.minor],
        }
    return {"card": found, "versions": versions, "config": asdict(sizes(order["dry"]))}


def ceiling(order: dict) -> dict:
    """Operations per second of the fastest of several large multiplications."""
    import torch

    device, side = device_of(order["dry"]), 128 if order["dry"] else 8192
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))

    def fp8():
        one = torch.ones((), device=device)
        a, b = left.to(torch.float8_e4m3fn), right.t().contiguous().to(torch.float8_e4m3fn).t()
        return lambda: torch._scaled_mm(a, b, one, one, out_dtype=torch.bfloat16)

    return {
        "bf16": _fastest(lambda: lambda: left @ right, side, device),
        "fp8": _fastest(fp8, side, device),
    }


def _fastest(make, side: int, device) -> dict:
    try:
        work = make()
        seconds = [_timed(work, device) for _ in range(10)]
    except (RuntimeError, NotImplementedError, ValueError) as refused:
        return {"why_not": str(refused).splitlines()[0][:200]}
    return {"flops_per_second": 2 * side**3 / min(seconds[2:])}


def _timed(work, device) -> float:
    _wait(device)
    begun = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begun


def _wait(device) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize()


# --- the random model --------------------------------------------------------------------------


def write(order: dict) -> dict:
    """A file of the model's shapes, random numbers made on the device; an earlier one is taken as it is."""
    import torch

    from sama_core.weights.checkpoint import model_shapes

    config, fp8 = sizes(order["dry"]), order["weights"] == "fp8"
    path = (
        Path(order["folder"])
        / f"sama_random_{config.dim}x{config.num_layers}_{order['weights']}.safetensors"
    )
    if path.is_file():
        return {"file": str(path)}
    noise = 0.02 * torch.randn(
        POOL if not order["dry"] else 1 << 16, device=device_of(order["dry"])
    )
    # As eighths: float8 has little room near zero, the scale brings the numbers back to 0.02.
    pools = {
        "BF16": _bytes(noise.bfloat16()),
        "F8_E4M3": _bytes((noise * 8).to(torch.float8_e4m3fn)),
    }
    table, content, end = {}, [], 0
    for name, shape in model_shapes(config).items():
        packed = fp8 and name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2
        parts = [(name, "F8_E4M3" if packed else "BF16", list(shape), None)]
        if packed:
            settings = json.dumps({"format": "float8_e4m3fn"}).encode()
            layer = name.removesuffix(".weight")
            parts += [
                (f"{layer}.weight_scale", "F32", [], struct.pack("<f", 0.125)),
                (f"{layer}.comfy_quant", "U8", [len(settings)], settings),
            ]
        for key, dtype, size, fixed in parts:
            length = len(fixed) if fixed else math.prod(size) * (1 if dtype == "F8_E4M3" else 2)
            table[key] = {"dtype": dtype, "shape": size, "data_offsets": [end, end + length]}
            content.append((length, fixed or pools[dtype]))
            end += length
    table["__metadata__"] = {"config": json.dumps({"transformer": {"num_heads": config.num_heads}})}
    header = json.dumps(table).encode()
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for length, pool in content:
            for start in range(0, length, len(pool)):
                file.write(pool[: length - start])
    os.replace(part, path)
    return {"file": str(path)}


def _bytes(values) -> bytes:
    import torch

    return values.view(torch.uint8).cpu().numpy().tobytes()


# --- one point ---------------------------------------------------------------------------------


def point(order: dict) -> dict:
    asked = order["point"]
    if asked["code"] == "official":
        import gpu_official

        return gpu_official.measure(order)
    package, setting = PACKAGES.get(asked["attention"], (None, "use_pytorch_cross_attention"))
    if package and importlib.util.find_spec(package) is None:
        return {"outcome": f"absent: {package} is not installed"}
    settings = {setting: True} | ({"cpu": True} if order["dry"] else {})
    if asked["cap"] is not None and asked["cap"] * GB >= order["total"]:
        return {"outcome": "absent: this card has no more memory than that"}
    if asked["cap"] is not None:
        settings["reserve_vram"] = order["total"] / GB - asked["cap"]
    dynamic = comfy_process.start(Path(order["comfyui"]), dynamic=True, **settings)
    return _sampled(order, dynamic)


def _sampled(order: dict, dynamic: bool) -> dict:
    """Loads and samples as a graph does, and watches."""
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    import torch

    from sama_core.comfyui.loaders import load_diffusion_model
    from sama_core.model.schedule import flow_sigmas

    asked, device = order["point"], comfy.model_management.get_torch_device()
    if asked["cap"] is not None and device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(asked["cap"] * GB / order["total"])
    config, latent = sizes(order["dry"]), clip_of(asked, order["dry"]).latent()
    generator = torch.Generator().manual_seed(0)
    source, noise = (
        torch.randn(1, 16, latent.frames, latent.height, latent.width, generator=generator)
        for _ in range(2)
    )
    context = torch.randn(1, 512, config.text_dim, generator=generator)
    conditioning = [[context, {"reference_latents": [source]}]]
    clock = Clock(device)
    with Watch(device) as watch, torch.inference_mode(), _attention(asked["attention"]):
        try:
            patcher = load_diffusion_model(order["file"])
            patcher = _compiled(patcher, order["dry"]) if asked["compile"] else patcher
            clock.start()
            comfy.sample.sample_custom(
                patcher,
                noise,
                1.0,
                comfy.samplers.sampler_object("euler"),
                flow_sigmas(order["steps"]),
                conditioning,
                conditioning,
                torch.zeros_like(noise),
                callback=clock.tick,
                disable_pbar=True,
                seed=0,
            )
        except (torch.OutOfMemoryError, MemoryError):
            return {"outcome": "oom"}
        except RuntimeError as error:
            if "No available kernel" in str(error):
                return {"outcome": "absent: this attention kernel does not run here"}
            raise
        on_device = patcher.loaded_size()
    return {
        "outcome": "ok",
        **work(config, latent),
        **clock.seconds(),
        **watch.found(),
        "dynamic": dynamic,
        "weights_on_device_bytes": int(on_device),
        "weights_bytes": int(patcher.model_size()),
    }


def work(config, latent) -> dict:
    """Tokens and operations of one call."""
    from sama_core.model.memory_law import sequence_tokens
    from sama_core.plan.request import forward_flops

    flops = forward_flops(config, latent)
    return {
        "tokens": sequence_tokens(config, latent),
        "attention_flops": flops.attention,
        "linear_flops": flops.linear,
    }


def _attention(name: str):
    """A context in which torch uses that kernel alone; for the others core's setting has chosen already."""
    if name not in KINDS:
        return nullcontext()
    import comfy.ops
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernel = getattr(SDPBackend, KINDS[name])
    # On a card core asks for its own order of kernels at every call, which would undo ours.
    getattr(comfy.ops, "SDPA_BACKEND_PRIORITY", [])[:] = [kernel]
    return sdpa_kernel(kernel)


def _compiled(patcher, dry: bool):
    """As core's Torch Compile node does it. A dry run traces only: compiling for a CPU takes minutes."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    patcher = patcher.clone()
    set_torch_compile_wrapper(model=patcher, backend="eager" if dry else "inductor")
    return patcher


class Clock:
    """Seconds between the steps of a sampler."""

    def __init__(self, device):
        self.device, self.times = device, []

    def start(self) -> None:
        self.times = [time.perf_counter()]

    def tick(self, *_step) -> None:
        _wait(self.device)
        self.times.append(time.perf_counter())

    def seconds(self) -> dict:
        steps = [later - before for before, later in zip(self.times, self.times[1:], strict=False)]
        return {"first_seconds": steps[0], "seconds_per_step": steps[1:]}


class Watch:
    """Peaks of the card's memory and of this process while a block runs."""

    def __init__(self, device):
        self.device, self.ended, self.most = device, threading.Event(), 0

    def __enter__(self):
        self.before = self._used()
        if self.device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *failure):
        self.ended.set()
        self.thread.join()

    def found(self) -> dict:
        peak = 0
        if self.device.type == "cuda":
            import torch

            peak = torch.cuda.max_memory_allocated()
        return {
            "peak_bytes": peak,
            "peak_device_bytes": max(0, self.most - self.before),
            "ram_peak_bytes": ram_peak(),
        }

    def _look(self) -> None:
        while not self.ended.wait(0.01):
            self.most = max(self.most, self._used())

    def _used(self) -> int:
        if self.device.type != "cuda":
            return 0
        import torch

        free, total = torch.cuda.mem_get_info()
        return total - free


JOBS = {"card": card, "ceiling": ceiling, "write": write, "point": point}

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print("\n" + json.dumps(JOBS[given["job"]](given)))
