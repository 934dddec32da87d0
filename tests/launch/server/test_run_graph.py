"""What becomes of a graph whose command ends before it."""

from types import SimpleNamespace

import pytest

from sama_core.launch.progress import LaunchError
from sama_core.launch.server import run_graph as module
from sama_core.launch.server.client import Lost


@pytest.mark.parametrize(
    ("accident", "own", "cancelled"),
    [
        (KeyboardInterrupt(), None, ["mine"]),
        (BrokenPipeError(32, "Broken pipe"), None, ["mine"]),  # as behind `| head`
        (OSError(5, "Input/output error"), None, ["mine"]),  # a terminal that was closed
        (KeyboardInterrupt(), object(), []),
        (LaunchError("a node failed"), None, []),
        (Lost("the server ended"), None, []),
    ],
)
def test_a_graph_is_taken_off_a_server_that_goes_on(monkeypatch, accident, own, cancelled):
    done: list[str] = []
    client = SimpleNamespace(
        listen=lambda: SimpleNamespace(close=lambda: done.append("closed")),
        queue=lambda graph: "mine",
        cancel=done.append,
    )

    def fail(prompt_id: str) -> None:
        raise accident

    monkeypatch.setattr(module, "Follower", lambda *given: SimpleNamespace(wait=fail))
    with pytest.raises(type(accident)):
        module.run_graph(client, {}, None, own)
    assert done == [*cancelled, "closed"]
