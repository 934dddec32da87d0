"""Fixtures of the browser tests: one browser for a module, a fresh page for every test."""

from pathlib import Path

import pytest

from ..harness.browser import browsing, open_canvas
from ..harness.chromium import why_no_browser


def pytest_collection_modifyitems(items):
    """`-m "not browser"` leaves these tests out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("browser")


@pytest.fixture(scope="session", autouse=True)
def _needs_browser():
    """Fail before a server is started for nothing."""
    why = why_no_browser()
    if why:
        pytest.fail(why)


@pytest.fixture(scope="module")
def browser(comfy_server):
    """A `harness.chromium.Browser` for the tests' server."""
    with browsing(comfy_server) as browser:
        yield browser


@pytest.fixture
def canvas(browser, comfy_server):
    """ComfyUI's frontend on a fresh page: a `harness.browser.Canvas`."""
    with open_canvas(browser, comfy_server) as canvas:
        yield canvas


@pytest.fixture(params=[False, True], ids=["classic", "nodes_2"])
def either_canvas(request, browser, comfy_server):
    """As `canvas`, once with classic nodes and once with Nodes 2.0."""
    with open_canvas(browser, comfy_server, nodes_2=request.param) as canvas:
        yield canvas
