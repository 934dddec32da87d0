"""One job of `python -m benchmarks.gpu` in this process; the answer is the last line, as JSON.

card      what this machine computes with
ceiling   its fastest large matrix multiplication
write     a random model file
point     one point, through ComfyUI; or the official code
"""

import importlib.util
import json
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from benchmarks.comfyui import start_here
from benchmarks.gpu.sizes import clip_of, count_work, device_of, sizes
from benchmarks.gpu.watch import Clock, Watch, wait_for

GB = 1 << 30
KINDS = {
    "pytorch-flash": "FLASH_ATTENTION",
    "pytorch-efficient": "EFFICIENT_ATTENTION",
    "pytorch-cudnn": "CUDNN_ATTENTION",
}
PACKAGES = {
    "sage": ("sageattention", "use_sage_attention"),
    "flash": ("flash_attn", "use_flash_attention"),
    "kitchen-int8": ("comfy_kitchen", "use_ck_attention"),
}
SPARSE = "sol-attn"
"""ComfyUI's Model Sparse Attention with its defaults, in all steps."""
SPARSE_NODE = "nodes_sparse_attention.py"


def describe_card(order: dict) -> dict:
    """What this machine computes with, and the sizes of the model."""
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


def measure_ceiling(order: dict) -> dict:
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
        seconds = [_measure_seconds(work, device) for _ in range(10)]
    except (RuntimeError, NotImplementedError, ValueError) as refused:
        return {"why_not": str(refused).splitlines()[0][:200]}
    return {"flops_per_second": 2 * side**3 / min(seconds[2:])}


def _measure_seconds(work, device) -> float:
    wait_for(device)
    begun = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - begun


def write_file(order: dict) -> dict:
    """A file of the model's shapes, random numbers made on the device.

    An earlier one is taken as it is.
    """
    from benchmarks.random_models import write_model

    config, weights = sizes(order["dry"]), order["weights"]
    name = f"sama_random_{config.dim}x{config.num_layers}_{weights}.safetensors"
    path = Path(order["folder"]) / name
    if not path.is_file():
        write_model(path, config, fp8=weights == "fp8", device=device_of(order["dry"]).type)
    return {"file": str(path)}


def measure_point(order: dict) -> dict:
    """One point, or why it is absent."""
    asked = order["point"]
    if asked["code"] == "official":
        from benchmarks.gpu.official import measure

        return measure(order)
    package, setting = PACKAGES.get(asked["attention"], (None, "use_pytorch_cross_attention"))
    if package and importlib.util.find_spec(package) is None:
        return {"outcome": f"absent: {package} is not installed"}
    comfyui = Path(order["comfyui"])
    if asked["attention"] == SPARSE and not (comfyui / "comfy_extras" / SPARSE_NODE).is_file():
        return {"outcome": "absent: this ComfyUI has no Model Sparse Attention"}
    if f'"--{setting.replace("_", "-")}"' not in (comfyui / "comfy" / "cli_args.py").read_text():
        return {"outcome": f"absent: this ComfyUI has no setting {setting}"}
    settings = {setting: True} | ({"cpu": True} if order["dry"] else {})
    if asked["cap"] is not None and asked["cap"] * GB >= order["total"]:
        return {"outcome": "absent: this card has no more memory than that"}
    if asked["cap"] is not None:
        settings["reserve_vram"] = order["total"] / GB - asked["cap"]
    dynamic = start_here(comfyui, dynamic=True, **settings)
    return _sample(order, dynamic)


def _sample(order: dict, dynamic: bool) -> dict:
    """Loads and samples as a graph does, and watches."""
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    import torch

    from sama_core.comfyui.loaders import load_diffusion_model
    from sama_core.comfyui.packed_dit import PREFETCH
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
            patcher = _compile(patcher, order["dry"]) if asked["compile"] else patcher
            patcher = _add_sparse(patcher) if asked["attention"] == SPARSE else patcher
            options = patcher.model_options.setdefault("transformer_options", {})
            options[PREFETCH] = asked["prefetch"]
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
        **count_work(config, latent),
        **clock.seconds(),
        **watch.peaks(),
        "dynamic": dynamic,
        "weights_on_device_bytes": int(on_device),
        "weights_bytes": int(patcher.model_size()),
    }


def _attention(name: str):
    """A context in which torch uses that kernel alone.

    For the others core's setting has chosen already.
    """
    if name not in KINDS:
        return nullcontext()
    import comfy.ops
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernel = getattr(SDPBackend, KINDS[name])
    # On a card core asks for its own order of kernels at every call, which would undo ours.
    getattr(comfy.ops, "SDPA_BACKEND_PRIORITY", [])[:] = [kernel]
    return sdpa_kernel(kernel)


def _compile(patcher, dry: bool):
    """As core's Torch Compile node does it.

    A dry run traces only: compiling for a CPU takes minutes.
    """
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    patcher = patcher.clone()
    set_torch_compile_wrapper(model=patcher, backend="eager" if dry else "inductor")
    return patcher


def _add_sparse(patcher):
    """As core's node does it."""
    from comfy_extras.nodes_sparse_attention import BlockSparseAttention

    chosen = {"selection": SPARSE, "tau": 1.3}
    return BlockSparseAttention.execute(patcher, chosen, 0.0, 1.0, extra_tokens=256).args[0]


JOBS = {
    "card": describe_card,
    "ceiling": measure_ceiling,
    "write": write_file,
    "point": measure_point,
}

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print("\n" + json.dumps(JOBS[given["job"]](given)))
