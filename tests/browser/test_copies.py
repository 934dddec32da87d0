"""Several copies of the pack in custom_nodes: one of them works whole, and the others are named.

One is as it was before copies knew of each other, and older; one is a second clone.
"""

import json
import urllib.request

import pytest

from ..harness.archive import write_archive
from ..harness.browser import browsing, open_canvas
from ..harness.server import running_server
from .test_app_messages import SAID, SET, open_edit

OLDER, CLONE = "comfyui-sama", "ComfyUI-SAMA-main"


def write_copies(folder) -> None:
    """Beside the pack itself, which the server's folder gets as it starts."""
    write_archive(folder / CLONE)
    older = write_archive(folder / OLDER)
    project = older / "pyproject.toml"
    version = next(line for line in project.read_text().splitlines() if line.startswith("version"))
    project.write_text(project.read_text().replace(version, 'version = "0.1.9"'))
    nodes = older / "nodes" / "__init__.py"
    text = nodes.read_text()
    assert '_core_part("copies", "settle_when_loaded", nodes)' in text
    nodes.write_text(text.replace('_core_part("copies", "settle_when_loaded", nodes)', "None"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that has loaded all three."""
    folder = tmp_path_factory.mktemp("copies")
    write_copies(folder / "base" / "custom_nodes")
    with running_server(folder) as server:
        yield server


def fetch(server, path: str) -> dict:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=120) as reply:
        return json.loads(reply.read())


def test_all_that_is_handed_out_is_of_one_copy(server):
    found = fetch(server, "/object_info").items()
    (used,) = {node["python_module"] for name, node in found if name.startswith("SAMA")}
    scripts = [name for name in fetch(server, "/extensions") if "core" not in name]
    name = used.removeprefix("custom_nodes.")
    assert scripts and all(script.startswith(f"/extensions/{name}/") for script in scripts)
    page = f"{server.url}/extensions/{name}/docs/SAMAEdit.md"
    with urllib.request.urlopen(page, timeout=120) as reply:
        assert reply.status == 200
    unused = fetch(server, "/sama/pack")["unused"]
    assert len(unused) == 2 and f"custom_nodes/{OLDER}" in unused and used not in unused
    assert "ComfyUI-SAMA is installed 3 times" in server.log


def test_an_edit_works_and_the_browser_names_what_is_not_used(server):
    with browsing(server) as browser, open_canvas(browser, server) as canvas:
        start = "It is installed 3 times. Not used: "
        canvas.wait_until(f"start => ({SAID})(start).length", start, "the copies to be named")
        (said,) = canvas.evaluate(SAID, start)
        assert f"custom_nodes/{OLDER}" in said
        open_edit(canvas, linearMode=False)
        canvas.evaluate(SET, {"instruction": "make the circle red"})
        assert canvas.queue_and_wait()["status"]["status_str"] == "success"
