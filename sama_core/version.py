"""The pack's version, read from pyproject.toml, the only place that holds it."""

import tomllib
from pathlib import Path

VERSION: str = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]["version"]
"""As the Registry lists it; keys of kept segments and converted files carry it."""
