"""What a frozen teacher says of a clip, kept on disk in ComfyUI's user folder.

    frames (F, H, W, 3) ──teacher──▶ features (T, h, w, C) ──▶ cells of 16 pixels: AlignFeatures

Teachers are folders in `models/sama_teachers`, as Hugging Face has them; `config.json` says which
of `training.alignment.teachers` each is. "pixels" needs no file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import folder_paths
import torch
from torch import Tensor

from ..errors import ClipError, RuntimeSetupError, needed
from ..region import fit_mask
from ..training.alignment.cache import FeatureCache
from ..training.alignment.config import AlignConfig
from ..training.alignment.teacher_targets import Made, resize_cells
from ..training.alignment.teachers import TeacherSource
from ..training.alignment.teachers.teacher_source import find_kind, tracks_subject
from ..training.semantics.encoder import GRID
from ..training.semantics.pixel_encoder import STATISTICS, PixelEncoder
from .training_pairs import name_of_clip

FOLDER = "sama_teachers"
PIXELS = "pixels"
CELL = AlignConfig.cell
"""Side in pixels of the cells that features are kept on."""


@dataclass(frozen=True)
class AlignFeatures:
    """A teacher's features of one clip."""

    clip: str
    """The clip's name, see `name_of_clip`."""
    teacher: str
    """Names the teacher and its weights."""
    size: tuple[int, int]
    """Height and width of the clip in pixels."""
    made: Made
    """"features", or "forward" and "backward", (T, h', w', C) on cells of 16 pixels; "mask" (F, H,
    W) where one was given."""


def register_folder() -> None:
    """Make ComfyUI know the folder of teachers."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def list_teachers() -> list[str]:
    """ "pixels", and the folders in `models/sama_teachers` that hold a known model."""
    return [PIXELS, *sorted(_find_teachers())]


def list_stamps(teacher: str | None) -> list[tuple[str, int, int]]:
    """Name, size and time of a teacher's files, which change where they are replaced; nothing of
    "pixels", and of a name that comes over a link, which is None.
    """
    source = _find_teachers().get(teacher or PIXELS)
    files = sorted(Path(source.path).iterdir()) if source else []
    stats = [(file.name, file.stat()) for file in files]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in stats]


def make_features(
    frames: Tensor, teacher: str, mask: Tensor | None = None, say: Callable[[str], object] = print
) -> AlignFeatures:
    """Features of a clip (F, H, W, 3 or more) in 0…1, read from disk where they were made before.

    `mask` (F, H, W) is the subject. Raises SamaError for a teacher that does not load, a mask
    that does not fit, frames smaller than a cell, and fewer than the teacher's features have.
    """
    frames = frames[..., :3]
    count, height, width = frames.shape[:3]
    if min(height, width) < CELL:
        got, fix = f"{width}x{height}", "Connect target_frames of SAMA Training Pair."
        raise ClipError(needed("frames", got, f"sides of {CELL} pixels and more", fix))
    if mask is not None:
        mask = fit_mask(mask, count, height, width)
    source = None if teacher == PIXELS else _find_teachers().get(teacher)
    if source is None and teacher != PIXELS:
        got, fix = f"no '{teacher}'", f"Put its folder into models/{FOLDER}, and press R."
        raise RuntimeSetupError(needed("teacher", got, "one of the list", fix))
    key = PIXELS if source is None else source.key
    tracks = tracks_subject(key)
    folder = Path(folder_paths.get_user_directory()) / "sama_features"
    cache = FeatureCache(folder, key, (height, width), count, CELL)
    clip = name_of_clip(frames)
    asked = (clip, name_of_clip(mask[..., None]) if tracks and mask is not None else "")
    made = cache.get(*asked)
    if made is None:
        _refuse_short(count, teacher, source)
        say(f"SAMA: {teacher} looks at {count} frames")
        cells = (height // CELL, width // CELL)
        seen = _look(frames, source, mask if tracks else None)
        cache.put({name: resize_cells(value, cells).cpu() for name, value in seen.items()}, *asked)
        made = cache.get(*asked)
    return AlignFeatures(
        clip, key, (height, width), made if mask is None else {**made, "mask": mask.float().cpu()}
    )


def _refuse_short(count: int, teacher: str, source: TeacherSource | None) -> None:
    """Raises ClipError for a clip to which the teacher gives more features in time than frames."""
    slices = source.count_slices(count) if source else 1
    if slices > count:
        need, fix = f"{slices} or more for {teacher}", "Give a longer clip, or another teacher."
        raise ClipError(needed("frames", count, need, fix))


@torch.no_grad()
def _look(frames: Tensor, source: TeacherSource | None, mask: Tensor | None) -> Made:
    """Features of all frames by the teacher, or by the pixels' statistics without one."""
    if source is None:
        cells = PixelEncoder(STATISTICS).tokens(frames.float().cpu())[0]
        return {"features": cells.unflatten(1, (GRID, GRID))}
    teacher, device = source.load(), comfy.model_management.get_torch_device()
    _move(teacher.model, device)
    prompt = None if mask is None else mask.to(device)
    return teacher.features(frames.float().to(device), prompt)


def _move(network: torch.nn.Module, device: torch.device) -> None:
    """Put a teacher on `device`, from which ComfyUI takes its own models as far as that and its
    work need it.
    """
    management = comfy.model_management
    size = management.module_size(network) + management.minimum_inference_memory()
    management.free_memory(size, device)
    network.to(device)


def _find_teachers() -> dict[str, TeacherSource]:
    """Teachers by the name of their folder."""
    found: dict[str, TeacherSource] = {}
    for root in folder_paths.get_folder_paths(FOLDER):
        for config in sorted(Path(root).glob("*/config.json")):
            kind = find_kind(str(config.parent))
            if kind:
                found.setdefault(config.parent.name, TeacherSource(kind, str(config.parent)))
    return found
