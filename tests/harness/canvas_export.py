"""Makes the shipped workflows out of API-format graphs and their layouts, with ComfyUI's own
frontend.

    python -m tests.harness.canvas_export [simple_edit …]

Run from the repository root. It reads `workflows/api/NAME.json` and
`tests/browser/layouts/NAME.json` (see `canvas_layout`), and writes `workflows/TITLE.json`; without
names, all of them. The frontend loads and serialises the graphs, so widget order and hidden widgets
are its own. Every node gets the larger of the heights that it needs in either style. What was
written is read back and must give the same API graph, or nothing is kept.
"""

import argparse
import json
import shutil
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from sama_core import embedded
from sama_core.released_files import COMPANIONS, MODEL_FILES

from .browser import Canvas, browsing, open_canvas
from .canvas_layout import first_view, notes_of, place, widths
from .chromium import why_no_browser
from .imports import REPO_ROOT
from .server import running_server

API = REPO_ROOT / "workflows" / "api"
LAYOUTS = REPO_ROOT / "tests" / "browser" / "layouts"
GROUP_COLOR = "#3f789e"
NOTE_TITLE = "How to use"
NOTE_COLOURS = {"color": "", "bgcolor": ""}
"""Those of any node, which a theme sets: on ComfyUI's own for notes, links are hard to read."""
SETTLED_MS = 1500

# A shipped workflow gives the same edit every time until its user asks for another.
PREPARE = """({ widths, heights, widgets, notes }) => {
    for (const node of app.graph.nodes) {
        for (const widget of node.widgets ?? [])
            if (widget.name === "control_after_generate") widget.value = "fixed"
        const width = widths[node.id]
        if (!width) throw new Error(`layout: no place for node ${node.id}`)
        node.setSize([width, heights[node.id] ?? node.computeSize()[1]])
    }
    for (const [id, values] of Object.entries(widgets))
        for (const [name, value] of Object.entries(values))
            app.graph.getNodeById(id).widgets.find(widget => widget.name === name).value = value
    for (const { title, text } of notes) {
        const node = LiteGraph.createNode("MarkdownNote")
        app.graph.add(node)
        node.widgets[0].value = text
        node.title = title
    }
}"""
SIZES = "() => Object.fromEntries(app.graph.nodes.map(node => [node.id, [...node.size]]))"


