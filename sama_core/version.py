"""The pack's version, read from pyproject.toml, the only place that holds it."""

import tomllib
from pathlib import Path

UNKNOWN = "unknown"
"""The version of a copy that has no pyproject.toml of the pack."""


def read_version(project: Path) -> str:
    """The version in the pack's pyproject.toml.

    UNKNOWN where `sama_core` was copied out of the pack: there is no such file then, or another
    project's.
    """
    try:
        facts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return str(facts["version"]) if facts["name"] == "sama" else UNKNOWN
    except (OSError, ValueError, LookupError, TypeError):
        return UNKNOWN


VERSION = read_version(Path(__file__).parents[1] / "pyproject.toml")
"""As the Registry lists it; kept segments and converted files name it as their maker."""

PACK_ROUTE = "/sama/pack"
"""Where a server tells programs the pack's version, see `sama_core.comfyui.about_pack`."""
KEPT_ID = "SAMA_KEPT_ID"
"""Environment variable of a server that a command leaves running: the id by which it is known."""
SHARED_JOBS = "SAMA_SHARED_JOBS"
"""Environment variable: the folder in which several ComfyUIs keep their edits of whole videos."""
