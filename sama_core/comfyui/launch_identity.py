"""What of this ComfyUI, its flags, its libraries and this machine decides numbers.

Everything that is not listed as harmless counts, so that additions of later ComfyUIs count too.
"""

import enum
import functools
import importlib.util
import os
import sys
import types
from importlib import import_module
from typing import Any

import comfy.cli_args
import comfy.model_management
import torch

from ..identity import Description
from ..identity.code import replaced_functions
from ..identity.code_bytes import find_reassigned, origin

HARMLESS_FLAGS = set(
    "listen port tls_keyfile tls_certfile enable_cors_header max_upload_size base_directory "
    "extra_model_paths_config output_directory temp_directory input_directory user_directory "
    "models_directory auto_launch disable_auto_launch preview_method preview_size cache_ram "
    "cache_classic cache_lru cache_none high_ram enable_manager disable_manager_ui "
    "enable_manager_legacy_ui default_hashing_function debug_hang disable_pinned_memory "
    "mmap_torch_files disable_mmap dont_print_server quick_test_for_ci windows_standalone_build "
    "disable_metadata disable_all_custom_nodes whitelist_custom_nodes disable_api_nodes multi_user "
    "verbose log_stdout front_end_version front_end_root enable_compress_response_body "
    "comfy_api_base database_url enable_assets enable_asset_hashing feature_flag "
    "list_feature_flags disable_nvml_pressure "
    "fast_disk".split()
)
HARMLESS_STATE = set(
    "total_vram total_ram interrupt_processing TOTAL_PINNED_MEMORY MAX_PINNED_MEMORY "
    "MAX_MIRROR_SIZE "
    "EXTRA_RESERVED_VRAM DEBUG_MEMORY_SUMMARY torch_version".split()
)
HARMLESS_HOOKS = {"PROGRESS_BAR_HOOK"}
"""Variables of ComfyUI's modules with functions that only show something."""
HARMLESS_VARIABLES = {
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "PYTORCH_CUDA_ALLOC_CONF",
    "CUDA_HOME",
    "CUDA_PATH",
}
VARIABLES = (
    "TORCH",
    "PYTORCH",
    "CUDA",
    "CUBLAS",
    "CUDNN",
    "NVIDIA_TF32",
    "XFORMERS",
    "MKL",
    "OMP",
    "HIP",
    "HSA",
    "ROCM",
    "MIOPEN",
    "TRITON",
    "SAGE",
    "FLASH",
    "COMFY",
)
PRECISION = (
    "backends.cuda.matmul.allow_tf32 backends.cuda.matmul.allow_fp16_accumulation "
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction "
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction backends.cudnn.enabled "
    "backends.cudnn.benchmark backends.cudnn.deterministic backends.cudnn.allow_tf32 "
    "get_float32_matmul_precision backends.fp32_precision backends.cuda.matmul.fp32_precision "
    "backends.cudnn.fp32_precision backends.cudnn.conv.fp32_precision "
    "backends.mkldnn.fp32_precision backends.mkldnn.matmul.fp32_precision "
    "backends.mkldnn.conv.fp32_precision is_autocast_enabled is_autocast_cpu_enabled"
).split()
"""Switches of torch, old and new names: once a new one is set, torch refuses to read the old."""
KERNELS = ("comfy_kitchen", "comfy_aimdo", "xformers", "sageattention", "flash_attn", "triton")
CORE = (
    "comfy.samplers comfy.sample comfy.sampler_helpers comfy.k_diffusion.sampling "
    "comfy.k_diffusion.sa_solver comfy.k_diffusion.deis comfy.extra_samplers.uni_pc "
    "comfy.model_base comfy.model_sampling comfy.model_patcher comfy.patcher_extension "
    "comfy.context_windows comfy.conds comfy.hooks comfy.lora comfy.float comfy.ops "
    "comfy.quant_ops comfy.latent_formats comfy.model_management comfy.utils "
    "comfy.ldm.modules.attention comfy.ldm.wan.vae comfy.ldm.flux.math comfy.ldm.common_dit "
    "comfy.weight_adapter.base comfy.sd comfy.weight_adapter.bypass comfy.weight_adapter.lora"
).split()
"""Modules that a run uses, in which other packs replace functions."""