def read(folder: Path, name: str) -> dict:
    """A JSON file of a folder."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def canvas_workflow(canvas: Canvas, name: str, prompt: dict, layout: dict) -> dict:
    """Load an API-format graph and return it in canvas format, with its notes, not yet placed.

    Its id is made from `name`.
    """
    canvas.open_api(prompt, name)
    notes = [
        {"title": note.get("title", NOTE_TITLE), "text": note["note"]} for note in notes_of(layout)
    ]
    given = {
        "widths": widths(layout),
        "heights": layout.get("heights", {}),
        "widgets": layout.get("widgets", {}),
        "notes": notes,
    }
    canvas.evaluate(PREPARE, given)
    workflow = canvas.workflow()
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"comfyui-sama/{name}"))
    return workflow


def arrange(workflow: dict, layout: dict, drawn: dict | None = None) -> None:
    """Puts nodes, groups and notes of a canvas-format workflow where its layout says.

    `drawn` has the nodes' sizes where they are larger than those in the workflow.
    """
    drawn, heights = drawn or {}, layout.get("heights", {})
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    notes = [node for node in nodes.values() if node["type"] == "MarkdownNote"]
    sizes = {}
    for key, width in widths(layout).items():
        needed = max(nodes[key]["size"][1], drawn.get(key, (0, 0))[1])
        sizes[key] = (width, max(needed, heights.get(key, 0)))
    placed = place(layout, sizes)
    for key, box in placed["nodes"].items():
        _put(nodes[key], box)
    for node, box in zip(notes, placed["notes"], strict=True):
        _put(node, box)
        node.update(NOTE_COLOURS)
        node["properties"]["sama_note"] = True  # for `web/nodes/notes.js`
    workflow["groups"] = [
        {
            "id": number,
            "title": title,
            "bounding": [round(side) for side in box],
            "color": GROUP_COLOR,
            "flags": {},
        }
        for number, (title, box) in enumerate(placed["groups"], 1)
    ]
    workflow["extra"]["ds"] = first_view([*placed["nodes"].values(), *placed["notes"]])


def add_models(workflow: dict) -> None:
    """Tells the frontend where the files come from that loaders name, for its list of missing
    ones. The files in the pack are never missing.
    """
    known = {file.filename: file for file in (*MODEL_FILES, *COMPANIONS)}
    for node in workflow["nodes"]:
        files = [known[value] for value in node.get("widgets_values", []) if value in known]
        if files:
            node["properties"]["models"] = [
                {"name": file.filename, "url": file.url, "directory": file.folder} for file in files
            ]


def add_app(workflow: dict, app: dict | None) -> None:
    """Lets the workflow open as an app with these inputs and outputs, if it has any."""
    if app:
        workflow["extra"]["linearMode"] = True
        workflow["extra"]["linearData"] = {
            "inputs": [[int(node), name, *rest] for node, name, *rest in app["inputs"]],
            "outputs": [int(node) for node in app["outputs"]],
        }


def prompt_differences(wanted: dict, got: dict, layout: dict) -> list[str]:
    """How two API graphs differ in nodes, classes and inputs.

    Inputs that only `got` has (defaults) may be there, and those of the layout's `widgets` differ.
    """
    lines = [f"node {key}: only on one side" for key in sorted(wanted.keys() ^ got.keys())]
    for key in sorted(wanted.keys() & got.keys()):
        if wanted[key]["class_type"] != got[key]["class_type"]:
            lines.append(f"node {key}: {wanted[key]['class_type']} became {got[key]['class_type']}")
        for name, value in wanted[key]["inputs"].items():
            made = name in layout.get("widgets", {}).get(key, {})
            if not made and got[key]["inputs"].get(name) != value:
                lines.append(
                    f"node {key}, {name}: {value!r} became {got[key]['inputs'].get(name)!r}"
                )
    return lines


def _put(node: dict, box: tuple) -> None:
    node["pos"], node["size"] = ([round(side) for side in part] for part in (box[:2], box[2:]))


def _workflows(canvas: Canvas, names: list[str]) -> dict[str, dict]:
    """The workflows as classic nodes need them."""
    made = {}
    for name in names:
        layout = read(LAYOUTS, name)
        made[name] = canvas_workflow(canvas, name, read(API, name), layout)
        arrange(made[name], layout)
        add_models(made[name])
    return made


def _grow(canvas: Canvas, made: dict[str, dict]) -> None:
    """Gives the nodes the heights that Nodes 2.0 need, and checks the graphs."""
    for name, workflow in made.items():
        layout = read(LAYOUTS, name)
        canvas.open_workflow(workflow)
        with canvas.browser.limit("the nodes to be drawn"):
            canvas.page.wait_for_timeout(SETTLED_MS)
        arrange(workflow, layout, canvas.evaluate(SIZES))
        canvas.open_workflow(workflow)
        differences = prompt_differences(read(API, name), canvas.prompt(), layout)
        assert not differences, f"{name}: the canvas gives another graph:\n" + "\n".join(
            differences
        )
        add_app(workflow, layout.get("app"))


def export(names: list[str]) -> None:
    """Writes the workflows of these API graphs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_server(folder))
        for clip in embedded.CLIPS:
            shutil.copy(clip, server.base / "input")
        browser = stack.enter_context(browsing(server))
        with open_canvas(browser, server) as canvas:
            made = _workflows(canvas, names)
        with open_canvas(browser, server, nodes_2=True) as canvas:
            _grow(canvas, made)
    for name, workflow in made.items():
        target = REPO_ROOT / "workflows" / f"{read(LAYOUTS, name)['title']}.json"
        target.write_text(
            json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(f"{target}: {len(workflow['nodes'])} nodes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="API graphs, without .json; all if none is given")
    given = parser.parse_args()
    why = why_no_browser()
    if why:
        sys.exit(why)
    try:
        export(given.names or sorted(path.stem for path in API.glob("*.json")))
    except pytest.exit.Exception as stop:
        sys.exit(stop.msg)


if __name__ == "__main__":
    main()
