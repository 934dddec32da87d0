"""The page that `run.py serve` opens on its first start: the first workflow, as an app."""

import pytest

from sama_core.launch.commands.serve import first_page, provide_clips

from ..harness.browser import NODES_2, READY, Canvas
from ..harness.server import TestPlaces
from ..workflows.shipped import api_graph, shipped

OPENED = """() => app.graph.nodes.length > 1
    && app.extensionManager.workflow.activeWorkflow.initialMode === 'app'"""
# One step for five frames: what is tested is the page.
QUICK = """seed => {
    const widget = (type, name) => app.graph.nodes.find(node => node.type === type)
        .widgets.find(widget => widget.name === name)
    widget("SAMAEditWholeVideo", "steps").value = 1
    widget("SAMAEditWholeVideo", "seed").value = seed
    widget("SAMAEditWholeVideo", "frames").value = 5
}"""
ON_THE_PAGE = """() => ({
    dialogs: document.querySelectorAll("[role=dialog]").length,
    address: location.search,
    text: document.body.innerText,
})"""
SHOWN = """value => [...document.querySelectorAll("input, textarea")]
    .some(field => field.value === value && field.checkVisibility({ visibilityProperty: true })
        && field.getBoundingClientRect().width > 0)"""
PLAYER = """name => Math.max(0, ...[...document.querySelectorAll("video")]
    .filter(video => video.readyState
        && new URL(video.src).searchParams.get("filename").startsWith(name))
    .map(video => video.getBoundingClientRect().width))"""
COUNT_PREVIEWS = """async () => {
    const { api } = await import("/scripts/api.js")
    api.addEventListener("b_preview_with_metadata", () => { window.previewed = true })
}"""
NONE_IS_KEPT = "() => window.previewed && !Object.keys(app.nodePreviewImages).length"


@pytest.fixture(params=[False, True], ids=["classic", "nodes_2"])
def first(request, browser, comfy_server):
    """The first page of a ComfyUI in which nobody has worked, as `serve` opens it."""
    places = TestPlaces(folder=comfy_server.base.parent)
    provide_clips(places)
    comfy_server.save_settings(Comfy__TutorialCompleted=False, **{NODES_2: request.param})
    with browser.open_page() as page:
        canvas = Canvas(browser, page, comfy_server)
        with browser.limit("ComfyUI's frontend to be ready"):
            page.goto(first_page(comfy_server.url, places))
            page.wait_for_function(READY)
        yield canvas
    comfy_server.save_settings(Comfy__TutorialCompleted=True)


def test_it_is_an_app_with_clip_instruction_seed_and_a_large_player(first):
    first.wait_until(OPENED, what="the first workflow to open as an app")
    first.wait_until("() => !location.search", what="the address to be forgotten")
    page = first.evaluate(ON_THE_PAGE)
    assert page["dialogs"] == 0
    for name in ("file", "instruction", "seed", "1 Edit a video"):
        assert name in page["text"]
    first.wait_until(SHOWN, "make the circle red", what="the instruction to be shown")
    assert first.workflow()["id"] == shipped("simple_edit")["id"]
    assert first.prompt().keys() == api_graph("simple_edit").keys()

    seed = 3 if first.evaluate("() => LiteGraph.vueNodesMode") else 2  # nothing may be kept
    first.evaluate(QUICK, seed)
    first.set_previews("auto")
    first.evaluate(COUNT_PREVIEWS)
    entry = first.queue_and_wait()
    assert entry["status"]["status_str"] == "success" and first.errors == []
    result = f"moving_shapes.mp4 seed {seed}_"
    first.wait_until(PLAYER, result, what="the result to be shown")
    width = first.evaluate(PLAYER, result)
    assert width > first.page.viewport_size["width"] / 2
    first.wait_until(NONE_IS_KEPT, what="the live preview to go, which the graph would show")
