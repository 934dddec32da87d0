"""What a folder with the finished parts of an edit says of itself, in `about.json`."""

import json
from pathlib import Path

ABOUT = "about.json"
"""Its file: an object with "clip" and "instruction"."""


def describe_edit(folder: Path) -> str:
    """Clip and instruction of the edit; the folder's name, its key, where that cannot be read."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return f"{about['clip']}: {about['instruction']}"
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name
