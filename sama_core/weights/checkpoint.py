"""SAMA weight files: what a file is, whether it fits, and one verdict in words.

A full file holds Wan 2.1's tensors under Wan's names plus the 11 of `SAMA_KEYS`. A delta file
holds the 11 and whatever else was trained, and needs base Wan shards. Everything is judged from
the safetensors header, before any weight is read.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, needed
from ..model.config import DitConfig
from ..model.dit import SamaDiT
from .header import WeightFile, list_some, read_header, shard_paths
from .names import SAMA_KEYS
from .quant_formats import SUFFIXES
from .quantised import Stored, refuse_broken_scales, refuse_unreadable, unpack_shapes
from .report import LoadReport, compare, load_state_dict_report


def build_dit(sd: Mapping[str, Tensor], num_heads: int | None = None, **kwargs: Any) -> SamaDiT:
    """A model of the sizes found in `sd`, loaded strictly; `kwargs` go to `SamaDiT`.

    Sizes come from the shapes of the tensors, heads from `num_heads` where it is given. The dtype
    is the first tensor's unless given. Raises CheckpointError naming every missing, unexpected or
    misshapen tensor.
    """
    shapes = {key: tuple(value.shape) for key, value in sd.items()}
    kwargs.setdefault("dtype", next(iter(sd.values())).dtype)
    model = SamaDiT(DitConfig.from_shapes(shapes, num_heads), **kwargs)
    load_state_dict_report(model, sd).raise_if_bad()
    return model


def model_shapes(config: DitConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model of these sizes; no memory is used."""
    return dict(_shapes(config))


@functools.lru_cache(maxsize=4)
def _shapes(config: DitConfig) -> dict[str, tuple[int, ...]]:
    model = SamaDiT(config, _LAYERS, device="meta")
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def _without_first_values(layer: type[nn.Module]) -> type[nn.Module]:
    return type(layer.__name__, (layer,), {"reset_parameters": lambda self: None})


_LAYERS = SimpleNamespace(
    **{
        layer.__name__: _without_first_values(layer)
        for layer in (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Conv3d, nn.Embedding)
    }
)
"""Torch's layers that draw no first values. Where tensors have no memory, torch would import its
symbolic mathematics for that drawing, which takes seconds."""


@dataclass(frozen=True)
class CheckpointPlan:
    """Files that together make one SAMA model, judged fit before any of them is read."""

    files: list[WeightFile]
    """In load order: base shards first, the SAMA file last, so that its tensors win."""
    config: DitConfig
    """Sizes of the model."""
    report: LoadReport
    """How the files' tensors fit it."""

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the SAMA file."""
        return self.files[-1].metadata

    @property
    def is_merged(self) -> bool:
        """True where base shards and a delta are put together."""
        return len(self.files) > 1


def plan_checkpoint(
    path: str | Path,
    base: str | Path | None = None,
    num_heads: int | None = None,
    formats: Iterable[str] | None = None,
) -> CheckpointPlan:
    """Judge a SAMA file, with base Wan shards where it is a delta. Reads headers and small scales
    only.

    `num_heads` overrides `dim / 128`; the file's metadata (`config` = {"transformer": {"num_heads":
    …}}) does so too. `formats` are the quantisation formats that the ComfyUI at hand reads, if one
    is at hand. Raises CheckpointError naming what is wrong and what to do.
    """
    main = read_header(path)
    refusal = _REFUSALS.get(main.kind)
    if refusal:
        raise CheckpointError(refusal(main))
    files, name = [main], main.path.name
    if main.kind == "delta":
        if base is None:
            raise CheckpointError(
                needed(
                    name,
                    "a SAMA delta without the base model",
                    "base Wan 2.1 T2V shards beside it",
                    "Choose them as base_model, or choose the full sama_14b_ema.safetensors.",
                )
            )
        files = [read_header(shard) for shard in shard_paths(base)] + files
        name = f"{name} over {Path(base).name}"
    stored = merged_tensors(files)
    settings = transformer_settings(main.metadata)
    config = DitConfig.from_shapes(
        unpack_shapes(stored),
        num_heads or settings.get("num_heads"),
        settings.get("semantic_tokens"),
        name,
    )
    need = model_shapes(config)
    refuse_unreadable(name, stored, need, formats)
    report = compare({key: tensor.shape for key, tensor in stored.items()}, need)
    report.raise_if_bad(name)
    for file in files:
        refuse_broken_scales(file.path.name, file.small_scales())
    return CheckpointPlan(files, config, report)


def merged_tensors(files: Iterable[WeightFile]) -> dict[str, Stored]:
    """What the files hold together; the tensors of later ones win, and take the scales of earlier
    ones away.
    """
    stored: dict[str, Stored] = {}
    for file in files:
        merge(stored, file.list_stored())
    return stored


def read_config(metadata: Mapping[str, str] | None) -> dict:
    """The `config` metadata entry, ComfyUI's place for settings; empty where it cannot be read."""
    try:
        return dict(json.loads((metadata or {}).get("config", "{}")))
    except (ValueError, TypeError, RecursionError):
        return {}


