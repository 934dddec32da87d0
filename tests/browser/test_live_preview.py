"""The live preview of an edit: a film with the time that is left, and nothing of it afterwards."""

import json
import re
import shutil

from sama_core import embedded

from ..harness.held_runs import hold
from ..harness.imports import REPO_ROOT

PICTURE = """id => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth
    || document.querySelector(`[data-node-id="${id}"] img.contain-size`)?.naturalWidth"""
WATCH = """async id => {
    const { api } = await import("/scripts/api.js")
    window.films = []
    window.texts = []
    window.shown = new Set()
    window.heights = new Set()
    window.widths = new Set()
    const node = app.graph.getNodeById(id)
    const look = () => {
        window.widths.add((PICTURE)(id))
        requestAnimationFrame(look)
    }
    look()
    const every = window.setInterval
    window.setInterval = (work, ms) => every(work, ms === 250 ? 50 : ms)  // pictures of the film
    api.addEventListener("sama.film", ({ detail }) => window.films.push(detail))
    api.addEventListener("progress_text", ({ detail }) => {
        if (String(detail.nodeId) === String(id)) window.texts.push(detail.text)
    })
    api.addEventListener("b_preview_with_metadata", ({ detail }) => {
        if (window.films.length) window.shown.add(detail.blob.size)
        window.heights.add(Math.round(node.size[1]))
    })
}""".replace("PICTURE", PICTURE)
LEFT = """id => app.graph.getNodeById(id).widgets.filter(w => w.name.startsWith("$$")).length
    + [...document.querySelectorAll(`[data-node-id="${id}"] img.contain-size`)]
        .filter(picture => picture.checkVisibility()).length"""
TALL = 900
"""A node of this height has room for text and preview."""


def open_edit(canvas, server, **settings) -> int:
    """Open the simple edit on 9 frames; returns the id of its node, TALL pixels high."""
    shutil.copy(embedded.CLIP, server.base / "input" / embedded.CLIP.name)
    graph = json.loads((REPO_ROOT / "workflows/api/simple_edit.json").read_text())
    kinds = {node["class_type"]: node_id for node_id, node in graph.items()}
    edit = kinds["SAMAEditWholeVideo"]
    graph[edit]["inputs"] |= {"frames": 9, **settings}
    canvas.open_api(graph)
    edit = int(edit)
    canvas.evaluate(
        "([id, height]) => app.graph.getNodeById(id).setSize([400, height])", [edit, TALL]
    )
    canvas.evaluate(WATCH, edit)
    return edit


def own_seed(canvas) -> int:
    """Another one in each style of node: what is sampled in one is given again in the other."""
    return 23 if canvas.evaluate("() => LiteGraph.vueNodesMode") else 24


def test_it_is_a_film_with_the_time_left_and_leaves_nothing(either_canvas, comfy_server):
    """Three latent frames follow each other in core's own preview; the node keeps its size."""
    canvas = either_canvas
    edit = open_edit(canvas, comfy_server, steps=8, seed=own_seed(canvas))
    canvas.set_previews("auto")
    with hold(comfy_server.base, "sama.film"):
        canvas.evaluate("() => { app.queuePrompt(0) }")
        canvas.wait_until("() => window.films.length > 0", what="a film")
        canvas.wait_until("() => window.widths.has(320)", what="a picture of the film in the node")
        canvas.wait_until("() => window.shown.size >= 3", what="its pictures one after the other")
    canvas.wait_until(f"id => ({LEFT})(id) === 0", edit, "text and preview to go")
    film, texts, heights = canvas.evaluate(
        "() => [window.films[0], window.texts, [...window.heights]]"
    )
    assert film["node"] == film["display_node"] == str(edit)
    assert len(film["frames"]) == 3
    told = r"SAMA: sampling, step 5 of 8, [\d.]+ s a step, about \d+ (s|min \d+ s) left"
    assert any(re.match(told, text) for text in texts)
    assert max(heights) <= TALL + 1
    canvas.wait_until(
        "([id, height]) => Math.abs(app.graph.getNodeById(id).size[1] - height) < 2", [edit, TALL]
    )
    assert canvas.errors == []


PICTURES = """id => [
    ...(LiteGraph.vueNodesMode ? [] : app.graph.getNodeById(id).imgs ?? []),
    ...document.querySelectorAll(`[data-node-id="${id}"] img`),
].filter(picture => !picture.isConnected || picture.checkVisibility())
    .map(picture => [picture.naturalWidth, picture.naturalHeight])"""


def test_the_sheet_of_single_frames_takes_the_place_of_the_preview(either_canvas, comfy_server):
    """Two columns of SAMA-Shapes' 64x64 and two rows, gaps of 8."""
    shutil.copy(embedded.CLIP, comfy_server.base / "input" / embedded.CLIP.name)
    graph = json.loads((REPO_ROOT / "workflows/api/anchor_preview.json").read_text())
    (node,) = (key for key, node in graph.items() if node["class_type"] == "SAMAAnchorPreview")
    canvas = either_canvas
    graph[node]["inputs"] |= {"anchors": 2, "seed": own_seed(canvas)}
    canvas.open_api(graph)
    canvas.fit()
    canvas.evaluate(WATCH, int(node))
    canvas.set_previews("auto")
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    assert canvas.evaluate("() => window.heights.size") > 0  # there were previews
    sheet = f"id => JSON.stringify(({PICTURES})(id)) === '[[136,136]]'"
    canvas.wait_until(sheet, int(node), "the sheet alone in the node")
    assert canvas.errors == []


def test_a_cancelled_run_leaves_no_text_and_no_preview_where_there_is_none(canvas, comfy_server):
    """With ComfyUI's setting "none" there are steps and times, and no film."""
    edit = open_edit(canvas, comfy_server, steps=500, seed=22)
    canvas.set_previews("none")
    canvas.evaluate("() => { app.queuePrompt(0) }")
    canvas.wait_until("() => window.texts.some(text => text.includes('step 3 of 500'))")
    canvas.evaluate("() => import('/scripts/api.js').then(({ api }) => api.interrupt(null))")
    canvas.wait_until(f"id => ({LEFT})(id) === 0", edit, "the text to go")
    assert canvas.evaluate("() => [window.films.length, window.heights.size]") == [0, 0]
