"""Python packages that training needs, and which of them are absent. Standard library only."""

from collections.abc import Iterable
from importlib.util import find_spec

MODULES = {"pillow": "PIL"}
"""Modules that are not named as their packages."""
ALWAYS = (
    "accelerate",
    "av",
    "matplotlib",
    "numpy",
    "pillow",
    "safetensors",
    "sentencepiece",
    "torch",
    "tqdm",
)
"""What every run needs."""
INSTALL = "Install them with: python -m pip install -r requirements-train.txt"


def list_absent(packages: Iterable[str] = ALWAYS) -> list[str]:
    """Those that cannot be imported, none of which is imported for it."""
    return [name for name in packages if find_spec(MODULES.get(name, name)) is None]


def say_absent(absent: Iterable[str]) -> str:
    """One sentence for the person who starts a training."""
    return f"packages: got none of {', '.join(absent)}, needs all of them. {INSTALL}"
