"""A real server that kills itself where a test wants it to: a test that looks on comes too late."""

import json
import signal
from pathlib import Path

from .server import ComfyServer

LONGEST = 600
"""Seconds until it has killed itself, also on a busy machine."""
DIES = """
import json, os, signal
from pathlib import Path

NODE_CLASS_MAPPINGS = {}
replace, plan = os.replace, Path(__file__).with_suffix(".json")

def replace_and_die(source, target, **more):
    replace(source, target, **more)
    asked = json.loads(plan.read_text())
    if asked and Path(target).match(asked[0]):
        if len(list(Path(target).parent.glob(Path(asked[0]).name))) == asked[1]:
            os.kill(os.getpid(), signal.SIGKILL)

os.replace = replace_and_die
"""
"""A custom node that kills its ComfyUI as soon as so many files of a pattern have their place."""


def ask(base: Path, *when: object) -> None:
    """At which pattern and count a server with this base directory kills itself; never without any.

    The first time, call it before the server starts.
    """
    nodes = base / "custom_nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    (nodes / "dies.json").write_text(json.dumps(when))
    (nodes / "dies.py").write_text(DIES)


def run_until_dead(server: ComfyServer, graph: dict, pattern: str, count: int) -> None:
    """Run until the server has killed itself, with `count` files of `pattern` in their folder."""
    ask(server.base, pattern, count)
    server.client.queue(graph)
    assert server.process.process.wait(LONGEST) == -signal.SIGKILL, server.log[-3000:]
