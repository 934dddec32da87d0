"""Where everything that is not source lies: `.venv` and `.runtime` in the pack's folder, both git-ignored."""

import os
from dataclasses import dataclass
from pathlib import Path

PACK_ROOT = Path(os.path.abspath(__file__)).parents[2]
PACK_NAME = "ComfyUI-SAMA"


@dataclass(frozen=True)
class Places:
    """Every path the commands use."""

    root: Path = PACK_ROOT
    """The pack's folder, with its sources."""
    work: Path = PACK_ROOT
    """Where `.venv` and `.runtime` go."""
    tree: str = ""
    """Name of the environment of a ComfyUI that set-up did not fetch, see `runtime.places_of`; empty for `.venv`."""

    @property
    def venv(self) -> Path:
        """`.venv`, or a layer over it for another ComfyUI: inside, so that deleting `.venv` deletes all of them."""
        whole = self.work / ".venv"
        return whole / "trees" / self.tree if self.tree else whole

    @property
    def python(self) -> Path:
        """The environment's interpreter, whether it exists yet or not."""
        return self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamps(self) -> Path:
        """Inside the environment, so that deleting it forgets the steps too."""
        return self.venv / "sama_steps"

    @property
    def runtime(self) -> Path:
        return self.work / ".runtime"

    @property
    def comfyui(self) -> Path:
        """The ComfyUI that set-up fetches."""
        return self.runtime / "ComfyUI"

    @property
    def base(self) -> Path:
        """ComfyUI's base directory: custom_nodes, models, input, output, temp, user."""
        return self.runtime / "base"

    @property
    def models(self) -> Path:
        return self.base / "models"

    @property
    def jobs(self) -> Path:
        """One folder for each running edit, removed at its end."""
        return self.runtime / "jobs"

    def log(self, name: str) -> Path:
        """The log file called `name`; its folder exists afterwards."""
        folder = self.runtime / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"


def clean_env(**extra: str) -> dict[str, str]:
    """This process's environment without what would leak packages into ours, plus `extra`."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"} | extra
