"""SAMA weight files: what a file is, whether it fits, and one verdict in words.

A full file holds Wan 2.1's tensors under Wan's names plus the 11 of `SAMA_KEYS`. A delta file
holds the 11 and whatever else was trained, and needs base Wan shards. Everything is judged from
the safetensors header, before any weight is read.
"""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .config import DitConfig
from .errors import CheckpointError, needed

SAMA_KEYS = (
    "segment_embedding.weight",
    "siglip_feat_mlp.norm.weight", "siglip_feat_mlp.norm.bias",
    "siglip_feat_mlp.fc1.weight", "siglip_feat_mlp.fc1.bias",
    "siglip_feat_mlp.fc2.weight", "siglip_feat_mlp.fc2.bias",
    "semantic_head.norm.weight", "semantic_head.norm.bias",
    "semantic_head.proj.weight", "semantic_head.proj.bias",
)

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_QUANT_SUFFIXES = (".scale_weight", ".scale_input", ".weight_scale", ".weight_scale_2", ".input_scale",
                   ".comfy_quant")
_LORA = re.compile(r"lora_(A|B|up|down)\b|\.lora_|^lora_unet_|\.diff(_b)?$|\.hada_|\.lokr_|\.oft_|\.dora_scale$")
_SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.safetensors$")
_MAX_HEADER = 100 << 20


@dataclass(frozen=True)
class LoadReport:
    """How a state dict fits a model: names, not counts alone."""

    matched: int
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shape_conflicts: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    """(name, shape in the file, shape in the model)"""

    @property
    def ok(self) -> bool:
        return not (self.missing or self.unexpected or self.shape_conflicts)

    def summary(self) -> str:
        """One line when all is well, else every problem by name (long lists are cut at 12)."""
        if self.ok:
            return f"all {self.matched} tensors matched"
        parts = [f"{self.matched} tensors matched"]
        if self.missing:
            parts.append(f"{len(self.missing)} missing: {_listed(self.missing)}")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected: {_listed(self.unexpected)}")
        if self.shape_conflicts:
            parts.append(f"{len(self.shape_conflicts)} of another shape: " + _listed(
                [f"{name} {list(got)} instead of {list(need)}" for name, got, need in self.shape_conflicts]))
        return "; ".join(parts)

    def raise_if_bad(self, name: str = "the weights") -> None:
        """CheckpointError with the whole summary, unless everything matched."""
        if not self.ok:
            raise CheckpointError(needed(name, self.summary(), "every tensor of the model, and no other",
                                         "Download the file again, or choose another."))


def compare(got: Mapping[str, tuple[int, ...]], need: Mapping[str, tuple[int, ...]],
            quantised: bool = True) -> LoadReport:
    """The verdict on shapes `got` for a model that needs shapes `need`.

    Where the loader reads `quantised` files, scales are no strangers and weights may be packed.
    """
    conflicts = [(key, tuple(got[key]), tuple(need[key])) for key in need if key in got
                 and tuple(got[key]) != tuple(need[key]) and not (quantised and _is_packed(key, got))]
    unexpected = [key for key in got if key not in need and not (quantised and is_quant_key(key))]
    missing = [key for key in need if key not in got]
    return LoadReport(len(need) - len(missing) - len(conflicts), missing, unexpected, conflicts)


def load_state_dict_report(model: torch.nn.Module, sd: Mapping[str, Tensor]) -> LoadReport:
    """Load `sd` into `model` and report. Nothing is loaded unless everything matches.

    Torch alone cannot apply quantisation scales, so here they count as unexpected.
    """
    report = compare({key: tuple(value.shape) for key, value in sd.items()},
                     {key: tuple(value.shape) for key, value in model.state_dict().items()}, quantised=False)
    if report.ok:
        model.load_state_dict(sd, strict=True)
    return report


def is_quant_key(key: str) -> bool:
    """True for the extra tensors that scaled-fp8 and ComfyUI's quantised files carry."""
    return key == "scaled_fp8" or key.endswith(_QUANT_SUFFIXES)


def model_shapes(config: DitConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model of these sizes; no memory is used."""
    from .model.dit import SamaDiT
    return {key: tuple(value.shape) for key, value in SamaDiT(config, device="meta").state_dict().items()}


# --- files -------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a tensor lies in its file, and as what."""

    dtype: str
    """As the file writes it: BF16, F8_E4M3 …"""
    start: int
    """Bytes from the file's beginning."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class WeightFile:
    """The header of one safetensors file, prefix stripped."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    places: dict[str, "Place"]

    @property
    def kind(self) -> str:
        """'full', 'delta', 'wan', 'lora' or 'foreign'."""
        has_sama = any(key in self.shapes for key in SAMA_KEYS)
        has_block = any(key.startswith("blocks.") for key in self.shapes)
        if any(_LORA.search(key) for key in self.shapes):
            return "lora"
        if has_sama:
            return "full" if "head.modulation" in self.shapes and has_block else "delta"
        return "wan" if has_block or "patch_embedding.weight" in self.shapes else "foreign"


def read_header(path: str | Path) -> WeightFile:
    """Names, shapes and metadata of a safetensors file.

    Raises CheckpointError for anything that is not a whole safetensors file; nothing is loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(needed(str(path), "no such file", "a safetensors file", "Choose a file that exists."))
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", None) or {}
        whole = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
        places = {key: _place(entry, 8 + length) for key, entry in header.items()}
    except (struct.error, ValueError, LookupError, TypeError, AttributeError, RecursionError) as broken:
        raise CheckpointError(needed(path.name, f"no readable safetensors header ({broken})", "a safetensors file",
                                     "Download it again; GGUF files go through a GGUF loader.")) from broken
    if whole != size:
        raise CheckpointError(needed(path.name, f"{size:,} bytes", f"{whole:,} bytes",
                                     "The file is truncated or damaged: download it again."))
    return WeightFile(path, strip_prefix(shapes), metadata, strip_prefix(places))


def _place(entry: dict, data: int) -> Place:
    first, last = entry["data_offsets"]
    return Place(str(entry["dtype"]), data + first, last - first)


def strip_prefix(sd: Mapping[str, object]) -> dict:
    """The same mapping without the diffusion model's prefix, where any key carries one."""
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in sd):
            return {key.removeprefix(prefix): value for key, value in sd.items()}
    return dict(sd)


