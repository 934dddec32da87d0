"""Makes a canvas-format workflow and its thumbnail out of an API-format graph, with ComfyUI's own
frontend.

    python -m tests.harness.canvas_export \\
        workflows/api/simple_edit.json workflows/simple_edit.json \\
        workflows/simple_edit.jpg [--layout tests/browser/layouts/simple_edit.json] \\
        [--input workflows/moving_shapes.mp4]

Run from the repository root. The frontend loads and serialises the graph, so widget order, hidden
widgets and node sizes are its own. What was written is read back and must give the same API graph,
or nothing is kept.

The layout file, with every part optional; what it leaves out the frontend arranges:
    {"nodes":  {"6": [x, y], "7": [x, y, width, height]},
     "groups": [{"title": "Load", "bounding": [x, y, width, height], "color": "#3f789e"}],
     "notes":  [{"text": "## Read me", "bounding": [x, y, width, height]}]}
"""

import argparse
import json
import shutil
import sys
import tempfile
import uuid
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from .browser import Canvas, browsing, open_canvas
from .chromium import why_no_browser
from .server import running_server

PICTURE = {"width": 2400, "height": 1350}
THUMBNAIL_WIDTH = 1280
JPEG_QUALITY = 85
MARGIN = 40
GROUP_COLOR = "#3f789e"

PLACE = """layout => {
    for (const [id, [x, y, width, height]] of Object.entries(layout.nodes ?? {})) {
        const node = app.graph.getNodeById(id)
        if (!node) throw new Error(`layout: there is no node ${id}`)
        node.pos = [x, y]
        if (width) node.setSize([width, height])
    }
    for (const node of app.graph.nodes) node.pos = [...node.pos].map(Math.round)
    for (const note of layout.notes ?? []) {
        const node = LiteGraph.createNode("MarkdownNote")
        app.graph.add(node)
        const [x, y, width, height] = note.bounding
        node.pos = [x, y]
        node.setSize([width, height])
        node.widgets[0].value = note.text
        node.title = note.title ?? node.title
    }
    for (const { title, bounding, color } of layout.groups ?? []) {
        const group = new LiteGraph.LGraphGroup(title)
        group.color = color
        group.pos = bounding.slice(0, 2)
        group.size = bounding.slice(2)
        app.graph.add(group)
    }
}"""
# A shipped workflow gives the same edit every time until its user asks for another.
FIX_SEEDS = """() => {
    for (const node of app.graph.nodes)
        for (const widget of node.widgets ?? [])
            if (widget.name === "control_after_generate") widget.value = "fixed"
}"""
# No panels, and no red frames around loaders whose files are not on this machine.
CALM = """() => {
    app.extensionManager.focusMode = true
    for (const node of app.graph.nodes) node.strokeStyles = {}
}"""
BOUNDS_ON_SCREEN = """() => {
    const boxes = [...app.graph.nodes, ...app.graph.groups].map(item => item.boundingRect)
    const [left, top] = [0, 1].map(axis => Math.min(...boxes.map(box => box[axis])))
    const [right, bottom] = [0, 1].map(
        axis => Math.max(...boxes.map(box => box[axis] + box[axis + 2])))
    const { scale, offset } = app.canvas.ds, frame = app.canvasEl.getBoundingClientRect()
    const x = frame.x + (left + offset[0]) * scale, y = frame.y + (top + offset[1]) * scale
    return { x, y, width: (right - left) * scale, height: (bottom - top) * scale }
}"""


def canvas_workflow(
    canvas: Canvas, prompt: dict, layout: dict | None = None, name: str = "workflow"
) -> dict:
    """Load an API-format graph, arrange it, and return it in canvas format with an id made from
    `name`.

    Raises AssertionError if the frontend, given the result, would queue another graph than
    `prompt`.
    """
    layout = layout or {}
    canvas.open_api(prompt, name)
    canvas.evaluate(
        PLACE, {**layout, "groups": [{"color": GROUP_COLOR, **g} for g in layout.get("groups", [])]}
    )
    canvas.evaluate(FIX_SEEDS)
    canvas.fit()
    workflow = {
        **canvas.workflow(),
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"comfyui-sama/{name}")),
    }
    canvas.open_workflow(workflow)
    differences = prompt_differences(prompt, canvas.prompt())
    assert not differences, "the canvas gives another graph:\n" + "\n".join(differences)
    return workflow


def prompt_differences(wanted: dict, got: dict) -> list[str]:
    """How two API graphs differ in nodes, classes and inputs.

    Inputs that only `got` has (defaults) may be there.
    """
    lines = [f"node {key}: only on one side" for key in sorted(wanted.keys() ^ got.keys())]
    for key in sorted(wanted.keys() & got.keys()):
        if wanted[key]["class_type"] != got[key]["class_type"]:
            lines.append(f"node {key}: {wanted[key]['class_type']} became {got[key]['class_type']}")
        for name, value in wanted[key]["inputs"].items():
            if got[key]["inputs"].get(name) != value:
                lines.append(
                    f"node {key}, {name}: {value!r} became {got[key]['inputs'].get(name)!r}"
                )
    return lines


def thumbnail(canvas: Canvas, path: Path) -> None:
    """Save the open graph, without menus and panels, as a .jpg at most 1280 pixels wide."""
    canvas.evaluate(CALM)
    with canvas.browser.limit("a page of another size"):
        canvas.page.set_viewport_size(PICTURE)
    canvas.fit()
    clip = _clip(canvas)
    with canvas.browser.limit("a picture of the graph"):
        picture = canvas.page.screenshot(clip=clip)
    image = Image.open(BytesIO(picture)).convert("RGB")
    image.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=JPEG_QUALITY)


def _clip(canvas: Canvas) -> dict:
    """The part of the page that the graph covers, with a margin, inside the page."""
    box, page = canvas.evaluate(BOUNDS_ON_SCREEN), canvas.page.viewport_size
    left, top = max(box["x"] - MARGIN, 0), max(box["y"] - MARGIN, 0)
    right = min(box["x"] + box["width"] + MARGIN, page["width"])
    bottom = min(box["y"] + box["height"] + MARGIN, page["height"])
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def export(jobs: list[tuple[Path, Path, Path, dict]], inputs: list[Path]) -> None:
    """Export every (API graph, workflow, thumbnail, layout) with one server.

    `inputs` go to its input folder.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_server(folder))
        for path in inputs:
            shutil.copy(path, server.base / "input")
        browser = stack.enter_context(browsing(server))
        for source, target, picture, layout in jobs:
            with open_canvas(browser, server) as canvas:
                prompt = json.loads(source.read_text(encoding="utf-8"))
                workflow = canvas_workflow(canvas, prompt, layout, target.stem)
                thumbnail(canvas, picture)
            target.write_text(
                json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            print(f"{target}: {len(workflow['nodes'])} nodes, {picture}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("api", type=Path, help="graph in API format")
    parser.add_argument("workflow", type=Path, help="canvas-format file to write")
    parser.add_argument("thumbnail", type=Path, help=".jpg to write")
    parser.add_argument("--layout", type=Path, help="JSON file with positions, groups and notes")
    parser.add_argument(
        "--input", type=Path, action="append", default=[], help="file for ComfyUI's input folder"
    )
    given = parser.parse_args()
    layout = json.loads(given.layout.read_text(encoding="utf-8")) if given.layout else {}
    why = why_no_browser()
    if why:
        sys.exit(why)
    try:
        export([(given.api, given.workflow, given.thumbnail, layout)], given.input)
    except pytest.exit.Exception as stop:
        sys.exit(stop.msg)


if __name__ == "__main__":
    main()
