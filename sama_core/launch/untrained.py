"""The small untrained SAMA that stands in where the trained files are missing: written once, in the environment."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from .commands import answer
from .models import has_trained_model
from .places import Places
from .progress import Stages
from .steps import Step, run_steps

NOTICE = ("This SAMA is UNTRAINED: a small stand-in with random weights, because the trained files are not here.\n"
          "Every stage runs, but the picture will look like noise. `python3 run.py models` shows what is missing.")


def model_folders(places: Places, comfyui_folder: Path | None) -> list[Path]:
    """Where models are looked for: ours, then those of the artist's own ComfyUI."""
    own = comfyui_folder is not None and comfyui_folder != places.comfyui
    return [places.models, *([comfyui_folder / "models"] if own else [])]


def provide_models(places: Places, folders: Iterable[Path], stages: Stages) -> None:
    """Writes the untrained SAMA unless a trained one is there or the same one was written before."""
    if has_trained_model(folders):
        return
    sources = [places.root / "sama_core" / name for name in ("untrained.py", "umt5.py", "config.py")]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources if path.is_file())).hexdigest()
    stamp = places.models / ".untrained"
    present = list(places.models.glob("*/sama_untrained*.safetensors"))
    if len(present) < 3:
        (stamp / "untrained.json").unlink(missing_ok=True)

    def write() -> None:
        told = answer([places.python, "-m", "sama_core.untrained", places.models], "writing the untrained SAMA",
                      cwd=places.root, log=places.log("untrained"))
        json.loads(told)
    run_steps([Step("untrained", "writing the untrained SAMA", key, write)], stamp, stages.update)
