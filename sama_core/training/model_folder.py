"""Where a model of `transformers` lies: a folder, or what Hugging Face's cache keeps of a hub's.

The network is never asked: a folder that is typed wrong looks like a hub's name, "owner/model".
"""

from pathlib import Path

SETTINGS_FILE = "config.json"
"""What every such folder has."""


def find_folder(name: str) -> Path | None:
    """The folder `name`, or the one in Hugging Face's cache that holds the model of this name.

    None where there is neither.
    """
    path = Path(name)
    if path.is_dir():
        return path
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name, SETTINGS_FILE)
    except (ImportError, OSError, ValueError):  # no hub's name is like this one
        return None
    return Path(found).parent if isinstance(found, str) else None


def describe_absent(name: str) -> str:
    """What was got where `find_folder` finds nothing."""
    path = Path(name)
    if path.exists():
        return f"{name}, which is no folder"
    is_name = not path.is_absolute() and len(path.parts) == 2 and ".." not in path.parts
    kept = ", and no model of this name that was downloaded before" if is_name else ""
    return f"{name}, which does not load (no such folder{kept})"
