"""The shipped workflows, by the names of their API graphs."""

import json
from pathlib import Path

from ..harness.imports import REPO_ROOT

NAMES = sorted(path.stem for path in (REPO_ROOT / "workflows" / "api").iterdir())


def api_graph(name: str) -> dict:
    """The graph in API format: {node id: {class_type, inputs, _meta}}."""
    return _read(REPO_ROOT / "workflows" / "api" / f"{name}.json")


def layout(name: str) -> dict:
    """Its layout: see `tests.harness.canvas_layout`."""
    return _read(REPO_ROOT / "tests" / "browser" / "layouts" / f"{name}.json")


def workflow_path(name: str) -> Path:
    """Where the workflow is, under its title."""
    return REPO_ROOT / "workflows" / f"{layout(name)['title']}.json"


def shipped(name: str) -> dict:
    """The workflow in canvas format."""
    return _read(workflow_path(name))


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