def shard_paths(path: str | Path) -> list[Path]:
    """All shards that belong to `path`: a directory's, a numbered shard's siblings, or the file alone.

    Raises CheckpointError naming the shards that are absent.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if not found:
            raise CheckpointError(needed(str(path.name), "a folder without .safetensors files", "Wan 2.1 shards",
                                         "Put diffusion_pytorch_model-*.safetensors there."))
        return sorted({shard for file in found for shard in shard_paths(file)})
    match = _SHARD.match(path.name)
    if not match:
        return [path]
    stem, total = match[1], int(match[3])
    wanted = [path.with_name(f"{stem}-{i:05d}-of-{total:05d}.safetensors") for i in range(1, total + 1)]
    absent = [shard.name for shard in wanted if not shard.exists()]
    if absent:
        raise CheckpointError(needed(path.name, f"{total - len(absent)} of {total} shards", "all shards",
                                     f"Missing: {_listed(absent)}."))
    return wanted


@dataclass(frozen=True)
class CheckpointPlan:
    """Files that together make one SAMA model, judged fit before any of them is read."""

    files: list[WeightFile]
    """In load order: base shards first, the SAMA file last, so that its tensors win."""
    config: DitConfig
    report: LoadReport

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the SAMA file."""
        return self.files[-1].metadata

    @property
    def merged(self) -> bool:
        """True where base shards and a delta are put together."""
        return len(self.files) > 1


def plan_checkpoint(path: str | Path, base: str | Path | None = None, num_heads: int | None = None) -> CheckpointPlan:
    """Judge a SAMA file, with base Wan shards where it is a delta. Reads headers only.

    `num_heads` overrides `dim / 128`; the file's metadata (`config` = {"transformer": {"num_heads": …}})
    does so too. Raises CheckpointError naming what is wrong and what to do.
    """
    main = read_header(path)
    refusal = _REFUSALS.get(main.kind)
    if refusal:
        raise CheckpointError(refusal(main))
    files, name = [main], main.path.name
    if main.kind == "delta":
        if base is None:
            raise CheckpointError(needed(
                name, "a SAMA delta without the base model", "base Wan 2.1 T2V shards beside it",
                "Choose them as base_model, or choose the full sama_14b_ema.safetensors."))
        files = [read_header(shard) for shard in shard_paths(base)] + files
        name = f"{name} over {Path(base).name}"
    shapes = {key: shape for file in files for key, shape in file.shapes.items()}
    settings = transformer_settings(main.metadata)
    config = DitConfig.from_shapes(shapes, num_heads or settings.get("num_heads"), settings.get("semantic_tokens"),
                                   name)
    report = compare(shapes, model_shapes(config))
    report.raise_if_bad(name)
    return CheckpointPlan(files, config, report)


def transformer_settings(metadata: Mapping[str, str] | None) -> dict:
    """The `transformer` part of the `config` metadata entry, ComfyUI's place for model settings.

    SAMA reads `num_heads`, `semantic_tokens` (65) and `area` (pixels the model was made for).
    """
    try:
        settings = dict(json.loads((metadata or {}).get("config", "{}")).get("transformer", {}))
    except (ValueError, TypeError, AttributeError):
        return {}
    return {key: settings[key] for key in ("num_heads", "semantic_tokens", "area")
            if type(settings.get(key)) is int and settings[key] > 0}


def merge(earlier: dict[str, Tensor], later: Mapping[str, Tensor]) -> None:
    """Lay the tensors of a later file over those of earlier ones, in place.

    A weight that is replaced takes its old quantisation scales with it: they belong to the old numbers.
    """
    for key in later:
        layer, _, part = key.rpartition(".")
        if part == "weight":
            for suffix in _QUANT_SUFFIXES:
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
        raise CheckpointError(needed(name, f"NaN or infinite values in {_listed(found)}", "finite weights",
                                     "The file is damaged or its training broke: download it again."))


def _lora_refusal(file: WeightFile) -> str:
    return needed(file.path.name, "a LoRA", "a full SAMA model",
                  "Load the SAMA model here and this file with Load SAMA LoRA after it.")


def _wan_refusal(file: WeightFile) -> str:
    return needed(file.path.name, "a plain Wan model", f"SAMA's {len(SAMA_KEYS)} extra tensors",
                  f"Missing: {', '.join(SAMA_KEYS)}. Choose sama_14b_ema.safetensors, "
                  "or a SAMA delta file with this one as base_model.")


def _foreign_refusal(file: WeightFile) -> str:
    content = _listed(sorted(file.shapes), 3) or "no tensors"
    return needed(file.path.name, f"a file of another model ({content})", "a SAMA model",
                  "Choose sama_14b_ema.safetensors.")


_REFUSALS = {"lora": _lora_refusal, "wan": _wan_refusal, "foreign": _foreign_refusal}


def _is_packed(key: str, got: Mapping[str, object]) -> bool:
    """Quantised layers may store their weight packed; their scale or format entry says so."""
    layer, _, name = key.rpartition(".")
    return name == "weight" and any(f"{layer}{suffix}" in got for suffix in _QUANT_SUFFIXES)


def _listed(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
