"""The harness itself, with nodes of ComfyUI's own."""

import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from ..harness import browser as browser_harness
from ..harness.browser import open_canvas
from ..harness.chromium import ANSWER_S

GRAPH = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 0xFF0000},
    },
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "canvas"}},
}
PICTURE = "() => app.graph.getNodeById(9).imgs?.[0]?.naturalWidth === 64"


def test_core_graph_on_the_canvas(canvas, comfy_server):
    canvas.open_api(GRAPH, "core")
    workflow = canvas.workflow()
    canvas.open_workflow(workflow)

    assert {node["type"] for node in workflow["nodes"]} == {
        "EmptyImage",
        "ImageInvert",
        "SaveImage",
    }
    assert {key: node["inputs"] for key, node in canvas.prompt().items()} == {
        key: node["inputs"] for key, node in GRAPH.items()
    }

    entry = canvas.queue_and_wait()

    saved = entry["outputs"]["9"]["images"][0]["filename"]
    image = Image.open(comfy_server.base / "output" / saved)
    assert (image.size, image.getpixel((0, 0))) == ((64, 32), (0, 255, 255))
    assert canvas.evaluate("() => app.nodeOutputs['9'].images[0].filename") == saved
    canvas.wait_until_shown(9, PICTURE)
    assert canvas.errors == []


def test_a_picture_that_the_frontend_gave_up_is_loaded_again(canvas, monkeypatch):
    monkeypatch.setattr(browser_harness, "GIVEN_UP_S", 2)
    lost = []

    def lose_two(route):
        lost.append(route)
        route.abort() if len(lost) <= 2 else route.continue_()

    canvas.page.route("**/view?*", lose_two)
    canvas.open_api(GRAPH, "core")
    canvas.queue_and_wait()
    canvas.wait_until_shown(9, PICTURE)
    assert len(lost) == 3


def test_a_wait_for_a_promise_is_refused(canvas):
    """Playwright takes any promise for true, at once."""
    from playwright.sync_api import Error

    with pytest.raises(Error, match="A promise is always true"):
        canvas.wait_until("() => Promise.resolve(false)")
    canvas.wait_until("given => given === 5", 5)


@pytest.mark.parametrize("either_canvas", [True, False], indirect=True)
def test_nodes_in_either_style(either_canvas, request):
    """Nodes 2.0 are elements of the page, classic ones are painted."""
    either_canvas.open_api(GRAPH, "core")
    nodes_2 = request.node.callspec.params["either_canvas"]
    either_canvas.wait_until(
        "count => document.querySelectorAll('[data-node-id]').length === count",
        len(GRAPH) if nodes_2 else 0,
    )


LATE_SOCKET = """window.WebSocket = class extends WebSocket {
    addEventListener(name, take, ...rest) {
        const late = event => setTimeout(() => take(event), 1000)
        super.addEventListener(name, name === "message" ? late : take, ...rest)
    }
}"""
COUNT_ENDS = """() => {
    window.ends = 0
    app.api.addEventListener("execution_success", () => { window.ends += 1 })
}"""


def test_a_page_that_hears_late_of_its_runs_is_waited_for(browser, comfy_server, monkeypatch):
    """It is ready when ComfyUI knows whom to tell; the results of a second run are its own."""
    open_page = browser.open_page

    @contextmanager
    def open_late():
        with open_page() as page:
            page.add_init_script(LATE_SOCKET)
            yield page

    monkeypatch.setattr(browser, "open_page", open_late)
    with open_canvas(browser, comfy_server) as canvas:
        assert canvas.evaluate("() => typeof app.api.clientId") == "string"
        canvas.open_api(GRAPH, "core")
        canvas.evaluate(COUNT_ENDS)
        for ends in (1, 2):
            canvas.queue_and_wait()
            assert canvas.evaluate("() => window.ends") == ends


SLOW_FRAMES = """() => {
    const draw = window.requestAnimationFrame
    window.requestAnimationFrame = then => draw(now => setTimeout(() => then(now), 700))
}"""
VIEW = "() => [app.canvas.ds.scale, ...app.canvas.ds.offset]"


def test_the_view_has_glided_to_the_graph_also_where_few_frames_are_drawn(canvas):
    canvas.open_api(GRAPH, "core")
    before = canvas.evaluate(VIEW)
    canvas.evaluate(SLOW_FRAMES)
    canvas.fit()
    after = canvas.evaluate(VIEW)
    assert after != before
    canvas.rest(2000)
    assert canvas.evaluate(VIEW) == after


def test_a_page_that_never_answers_costs_its_limit_alone(canvas, browser):
    """The wait ends with its name, Chromium is gone, and the next page is one of another."""
    first = browser.processes
    began = time.monotonic()
    with pytest.raises(AssertionError, match="waited 2 s for an endless loop"):
        canvas.evaluate("() => { for (;;) {} }", what="an endless loop", seconds=2)
    assert time.monotonic() - began < ANSWER_S
    assert not browser.running
    until = time.monotonic() + ANSWER_S
    while any(map(is_alive, first)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(is_alive, first))
    with browser.open_page() as page, browser.limit("an empty page"):
        assert page.evaluate("() => 1 + 1") == 2
        assert browser.running and not set(first) & set(browser.processes)


def test_a_promise_that_stays_open_ends_at_its_limit(canvas):
    with pytest.raises(
        AssertionError, match=r"waited 1 s for the page to answer \(\) => new Promise"
    ):
        canvas.evaluate("() => new Promise(() => {})", seconds=1)


def test_a_condition_that_stays_false_leaves_the_browser(canvas, browser):
    canvas.page.set_default_timeout(500)
    with pytest.raises(AssertionError, match="waited in vain for a node"):
        canvas.wait_until("() => app.graph.nodes.length === 7", what="a node")
    assert browser.running and canvas.evaluate("() => 1 + 1") == 2


def test_the_browser_reaches_the_server_alone(canvas, comfy_server):
    """Not even the same server under another name."""
    fetch = "address => fetch(address, { mode: 'no-cors' }).then(() => 'answer', () => 'none')"
    path = comfy_server.url + "/system_stats"
    assert canvas.evaluate(fetch, path) == "answer"
    assert canvas.evaluate(fetch, path.replace("127.0.0.1", "localhost")) == "none"


def is_alive(process: int) -> bool:
    """Whether it still runs; one that nobody has asked about since its end does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
