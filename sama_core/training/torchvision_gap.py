"""A torchvision whose compiled part does not load must not stop transformers and peft, which need none of it."""

import importlib.util
from pathlib import Path

from ..launch.comfy_main import declare_vision_operators


def mend_torchvision() -> None:
    """Call before importing transformers or peft. Does nothing where torchvision is absent or works.

    CPU torch with the registry's torchvision is such a pair: "operator torchvision::nms does not exist".
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin:
        declare_vision_operators(Path(spec.origin).parent)
