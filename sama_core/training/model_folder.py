"""A model of `transformers`: a folder, or what Hugging Face's cache keeps of a hub's name.

The network is never asked: a folder that is typed wrong looks like a hub's name, "owner/model", and
`transformers` asks the hub even for a model that its cache holds whole.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from ..launch.server.comfy_main import declare_vision_operators

SETTINGS_FILE = "config.json"
"""What every such folder has."""
WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth")
"""What the names of files with weights end in."""
MOST_ABSENT = 0.1
"""Share of a model's weights that its files may lack: a layer that nobody has use for."""


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


def is_model_file(path: Path) -> bool:
    """Whether what a model is depends on a file of its folder: its weights and its settings."""
    return path.name == SETTINGS_FILE or path.suffix in WEIGHT_FILES


def tell_download(name: str, folder: str) -> str:
    """What fetches a hub's model into a folder."""
    folder = f'"{folder}"' if " " in folder else folder
    return f"hf download {name} --local-dir {folder}"


def load_weights(class_name: str, folder: Path, dtype: torch.dtype) -> Any:
    """The model of a class of `transformers` in a folder.

    ValueError where the folder holds the weights of another: `transformers` would draw most of them
    at random. Otherwise whatever `transformers` raises.
    """
    mend_torchvision()
    import transformers

    kind = getattr(transformers, class_name)
    model, found = kind.from_pretrained(
        folder, dtype=dtype, output_loading_info=True, local_files_only=True
    )
    absent = set(found["missing_keys"])
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    drawn = sum(size for name, size in sizes.items() if name in absent)
    if drawn > MOST_ABSENT * sum(sizes.values()):
        raise ValueError(f"the files lack {len(absent)} weights, such as {min(absent)}")
    return model


def say_why(error: Exception) -> str:
    """What an error of `transformers` says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def mend_torchvision() -> None:
    """Call before importing transformers or peft: a torchvision that does not load would stop them.

    They need none of its compiled part. Does nothing where torchvision is absent or works. CPU
    torch with the registry's torchvision is such a pair: "operator torchvision::nms does not
    exist".
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin:
        declare_vision_operators(Path(spec.origin).parent)
