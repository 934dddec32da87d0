"""Chromium for the browser tests: it reaches one server alone, and no wait for it is endless.

Playwright sets no limit on an evaluation, on a new page or on closing one. A page that computes
without end would hold up the whole run. So every wait has a limit here. When it is over, Chromium
and Playwright's own process are ended, the wait fails with its name, and the next page starts both
anew.
"""

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWPORT = {"width": 1600, "height": 900}
ANSWER_S = 240
"""How long Chromium and its page may take for one answer, also on a loaded machine."""
PAGE_S = 180
"""Playwright's own limit for a page and what is on it, after which the browser goes on."""


class Browser:
    """A Chromium that resolves no address but that of `url`.

    It starts with the first page, and again with the next page after it was ended. While it runs,
    its thread counts as running an event loop: `asyncio.run`, and so the in-process `comfyui`
    fixture, does not work in it.

    processes  what is ended with it: Chromium, and the process of playwright that started it
    """

    def __init__(self, url: str):
        self._host = urlsplit(url).hostname
        self._playwright = None
        self._context = None
        self.processes: list[int] = []

    @property
    def running(self) -> bool:
        """Whether it was started and did not end since."""
        return self._context is not None and self._context.browser.is_connected()

    @contextmanager
    def open_page(self) -> Iterator[Any]:
        """An empty page, as playwright's `Page`, which is closed in the end."""
        with self.limit("a new page"):
            if not self.running:
                self._stop()
                self._start()
            context = self._context
            page = context.new_page()
        try:
            yield page
        finally:
            if self.running and self._context is context:
                with self.limit("the page to close"):
                    page.close()

    @contextmanager
    def limit(self, what: str, seconds: float = ANSWER_S) -> Iterator[None]:
        """End the browser when the body, which waits for `what`, takes longer than `seconds`.

        Raises AssertionError with both then. Where playwright's own limit in the body is over
        first, AssertionError has its words and `what`, and the browser goes on.
        """
        from playwright.sync_api import Error, TimeoutError

        over = threading.Event()

        def end() -> None:
            over.set()
            self._kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except TimeoutError as error:
            raise AssertionError(f"waited in vain for {what}: {error}") from error
        except Error:
            if not over.is_set():
                raise
        finally:
            timer.cancel()
            timer.join()
            if over.is_set():
                self._stop()
        if over.is_set():
            raise AssertionError(f"waited {seconds:g} s for {what}; the browser was ended")

    def close(self) -> None:
        """End Chromium and playwright."""
        if self.running:
            with self.limit("the end of Chromium"):
                self._context.browser.close()
        self._stop()

    def _start(self) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        rules = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {self._host}"
        browser = self._playwright.chromium.launch(
            executable_path=browser_path(), args=[*ARGUMENTS, rules]
        )
        reply = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
        chromium = next(p["id"] for p in reply["processInfo"] if p["type"] == "browser")
        self.processes = [chromium]
        if parent_of(parent_of(chromium)) == os.getpid():
            self.processes.append(parent_of(chromium))
        self._context = browser.new_context(viewport=VIEWPORT)
        self._context.set_default_timeout(1000 * PAGE_S)

    def _kill(self) -> None:
        """End Chromium with all of its processes, then the process of playwright behind it."""
        for kill, process in zip((os.killpg, os.kill), self.processes, strict=False):
            with suppress(ProcessLookupError):
                kill(process, signal.SIGKILL)

    def _stop(self) -> None:
        """Give up what was started; the next page starts it anew."""
        playwright, self._playwright, self._context = self._playwright, None, None
        self.processes = []
        if playwright is not None:
            playwright.stop()


def parent_of(process: int) -> int:
    """The process that started `process`; 0 where the system has no /proc."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(re.findall(r"^PPid:\s+(\d+)", status, re.MULTILINE)[0])


def browser_path() -> str | None:
    """The browser to use: SAMA_CHROMIUM, or a Chromium on the search path.

    None leaves it to playwright.
    """
    return os.environ.get("SAMA_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


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
