"""A real browser on a real server: open a workflow on ComfyUI's canvas, queue it, look at it."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .chromium import ANSWER_S, Browser
from .server import ComfyServer

SETTINGS = {
    "Comfy__TutorialCompleted": True,
    "Comfy__OnboardingCoachmarks__Seen": ["appMode", "firstRun"],
    "Comfy__Workflow__Persist": False,
    "Comfy__Notification__ShowVersionUpdates": False,
    "Comfy__Minimap__Visible": False,
    "Comfy__Workflow__ShowMissingModelsWarning": False,
}
# The spinner ends when the frontend has loaded its first workflow; before that it would replace
# ours. Without its name at the server, which comes with the first message, a page is told nothing
# of its runs.
READY = """() => window.app?.vueAppReady && app.canvas?.graph && app.api?.clientId
    && app.extensionManager?.spinner === false && app.extensionManager.workflow?.activeWorkflow"""
NODES_2 = "Comfy__VueNodes__Enabled"
"""The setting that draws nodes as HTML; without it they are painted on the canvas."""
PREVIEWS = "Comfy__Execution__PreviewMethod"
"""The setting of live previews; `auto` is what `run.py serve` starts with."""
NOISE = (
    "/user.css",  # ComfyUI answers 404 while the user has no such file yet
    "/userdata",
    "missingModelDownload",  # asks hubs for the size of models that a workflow names
    "missingModelMetadata",  # the same in 1.58; ComfyUI's own rule for the page refuses it
    "graph accessed before initialization",  # the frontend's own start
)
NODE_COUNT = "count => app.graph.nodes.length === count"
AT_ONCE = """argument => {
    const answer = (CONDITION)(argument)
    if (typeof answer?.then === "function") throw new Error("A promise is always true.")
    return answer
}"""
NOTE_ENDS = """() => {
    if (window.endedRuns) return
    window.endedRuns = new Set()
    for (const end of ["execution_success", "execution_error", "execution_interrupted"])
        app.api.addEventListener(end, ({ detail }) => window.endedRuns.add(detail.prompt_id))
}"""
REST = """ms => new Promise(done => setTimeout(
    () => requestAnimationFrame(() => requestAnimationFrame(done)), ms))"""
DROP = """([name, kind, data]) => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
    const moved = new DataTransfer()
    moved.items.add(new File([bytes], name, { type: kind }))
    const frame = app.canvasEl.getBoundingClientRect()
    const event = kind => new DragEvent(kind, {
        dataTransfer: moved, bubbles: true, cancelable: true,
        clientX: frame.x + frame.width / 2, clientY: frame.y + frame.height / 2 })
    for (const kind of ["dragenter", "dragover", "drop"]) app.canvasEl.dispatchEvent(event(kind))
}"""
FIT = """async () => {
    await app.extensionManager.command.execute("Comfy.Canvas.FitView")
    const begun = performance.now()
    const frame = () => new Promise(requestAnimationFrame)
    while (await frame() < begun + GLIDE_MS) {}
    for (let drawn = 0; drawn < 2; drawn += 1) await frame()
}"""
GLIDE_MS = 600
"""The view glides for 350, at each frame that is drawn: a busy computer draws few of them."""
LOOK_AGAIN = """([id, seconds]) => {
    const look = () => {
        app.graph.getNodeById(id).images = undefined
        app.canvas.setDirty(true, true)
    }
    window.looking = setInterval(look, 1000 * seconds)
}"""
GIVEN_UP_S = 20
"""The frontend tries twice to load a picture or film of a run, for 8.2 s each, and no more."""
CUT = """() => {
    window.Cut = { WebSocket }
    window.WebSocket = class extends EventTarget {
        constructor() {
            super()
            setTimeout(() => this.dispatchEvent(new Event("close")))
        }
    }
    const told = new Promise(done =>
        app.api.addEventListener("reconnecting", () => done(), { once: true }))
    app.api.socket.close()
    return told
}"""
JOIN = """() => {
    window.WebSocket = window.Cut.WebSocket
    return new Promise(done =>
        app.api.addEventListener("reconnected", () => done(), { once: true }))
}"""
MOVE_AND_UNDO = """async () => {
    const { changeTracker } = app.extensionManager.workflow.activeWorkflow
    const [node] = app.graph.nodes
    node.pos[0] += 100
    if (changeTracker.captureCanvasState) changeTracker.captureCanvasState()
    else changeTracker.checkState()
    await changeTracker.undo()
    return node !== app.graph.getNodeById(node.id)
}"""


class Canvas:
    """ComfyUI's frontend in one browser page.

    Its waits end after a stated time, and the browser with them: see `chromium.Browser.limit`.

    browser  the Browser that shows the page
    page     the playwright page, for what there is no helper for and what playwright limits itself
    server   the ComfyServer behind it
    errors   console errors and uncaught exceptions since the page was opened
    """

    def __init__(self, browser: Browser, page, server: ComfyServer):
        self.browser = browser
        self.page = page
        self.server = server
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", self._record)

    def evaluate(
        self, script: str, argument: object = None, what: str = "", seconds: float = ANSWER_S
    ) -> Any:
        """What a JavaScript function gives on the page, or what its promise gives in the end.

        Raises AssertionError with `what`, or else with the script, when it takes longer than
        `seconds`.
        """
        with self.browser.limit(what or f"the page to answer {script.strip()[:200]}", seconds):
            return self.page.evaluate(script, argument)

    def wait_until(self, condition: str, argument: object = None, what: str = "") -> None:
        """Wait until a JavaScript function gives something true.

        Raises AssertionError with `what`, or else with the condition, when that takes too long;
        playwright.Error where it gives a promise, which is true before it is kept.
        """
        with self.browser.limit(what or f"the page to fulfil {condition.strip()[:200]}"):
            self.page.wait_for_function(AT_ONCE.replace("CONDITION", condition), arg=argument)

    def wait_until_shown(
        self, node: int, condition: str, argument: object = None, what: str = ""
    ) -> None:
        """`wait_until`, of what comes with a node's picture or film.

        Classic nodes go without it where loading has failed or took long. They are made to load it
        again then, until it is there.
        """
        self.evaluate(LOOK_AGAIN, [node, GIVEN_UP_S])
        try:
            self.wait_until(condition, argument, what)
        finally:
            self.evaluate("() => clearInterval(window.looking)")

    def open_workflow(self, workflow: dict) -> None:
        """Load a canvas-format workflow, as dropping its file on the canvas does.

        Its `id` must be a UUID.
        """
        self.evaluate(
            "async workflow => { await app.loadGraphData(workflow) }",
            workflow,
            "the workflow to be loaded",
        )
        self.wait_until(NODE_COUNT, len(workflow["nodes"]), "the workflow's nodes")

    def set_previews(self, method: str) -> None:
        """Live previews during sampling: `none`, `auto`, `latent2rgb`, `taesd` or `default`."""
        script = "([name, method]) => app.extensionManager.setting.set(name, method)"
        self.evaluate(script, [PREVIEWS.replace("__", "."), method])

    def drop(self, path: Path, kind: str = "video/mp4") -> None:
        """Drop a file on the canvas, as from a file manager."""
        data = base64.b64encode(path.read_bytes()).decode()
        self.evaluate(DROP, [path.name, kind, data], "the file to be dropped")

    def open_api(self, prompt: dict, name: str = "graph") -> None:
        """Load an API-format graph with the frontend's own loader, which also arranges it."""
        self.evaluate(
            "async ([prompt, name]) => { await app.loadApiJson(prompt, name) }",
            [prompt, name],
            "the API graph to be loaded",
        )
        self.wait_until(NODE_COUNT, len(prompt), "the API graph's nodes")

    def queue_and_wait(self, timeout: float = 400) -> dict:
        """Queue what is on the canvas and wait for its end; returns the server's history entry.

        The page has then been told of the end, and of all results before. Raises AssertionError
        with ComfyUI's answer when it does not take the graph.
        """
        self.evaluate(NOTE_ENDS)
        with self.browser.limit("ComfyUI to take the graph"):
            with self.page.expect_response(is_answer_to_a_graph) as caught:
                self.page.evaluate("() => { app.queuePrompt(0) }")
            reply = caught.value
            assert reply.ok, f"ComfyUI did not take the graph: {reply.text()}"
            prompt_id = reply.json()["prompt_id"]
        entry = self.server.wait(prompt_id, timeout)
        ended = "id => window.endedRuns.has(id)"
        self.wait_until(ended, prompt_id, "the end of the run to reach the page")
        return entry

    def workflow(self) -> dict:
        """What is on the canvas, in canvas format, as the frontend saves it."""
        return self._export("workflow")

    def prompt(self) -> dict:
        """What is on the canvas, in API format, as the frontend would queue it."""
        return self._export("output")

    def move_and_undo(self) -> None:
        """Move a node and undo that, which makes all nodes anew."""
        assert self.evaluate(MOVE_AND_UNDO, what="the undo") is True

    def fit(self) -> None:
        """Show the whole graph."""
        self.evaluate(FIT.replace("GLIDE_MS", str(GLIDE_MS)), what="the view of the whole graph")

    def reload(self) -> None:
        """Load the page anew, and wait for the frontend."""
        with self.browser.limit("ComfyUI's frontend to be ready again"):
            self.page.reload()
            self.page.wait_for_function(READY)

    def rest(self, milliseconds: int = 0) -> None:
        """Let so much of the page's own time pass, and two frames: what it was to do by then is
        done, and drawn.
        """
        self.evaluate(REST, milliseconds, "frames to be drawn")

    def cut_connection(self) -> None:
        """Lose the connection to ComfyUI, until `join` lets the page connect again."""
        self.evaluate(CUT, what="the page to lose its connection")

    def join(self) -> None:
        """Let the page connect again, after `cut_connection`."""
        self.evaluate(JOIN, what="the page to connect again")

    def screenshot(self, path: Path) -> Path:
        """Save what the page shows now as `path` (.png or .jpg)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.browser.limit("a picture of the page"):
            self.page.screenshot(path=str(path))
        return path

    def _export(self, part: str) -> dict:
        # As JSON text, because playwright would turn fields that are undefined into nulls.
        return json.loads(
            self.evaluate(
                "part => app.graphToPrompt().then(b => JSON.stringify(b[part]))",
                part,
                "the graph on the canvas",
            )
        )

    def _record(self, message) -> None:
        address = message.location.get("url", "")
        line = f"{message.text} ({address})"
        ours = message.type == "error" and address.startswith(self.server.url)
        if ours and not any(part in line for part in NOISE):
            self.errors.append(line)


def is_answer_to_a_graph(reply) -> bool:
    """Whether ComfyUI answers that it was asked to run something; asking for its queue is a GET."""
    return reply.request.method == "POST" and reply.url.endswith("/prompt")


@contextmanager
def browsing(server: ComfyServer) -> Iterator[Browser]:
    """A browser for `server` that reaches nothing else."""
    server.save_settings(**SETTINGS)
    browser = Browser(server.url)
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def open_canvas(browser: Browser, server: ComfyServer, nodes_2: bool = False) -> Iterator[Canvas]:
    """A fresh page of the frontend, loaded and ready, with classic nodes or with Nodes 2.0.

    Live previews are those that the server was started with, whatever an earlier page has set.
    """
    server.save_settings(**{NODES_2: nodes_2, PREVIEWS: "default"})
    with browser.open_page() as page:
        canvas = Canvas(browser, page, server)
        with browser.limit("ComfyUI's frontend to be ready"):
            page.goto(server.url)
            page.wait_for_function(READY)
        yield canvas
