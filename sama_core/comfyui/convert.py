"""Converting a model of ComfyUI's lists into another file of its diffusion_models folder."""

from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths

from ..convert.formats import checked_name, default_name, format_named
from ..convert.job import convert

FOLDER = "diffusion_models"
_MEBIBYTE = 1 << 20


def output_folder() -> Path:
    """Where new diffusion models go: ComfyUI's first folder of that name.

    The very first folder of its list is the older `unet`.
    """
    folders = [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    return next((folder for folder in folders if folder.name == FOLDER), folders[0])


def convert_listed(
    model_name: str,
    format_name: str,
    file_name: str = "",
    base_name: str | None = None,
    overwrite: bool = False,
) -> str:
    """Convert a listed model to a file named `file_name`, and return the report.

    An empty name is replaced by the default. Shows progress, and ends with ComfyUI's interrupt;
    queued again it continues. Errors are `convert`'s.
    """
    made = format_named(format_name)
    source = folder_paths.get_full_path_or_raise(FOLDER, model_name)
    base = None if base_name is None else folder_paths.get_full_path_or_raise(FOLDER, base_name)
    target = output_folder() / checked_name(file_name.strip() or default_name(source, made), made)
    target.parent.mkdir(parents=True, exist_ok=True)
    bar = comfy.utils.ProgressBar(1)

    def progress(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done // _MEBIBYTE, max(1, total // _MEBIBYTE))

    report = convert(source, target, made.name, base, overwrite, progress)
    folder_paths.filename_list_cache.clear()
    return report.text()
