"""Fixtures of the browser tests: one browser for a module, a fresh page for every test."""

from pathlib import Path

import pytest

from tests.harness import browser as harness


def pytest_collection_modifyitems(items):
    """`-m "not browser"` leaves these tests out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("browser")


@pytest.fixture(scope="session", autouse=True)
def _needs_browser():
    """Fail before a server is started for nothing."""
    why = harness.why_no_browser()
    if why:
        pytest.fail(why)


@pytest.fixture(scope="module")
def browser_context(comfy_server):
    with harness.browsing(comfy_server) as context:
        yield context


@pytest.fixture
def canvas(browser_context, comfy_server):
    """ComfyUI's frontend on a fresh page: a `harness.browser.Canvas`."""
    with harness.open_canvas(browser_context, comfy_server) as canvas:
        yield canvas
