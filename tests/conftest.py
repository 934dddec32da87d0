"""Fixtures for every test. See `tests/harness/__init__.py` for the import rules."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

from .harness import imports

imports.install()  # before any test module is imported

from .harness import golden as golden_files  # noqa: E402
from .harness.hostile import outcomes  # noqa: E402

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
"""A busy machine stops any example for longer than hypothesis's 0.2 s."""
NEED_COMFYUI = {"comfyui", "comfy_server"}
"""Fixtures that start a ComfyUI: tests with one of them get the marker `comfyui`."""


class _PlainRoot:
    """Keeps pytest from importing the pack's `__init__.py` as a test package.

    Only ComfyUI loads the pack.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == imports.REPO_ROOT else None


@pytest.fixture(autouse=True)
def ordinary_scheduling():
    """SVT-AV1 makes the process of root real-time, and so all that later tests start: two browsers
    then keep every other process from two processors.
    """
    yield
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(autouse=True)
def forget_precision():
    """Accelerate keeps the precision of a process's first run: no test, nor a fixture that is made
    after it, gets that of another. Gives what a test calls that trains in two precisions.
    """

    def forget() -> None:
        state = sys.modules.get("accelerate.state")
        if state is not None:
            state.AcceleratorState._reset_state(True)

    forget()
    yield forget
    forget()


def pytest_configure(config):
    config.pluginmanager.register(_PlainRoot())


def pytest_collection_modifyitems(items):
    """The longest file and trainings first.

    A long file that begins last leaves the other processors idle.
    """
    items.sort(
        key=lambda item: (
            item.path.name != "test_resume_after_kill.py",
            "training" not in item.path.parts,
        )
    )
    for item in items:
        if not NEED_COMFYUI.isdisjoint(item.fixturenames):
            item.add_marker("comfyui")


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    """Real ComfyUI in this process, with our pack loaded: a `harness.executor.ComfyHarness`."""
    from .harness.executor import ComfyHarness
    from .harness.registry import load_pack, start_registry

    base = tmp_path_factory.mktemp("comfyui")
    start_registry(base)
    return ComfyHarness(base, load_pack())


@pytest.fixture(scope="session")
def pack(comfyui):
    """Our pack as ComfyUI loaded it: `pack.node_ids`, `pack.module("nodes.load")`."""
    if comfyui.pack is None:
        pytest.fail("the pack has no __init__.py yet, so ComfyUI cannot load it")
    return comfyui.pack


@pytest.fixture(scope="session")
def comfy_server(tmp_path_factory):
    """A real ComfyUI server process with our pack: a `harness.server.ComfyServer`.

    Its runs can be held: see `harness.held_runs`.
    """
    from .harness import held_runs
    from .harness.server import running_server

    folder = tmp_path_factory.mktemp("server")
    held_runs.install(folder / "base")
    with running_server(folder) as server:
        yield server


@pytest.fixture(scope="session")
def golden():
    """`golden("dit_small")` loads a golden group once.

    `["case1.latents"]`, `.manifest`, `.state_dict()`.
    """
    loaded = {}

    def load(name: str) -> golden_files.Golden:
        if name not in loaded:
            loaded[name] = golden_files.load_golden(name)
        return loaded[name]

    return load


def pytest_sessionfinish(session):
    """A worker of pytest-xdist sends what it compared and tried to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["parity"] = golden_files.seen_parity()
        session.config.workeroutput["hostile"] = outcomes.list_seen()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    told = getattr(node, "workeroutput", {})
    golden_files.add_parity(told.get("parity", {}))
    outcomes.add(told.get("hostile", {}))


def pytest_terminal_summary(terminalreporter):
    """Print which ComfyUI was tested, and how close this run came to the official code."""
    from .harness.comfy_home import describe_comfyui

    core = describe_comfyui()
    if core:
        terminalreporter.write_line(core)
    for title, lines in (
        ("parity with the golden tensors", golden_files.parity_table()),
        ("what came of hostile files", outcomes.table()),
    ):
        if lines:
            terminalreporter.section(title)
            for line in lines:
                terminalreporter.write_line(line)
