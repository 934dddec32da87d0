"""What the running server hands out: templates with thumbnails, help pages, node definitions."""

import json
import urllib.request
from pathlib import Path


def fetch(server, path: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=30) as reply:
        return reply.read()


def test_templates_are_listed_with_thumbnails(comfy_server):
    """The workflows appear among the templates, each with its picture; the API graphs do not."""
    listed = {pack: names for pack, names in json.loads(fetch(comfy_server, "/workflow_templates")).items()
              if "simple_edit" in names}
    assert len(listed) == 1
    (pack, names), = listed.items()
    assert sorted(names) == ["anchor_preview", "context_windows", "few_step_edit", "long_edit", "native_edit",
                             "region_edit", "simple_edit"]
    for name in names:
        assert json.loads(fetch(comfy_server, f"/api/workflow_templates/{pack}/{name}.json"))["nodes"]
        assert fetch(comfy_server, f"/api/workflow_templates/{pack}/{name}.jpg")[:2] == b"\xff\xd8"


def test_help_pages_are_served(comfy_server):
    extensions = json.loads(fetch(comfy_server, "/object_info/SAMAEdit"))["SAMAEdit"]["python_module"]
    pack = extensions.removeprefix("custom_nodes.")
    page = (Path(__file__).resolve().parents[2] / "web" / "docs" / "SAMAEdit.md").read_bytes()
    assert fetch(comfy_server, f"/extensions/{pack}/docs/SAMAEdit.md") == page
