"""What ComfyUI knows of this machine and of a loaded model, in the form that plans take."""

from dataclasses import replace
from pathlib import Path

import comfy.memory_management
import comfy.model_management
import folder_paths
import torch

from ..geometry import LatentShape
from ..model.config import DitConfig
from ..plan.cards import name_machine
from ..plan.machine import CPU, MPS, NVIDIA, OTHER_GPU, Machine, processor
from ..plan.planning import Plan, make_plan
from ..plan.request import Request, encoder_sizes
from ..plan.seconds import USER_FOLDER, Calibration, read_calibrations
from ..plan.weight_bytes import StoredTensor, Weights, count

_MODES = {"HIGH_VRAM": "high", "NO_VRAM": "no", "LOW_VRAM": "low"}


def this_machine(held_ram: int = 0) -> Machine:
    """ComfyUI's own figures, now. The plan's own weights already take `held_ram` bytes of RAM."""
    management = comfy.model_management
    device, cpu = management.get_torch_device(), torch.device("cpu")
    kind = _kind(device)
    ram = {
        "free_ram": management.get_free_memory(cpu) + held_ram,
        "total_ram": management.get_total_memory(cpu),
    }
    if kind in (CPU, MPS):
        return Machine(kind, _card(device), program=0, **ram)
    return Machine(
        kind,
        _card(device),
        free_vram=int(management.get_free_memory(device)) + _removable(device),
        total_vram=int(management.get_total_memory(device)),
        reserved=int(management.extra_reserved_memory()),
        vram_mode=_MODES.get(management.vram_state.name, "normal"),
        dynamic=bool(getattr(comfy.memory_management, "aimdo_enabled", False)),
        streams=int(getattr(management, "NUM_STREAMS", 0)),
        program=0,
        **ram,
    )


def named_machine(card: str | None) -> Machine:
    """This computer, or with `card`, one of `list_cards()`, this computer with that card, empty.

    Raises InputError for a card that is not known.
    """
    here = this_machine()
    if card is None:
        return here
    named = name_machine(card)
    return replace(named, free_ram=here.free_ram, total_ram=here.total_ram, program=here.program)


def calibrations() -> list[Calibration]:
    """The calibrations that ship with the pack, and those in ComfyUI's user folder."""
    return read_calibrations(Path(folder_paths.get_user_directory()) / USER_FOLDER)


def plan_of_loaded(patcher, latent: LatentShape, steps: int, cfg: float, machine: Machine) -> Plan:
    """The plan of a run with a loaded model, `patcher`, on `machine`."""
    config, weights = patcher.model.dit_config, loaded_weights(patcher)
    request = Request(
        latent.clip(), config, weights, steps=max(1, steps), cfg=cfg, **encoder_sizes(config)
    )
    return make_plan(request, machine, calibrations())


def loaded_weights(patcher) -> Weights:
    """A loaded model's weights as they lie in memory, from any file and loader."""
    counted = count(
        _name_file(patcher),
        [
            StoredTensor(name, "BF16", parameter.numel(), 2 * parameter.numel())
            for name, parameter in patcher.model.diffusion_model.named_parameters()
        ],
    )
    return replace(
        counted,
        format=str(patcher.model_dtype()).removeprefix("torch."),
        stored=int(patcher.model_size()),
        float32=0,
        quantised=True,
    )


def _name_file(patcher) -> str:
    """The name of the file that a loader noted; Load Checkpoint notes more than others do."""
    _, arguments, *_more = getattr(patcher, "cached_patcher_init", None) or (None, ())
    return Path(str(arguments[0])).name if arguments else "the model"


def ram_of_weights(config: DitConfig, patcher) -> int:
    """Bytes of RAM that a run's model and encoders take before it samples."""
    return int(patcher.model_size()) + sum(encoder_sizes(config).values())


def _kind(device: torch.device) -> str:
    management = comfy.model_management
    if management.is_device_cpu(device):
        return CPU
    if management.is_device_mps(device):
        return MPS
    return NVIDIA if management.is_nvidia() else OTHER_GPU


def _card(device: torch.device) -> str | None:
    """The name torch gives the device."""
    if device.type == "cpu":
        return processor()
    backend = getattr(torch, device.type, None)
    return backend.get_device_name(device) if hasattr(backend, "get_device_name") else None


def _removable(device: torch.device) -> int:
    """Card memory of models that ComfyUI would remove, or has loaded for this very run."""
    loaded = [
        found for found in comfy.model_management.current_loaded_models if found.model is not None
    ]
    return int(sum(found.model_loaded_memory() for found in loaded if found.device == device))
