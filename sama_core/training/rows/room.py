"""What a training takes of the disks that it writes to, before anything is written.

output          checkpoints, the newest and the numbered ones, and the weights for the loaders
clips' cache    latents of all rows
features        a teacher's targets of all rows, see `room_of_features`
"""

import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch

from ...errors import RuntimeSetupError, SamaError, needed
from ...geometry import WAN_21, ClipShape
from ...model.config import DitConfig
from ...weights.checkpoint import plan_checkpoint
from ...weights.header import read_header, shard_paths
from ..alignment import Aligner
from ..alignment.teachers import TeacherSource
from ..checkpoints import Checkpoints, has_checkpoint
from ..config import TrainConfig
from ..lora import count_adapted
from ..recipe import ConfigError
from .features import RowFeatures
from .rows import Row, RowError, read_rows

GIGABYTE = 10**9
BYTES_TRAINED = 16
"""Of a checkpoint: for each weight that is trained (weights, average, AdamW's two)."""
LORA_BYTES = GIGABYTE
"""Of a checkpoint where the model's file does not say how many weights it has."""
BYTES_LORA = 4
"""Of a LoRA's file, for each weight."""

BYTES_KEPT = 2
"""Of a number in the cache of features."""

Room = tuple[Path, int]
"""A folder, and about how many bytes are written there."""


def refuse_full_disks(wanted: Iterable[Room]) -> None:
    """ConfigError where a disk has less room than all that is written to it takes."""
    disks: dict[int, Room] = {}
    for folder, bytes_ in wanted:
        there = _nearest(folder)
        device = os.stat(there).st_dev
        disks[device] = (there, disks.get(device, (there, 0))[1] + bytes_)
    for there, bytes_ in disks.values():
        free = shutil.disk_usage(there).free
        if free < bytes_:
            got = f"{free / GIGABYTE:.1f} GB free at {there}"
            need = f"about {bytes_ / GIGABYTE:.1f} GB for checkpoints, cache and features"
            fix = "Free some, lower keep_checkpoints, or set output, clips.cache_folder or "
            fix += "align.features to another disk."
            raise ConfigError(needed("disk", got, need, fix))


def list_room(config: TrainConfig) -> list[Room]:
    """Folders that a training writes checkpoints, weights and latents to."""
    output = Path(config.output)
    found = [(output, _count_saved(config, output))]
    clips = config.clips
    if clips is not None and clips.cache:
        folder = Path(clips.cache_folder or output / "cache")
        if not folder.exists():
            found.append((folder, min(int(clips.cache_gb * GIGABYTE), cache_bytes(config))))
    return found


def _nearest(folder: Path) -> Path:
    """The folder, or the next one above it that is there."""
    folder = folder.resolve()
    return next(one for one in (folder, *folder.parents) if one.is_dir())


# --- checkpoints ---------------------------------------------------------------------------------


def _count_saved(config: TrainConfig, output: Path) -> int:
    """Bytes of all checkpoints at their most, beyond those that are there.

    The newest shares its room with its numbered copy. A new one is written before the oldest goes.
    """
    state, weights = _count_checkpoint(config), _count_file(config)
    if not config.keep_checkpoints:
        return (1 if has_checkpoint(output) else 2) * state
    saves = math.ceil(config.steps / config.checkpoint_every)
    most = min(config.keep_checkpoints + 1, saves)
    there = Checkpoints(output).count_numbered()
    return max(1, most - there) * (state + weights) + weights


def _count_checkpoint(config: TrainConfig) -> int:
    if not _list_shapes(config):
        return LORA_BYTES
    return BYTES_TRAINED * (_count_trained(config) + _count_projector(config))


def _count_file(config: TrainConfig) -> int:
    """Bytes of the weights for the loaders."""
    if config.lora_rank:
        return BYTES_LORA * _count_trained(config)
    each = 2 if config.precision == "bf16" else 4
    return each * sum(map(math.prod, _list_shapes(config).values()))


def _count_trained(config: TrainConfig) -> int:
    """Weights that are trained, by the headers of the model's files."""
    shapes = _list_shapes(config)
    if config.lora_rank:
        return count_adapted(shapes, config.lora_rank, config.lora_targets)
    parts = tuple(config.trained_parts.split()) or ("",)
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(parts))


def _list_shapes(config: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the model's tensors; none where its files cannot be read, as is told elsewhere."""
    with suppress(SamaError, OSError):
        paths = [
            path for name in (config.base_model, config.model) if name for path in shard_paths(name)
        ]
        return {name: shape for path in paths for name, shape in read_header(path).shapes.items()}
    return {}


def _count_projector(config: TrainConfig) -> int:
    """Weights that an alignment trains along."""
    if config.align is None:
        return 0
    with suppress(SamaError, OSError):
        base = shard_paths(config.base_model)[0] if config.base_model else None
        model: DitConfig = plan_checkpoint(config.model, base).config
        size = (config.height, config.width)
        with torch.device("meta"):
            made = Aligner.for_model(config.align, model, size, _read_width(config), config.seed)
        return sum(weight.numel() for weight in made.parameters())
    return 0


def _read_width(config: TrainConfig) -> int:
    """Channels of the teacher's features; 1 where none is named."""
    align = config.align
    with suppress(RuntimeSetupError):
        if align is not None and align.needs_teacher and align.relation != "flow":
            return TeacherSource.of(align.teacher).width
    return 1


# --- a teacher's targets -------------------------------------------------------------------------


def room_of_features(features: RowFeatures, rows: Iterable[Row]) -> Room:
    """Where targets of rows that are not kept yet go, and about how many bytes they take."""
    if not features.makes:
        return features.folder, 0
    total, config = 0, features.config
    aligned = {(features.list_reads(row), row.is_image) for row in rows if features.applies_to(row)}
    kinds = Counter(is_image for _, is_image in aligned)
    for is_image, count in kinds.items():
        shape = ClipShape(1 if is_image else config.frames, config.height, config.width)
        one = BYTES_KEPT * sum(map(math.prod, features.forms(shape).values()))
        total += max(0, count - features.cache(shape.frames).count()) * one
    return features.folder, total


# --- latents -------------------------------------------------------------------------------------


def cache_bytes(config: TrainConfig) -> int:
    """About what the latents of all rows take on disk: float32, one window of each row's clips.

    Texts take less: an instruction of 20 tokens 0.3 MB.
    """
    try:
        rows, _ = read_rows(Path(config.data), config.stage)
    except RowError:
        return 0
    cell = WAN_21.spatial
    latent = 4 * WAN_21.channels * (config.height // cell) * (config.width // cell)
    clips = config.clips
    windows = max(1, clips.windows if clips else 1)
    times = {True: 1, False: windows * WAN_21.latents_of(config.frames)}
    files = {(path, row.is_image) for row in rows for path in (row.source, row.target) if path}
    return sum(latent * times[is_image] for _, is_image in files)