def transformer_settings(metadata: Mapping[str, str] | None) -> dict:
    """The `transformer` part of the `config` metadata entry, ComfyUI's place for model settings.

    SAMA reads `num_heads`, `semantic_tokens` (65) and `area` (pixels the model was made for).
    """
    try:
        settings = dict(read_config(metadata).get("transformer", {}))
    except (ValueError, TypeError):
        return {}
    return {
        key: settings[key]
        for key in ("num_heads", "semantic_tokens", "area")
        if type(settings.get(key)) is int and settings[key] > 0
    }


def merge(earlier: dict, later: Mapping) -> None:
    """Lay the tensors of a later file over those of earlier ones, in place.

    A weight that is replaced takes its old quantisation scales with it: they belong to the old
    numbers.
    """
    for key in later:
        layer, _, part = key.rpartition(".")
        if part == "weight":
            for suffix in SUFFIXES:
                earlier.pop(f"{layer}{suffix}", None)
    earlier.update(later)


def non_finite(sd: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that hold NaN or infinity; float8 tensors are widened tensor by tensor."""

    def bad(value: Tensor) -> bool:
        if not value.is_floating_point():
            return False
        return not torch.isfinite(value.float() if value.element_size() == 1 else value).all()

    return [key for key, value in sd.items() if bad(value)]


def refuse_non_finite(sd: Mapping[str, Tensor], name: str) -> None:
    """CheckpointError naming the tensors with NaN or infinity, if there are any."""
    found = non_finite(sd)
    if found:
        raise CheckpointError(
            needed(
                name,
                f"NaN or infinite values in {list_some(found)}",
                "finite weights",
                "The file is damaged or its training broke: download it again.",
            )
        )


def _lora_refusal(file: WeightFile) -> str:
    return needed(
        file.path.name,
        "a LoRA",
        "a full SAMA model",
        "Load the SAMA model here and this file with Load SAMA LoRA after it.",
    )


_IMAGE_TO_VIDEO_CHANNELS = 36
"""Latent channels that Wan's image-to-video models take: noise 16, image 16, mask 4."""


def _wan_refusal(file: WeightFile) -> str:
    if file.shapes.get("patch_embedding.weight", ())[1:2] == (_IMAGE_TO_VIDEO_CHANNELS,):
        return needed(
            file.path.name,
            f"a Wan image-to-video model ({_IMAGE_TO_VIDEO_CHANNELS} input channels)",
            "a SAMA model, which is made of Wan's text-to-video model",
            "Choose sama_14b_ema.safetensors.",
        )
    return needed(
        file.path.name,
        "a plain Wan model",
        f"SAMA's {len(SAMA_KEYS)} extra tensors",
        f"Missing: {', '.join(SAMA_KEYS)}. Choose sama_14b_ema.safetensors, "
        "or a SAMA delta file with this one as base_model.",
    )


def _foreign_refusal(file: WeightFile) -> str:
    content = list_some(sorted([*file.shapes, *file.left_out]), 3) or "no tensors"
    return needed(
        file.path.name,
        f"a file of another model ({content})",
        "a SAMA model",
        "Choose sama_14b_ema.safetensors.",
    )


_REFUSALS = {"lora": _lora_refusal, "wan": _wan_refusal, "foreign": _foreign_refusal}
