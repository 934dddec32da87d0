"""A real browser on a real server: open a workflow on ComfyUI's canvas, queue it, look at it."""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .server import ComfyServer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWPORT = {"width": 1600, "height": 900}
SETTINGS = {
    "Comfy__TutorialCompleted": True,
    "Comfy__Workflow__Persist": False,
    "LiteGraph__Canvas__MinFontSizeForLOD": 0,
    "Comfy__Notification__ShowVersionUpdates": False,
    "Comfy__Minimap__Visible": False,
    "Comfy__Workflow__ShowMissingModelsWarning": False,
}
# The spinner ends when the frontend has loaded its first workflow; before that it would replace
# ours.
READY = """() => window.app?.vueAppReady && app.canvas?.graph
    && app.extensionManager?.spinner === false && app.extensionManager.workflow?.activeWorkflow"""
NOISE = (
    "/user.css",  # ComfyUI answers 404 while the user has no such file yet
    "/userdata",
    "missingModelDownload",  # asks hubs for the size of models that a workflow names
    "graph accessed before initialization",  # the frontend's own start
)
PAGE_READY_MS = 60_000
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


class Canvas:
    """ComfyUI's frontend in one browser page.

    page     the playwright page, for everything there is no helper for
    server   the ComfyServer behind it
    errors   console errors and uncaught exceptions since the page was opened
    """

    def __init__(self, page, server: ComfyServer):
        self.page = page
        self.server = server
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", self._record)

    def open_workflow(self, workflow: dict) -> None:
        """Load a canvas-format workflow, as dropping its file on the canvas does.

        Its `id` must be a UUID.
        """
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_function(
            "count => app.graph.nodes.length === count", arg=len(workflow["nodes"])
        )

    def drop(self, path: Path, kind: str = "video/mp4") -> None:
        """Drop a file on the canvas, as from a file manager."""
        data = base64.b64encode(path.read_bytes()).decode()
        self.page.evaluate(DROP, [path.name, kind, data])

    def open_api(self, prompt: dict, name: str = "graph") -> None:
        """Load an API-format graph with the frontend's own loader, which also arranges it."""
        self.page.evaluate("([prompt, name]) => app.loadApiJson(prompt, name)", [prompt, name])
        self.page.wait_for_function("count => app.graph.nodes.length === count", arg=len(prompt))

    def queue_and_wait(self, timeout: float = 120) -> dict:
        """Queue what is on the canvas and wait for its end; returns the server's history entry.

        On success the results have reached the page too. Raises AssertionError with ComfyUI's
        answer when it does not take the graph.
        """
        with self.page.expect_response(lambda reply: reply.url.endswith("/prompt")) as caught:
            self.page.evaluate("() => { app.queuePrompt(0) }")
        reply = caught.value
        assert reply.ok, f"ComfyUI did not take the graph: {reply.text()}"
        entry = self.server.wait(reply.json()["prompt_id"], timeout)
        if entry["status"]["status_str"] == "success":
            self.page.wait_for_function(
                "ids => ids.every(id => app.nodeOutputs[id])", arg=list(entry["outputs"])
            )
        return entry

    def workflow(self) -> dict:
        """What is on the canvas, in canvas format, as the frontend saves it."""
        return self._export("workflow")

    def prompt(self) -> dict:
        """What is on the canvas, in API format, as the frontend would queue it."""
        return self._export("output")

    def fit(self) -> None:
        """Show the whole graph."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(600)  # the view glides there

    def screenshot(self, path: Path) -> Path:
        """Save what the page shows now as `path` (.png or .jpg)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))
        return path

    def _export(self, part: str) -> dict:
        # As JSON text, because playwright would turn fields that are undefined into nulls.
        return json.loads(
            self.page.evaluate(
                "part => app.graphToPrompt().then(b => JSON.stringify(b[part]))", part
            )
        )

    def _record(self, message) -> None:
        address = message.location.get("url", "")
        line = f"{message.text} ({address})"
        ours = message.type == "error" and address.startswith(self.server.url)
        if ours and not any(part in line for part in NOISE):
            self.errors.append(line)


def browser_path() -> str | None:
    """The browser to use: SAMA_CHROMIUM, or a Chromium on the search path.

    None leaves it to playwright.
    """
    return os.environ.get("SAMA_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def why_no_browser() -> str | None:
    """Why browser tests cannot run here; None when they can."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "playwright is not installed: pip install playwright"
    if browser_path():
        return None
    with sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).is_file():
            return None
    return (
        "no Chromium found: install one (Debian: apt-get install chromium) "
        "or set SAMA_CHROMIUM to its path"
    )


@contextmanager
def browsing(server: ComfyServer) -> Iterator:
    """A browser context for `server` that reaches nothing else.

    While it is open, this thread counts as running an event loop: `asyncio.run`, and so the
    in-process `comfyui` fixture, does not work in it.
    """
    from playwright.sync_api import sync_playwright

    server.save_settings(**SETTINGS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=ARGUMENTS)
        try:
            context = browser.new_context(viewport=VIEWPORT)
            context.route(
                lambda url: not url.startswith((server.url, "data:", "blob:")),
                lambda route: route.abort(),
            )
            yield context
        finally:
            browser.close()


@contextmanager
def open_canvas(context, server: ComfyServer) -> Iterator[Canvas]:
    """A fresh page of the frontend, loaded and ready."""
    page = context.new_page()
    try:
        canvas = Canvas(page, server)
        page.goto(server.url, timeout=PAGE_READY_MS)
        page.wait_for_function(READY, timeout=PAGE_READY_MS)
        yield canvas
    finally:
        page.close()