def add_launch(into: Description) -> Description:
    """Add everything to the description `into`, and return it. Raises Indescribable."""
    into.add([origin(__name__), origin("comfy"), sys.version, *kernels()], "this pack and ComfyUI")
    into.add(flags(), "launch flags")
    into.add(_state(), "ComfyUI's state")
    into.add(torch_state(), "torch's state")
    for name in CORE:
        if importlib.util.find_spec(name) is not None:
            _add_code(into, import_module(name))
    for module in (torch, torch.Tensor):
        into.add([*replaced_functions(module)], module.__name__)
    return _add_code(into, torch.nn.functional)


def flags() -> dict[str, Any]:
    """ComfyUI's launch flags without the harmless ones, sorted."""
    return {
        name: value
        for name, value in sorted(vars(comfy.cli_args.args).items())
        if name not in HARMLESS_FLAGS
    }


def _state() -> dict[str, Any]:
    """Settings that `comfy.model_management` chose for this machine, without its counters."""
    kinds = (bool, int, float, str, enum.Enum, torch.dtype, torch.device)
    changing = HARMLESS_STATE | find_reassigned("comfy.model_management")
    found = {
        name: value
        for name, value in sorted(vars(comfy.model_management).items())
        if isinstance(value, kinds) and not name.startswith("__") and name not in changing
    }
    dtypes = comfy.model_management
    return {
        **found,
        "VAE_DTYPES": getattr(dtypes, "VAE_DTYPES", None),
        "intermediate": dtypes.intermediate_dtype(),
        "channels_last": dtypes.force_channels_last(),
    }


def torch_state() -> dict[str, Any]:
    """Versions, device and switches of torch, and hooks around all modules."""
    backends = torch.backends
    switches = {
        name: getattr(backends.cuda, name)()
        for name in (
            "flash_sdp_enabled",
            "mem_efficient_sdp_enabled",
            "math_sdp_enabled",
            "cudnn_sdp_enabled",
            "fp16_bf16_reduction_math_sdp_allowed",
        )
        if hasattr(backends.cuda, name)
    }
    return {
        "versions": [
            torch.__version__,
            torch.version.cuda,
            torch.version.hip,
            backends.cudnn.version(),
        ],
        "device": _device(),
        "attention": switches,
        "precision": {name: _read(name) for name in PRECISION},
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "default": torch.get_default_dtype(),
        "hooks": {
            name: value
            for name, value in sorted(vars(torch.nn.modules.module).items())
            if name.startswith("_global_") and isinstance(value, dict)
        },
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and name not in HARMLESS_VARIABLES
        },
    }


def _read(name: str) -> Any:
    """A switch of torch; None if missing, or unreadable because it was set by a newer name."""
    value = torch
    try:
        for part in name.split("."):
            value = getattr(value, part)
        return value() if callable(value) else value
    except (AttributeError, RuntimeError):
        return None


def _device() -> list:
    device = comfy.model_management.get_torch_device()
    if comfy.model_management.is_device_cpu(device):
        return ["cpu", torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return [name, torch.cuda.get_device_capability(device) if device.type == "cuda" else None]


@functools.cache
def kernels() -> tuple[str, ...]:
    """Libraries with kernels of their own, and their versions."""
    return tuple(
        f"{name} {origin(name)}"
        for name in KERNELS
        if name in sys.modules or importlib.util.find_spec(name) is not None
    )


def _add_code(into: Description, module: types.ModuleType) -> Description:
    """Add the functions and classes of a module as they are in memory, also replaced ones.

    Names with two underscores are skipped: torch.compile stores compiled functions there.
    """
    for name, value in sorted(vars(module).items()):
        if (
            callable(value)
            and not name.startswith("__")
            and name not in HARMLESS_HOOKS
            and not _is_typing(value)
        ):
            into.add(name).add(value, f"{module.__name__}.{name}")
    return into


def _is_typing(value: Any) -> bool:
    homes = type(value).__module__, getattr(value, "__module__", "")
    return "typing" in homes or isinstance(value, types.GenericAlias)
