"""Runs of a real server that wait in the middle until the test has seen there what it looks for."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path("custom_nodes")
TEXT = 3
"""The event of a line of text in a node, as ComfyUI numbers it."""
NODE = """
import json, re, time
from pathlib import Path
from comfy.model_management import processing_interrupted
from server import PromptServer

NODE_CLASS_MAPPINGS = {}
send, plan, sent = PromptServer.send_sync, Path(__file__).with_suffix(".json"), {}

def asked():
    try:
        return json.loads(plan.read_text())
    except FileNotFoundError:
        return None

def send_and_wait(self, event, data, *given, **named):
    send(self, event, data, *given, **named)
    held = asked()
    if not held or event != held["event"]:
        return
    if held["says"] and not re.search(held["says"].encode(), data):
        return
    sent[held["id"]] = sent.get(held["id"], 0) + 1
    while sent[held["id"]] >= held["count"] and asked() == held and not processing_interrupted():
        time.sleep(0.02)

PromptServer.send_sync = send_and_wait
"""
"""A custom node whose ComfyUI waits after so many messages of a kind, until that plan is gone or
the run is interrupted."""


def install(base: Path) -> None:
    """Let runs of the server with this base directory, which starts after that, be held."""
    (base / FOLDER).mkdir(parents=True, exist_ok=True)
    (base / FOLDER / "held_runs.py").write_text(NODE, encoding="utf-8")


@contextmanager
def hold(base: Path, event: str | int, count: int = 1, says: str = "") -> Iterator[None]:
    """Inside, a run of the server with this base directory goes no further than its message number
    `count` of the kind `event`, of texts in which the pattern `says` is found; an interrupted one
    ends all the same.
    """
    plan = base / FOLDER / "held_runs.json"
    whole = plan.with_suffix(".part")
    held = {"event": event, "count": count, "says": says, "id": uuid.uuid4().hex}
    whole.write_text(json.dumps(held))
    os.replace(whole, plan)
    try:
        yield
    finally:
        plan.unlink()
