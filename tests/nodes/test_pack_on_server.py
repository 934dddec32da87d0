"""What the running server hands out: templates with thumbnails, help pages, node definitions."""

import json
import urllib.request
from urllib.parse import quote

from sama_core.version import VERSION

from ..harness.imports import REPO_ROOT


def fetch(server, path: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=120) as reply:
        return reply.read()


def test_templates_are_listed_with_thumbnails(comfy_server):
    """The workflows appear among the templates, each with its picture; the API graphs do not."""
    listed = {
        pack: names
        for pack, names in json.loads(fetch(comfy_server, "/workflow_templates")).items()
        if "1 Edit a video" in names
    }
    assert len(listed) == 1
    ((pack, names),) = listed.items()
    shipped = sorted(path.stem for path in (REPO_ROOT / "workflows").glob("*.json"))
    assert sorted(names) == shipped and len(shipped) > 8
    for name in map(quote, names):
        assert json.loads(fetch(comfy_server, f"/api/workflow_templates/{pack}/{name}.json"))[
            "nodes"
        ]
        assert fetch(comfy_server, f"/api/workflow_templates/{pack}/{name}.jpg")[:2] == b"\xff\xd8"


def test_the_log_says_once_which_core_the_pack_met(comfy_server):
    lines = [
        line
        for line in comfy_server.log.splitlines()
        if f"ComfyUI-SAMA {VERSION} on ComfyUI" in line
    ]
    served = json.loads(fetch(comfy_server, "/object_info"))
    pack = served["SAMAEdit"]["python_module"]
    count = sum(node["python_module"] == pack for node in served.values())
    assert len(lines) == 1 and lines[0].endswith(f": {count} nodes.")


def test_help_pages_are_served(comfy_server):
    extensions = json.loads(fetch(comfy_server, "/object_info/SAMAEdit"))["SAMAEdit"][
        "python_module"
    ]
    pack = extensions.removeprefix("custom_nodes.")
    page = (REPO_ROOT / "web" / "docs" / "SAMAEdit.md").read_bytes()
    assert fetch(comfy_server, f"/extensions/{pack}/docs/SAMAEdit.md") == page


SHOWING = {"SAMACompare", "SAMADrafts"}
"""Nodes with a player or a sheet in them, which is saved as an empty value."""
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def declared(node: dict) -> tuple[list[str], int]:
    """The sockets a node definition has, and how many values its widgets save (a seed has its
    control besides).
    """
    inputs = {
        name: spec
        for kind in ("required", "optional")
        for name, spec in node["input"].get(kind, {}).items()
    }
    widgets = {
        name: spec
        for name, spec in inputs.items()
        if isinstance(spec[0], list) or spec[0] in WIDGETS
    }
    controls = sum(
        1 for spec in widgets.values() if len(spec) > 1 and spec[1].get("control_after_generate")
    )
    return sorted(inputs.keys() - widgets.keys()), len(widgets) + controls


def panels(node: dict) -> int:
    """How many empty values a saved node has for what the pack shows in it."""
    return list(node.get("widgets_values") or ())[-1:].count("") if node["type"] in SHOWING else 0


def test_canvas_workflows_have_the_inputs_the_nodes_have_today(comfy_server):
    """A saved node keeps the sockets and widgets of the day it was saved: one added since is not
    there to be wired.
    """
    nodes = json.loads(fetch(comfy_server, "/object_info"))
    checked = 0
    for path in sorted((REPO_ROOT / "workflows").glob("*.json")):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["type"].startswith("SAMA"):
                sockets = sorted(entry["name"] for entry in node["inputs"] if "widget" not in entry)
                saved = (sockets, len(node.get("widgets_values") or ()) - panels(node))
                assert saved == declared(nodes[node["type"]]), f"{path.name}: {node['type']}"
                checked += 1
    assert checked > 30
