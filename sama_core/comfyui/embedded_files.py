"""SAMA-Shapes in ComfyUI's model lists: the pack's own files, without a copy of them."""

import folder_paths

from .. import embedded


def offer() -> None:
    """Add the pack's model folders behind ComfyUI's own, once.

    Never as the default folder: what others save or download goes on landing in ComfyUI's, and a file of the same
    name there is taken before the pack's.
    """
    for file in embedded.FILES:
        folder_paths.add_model_folder_path(file.parent.name, str(file.parent))
