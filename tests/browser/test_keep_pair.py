"""SAMA Keep Pair in the canvas: found by usual words, off at first, and what it kept is told."""

import json
from pathlib import Path

from .test_reports import text_of
from .test_search import BOXES, find  # noqa: F401

WORDS = ("save pair", "keep pair")


def graph() -> dict:
    """Two pictures of other colours as source and result."""
    picture = {"width": 64, "height": 48, "batch_size": 1}
    inputs = {"instruction": "make it green", "collection": "browser", "accept": False, "fps": 0.0}
    clips = {"source": ["1", 0], "result": ["2", 0]}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**picture, "color": 0x802020}},
        "2": {"class_type": "EmptyImage", "inputs": {**picture, "color": 0x208020}},
        "3": {"class_type": "SAMAKeepPair", "inputs": {**clips, **inputs}},
    }


def test_usual_words_find_it(find):  # noqa: F811
    for words in WORDS:
        find(BOXES[0], words, "SAMA Keep Pair")


def test_accept_keeps_what_was_looked_at(either_canvas):
    canvas = either_canvas
    canvas.open_api(graph())
    canvas.queue_and_wait()
    assert text_of(canvas, 3).startswith("Copy\nNot kept. Turn accept on")
    canvas.evaluate(
        "() => { const node = app.graph.getNodeById(3);"
        " node.widgets.find(one => one.name === 'accept').value = true }"
    )
    entry = canvas.queue_and_wait()
    rows = Path(entry["outputs"]["3"]["text"][0].splitlines()[-1].split('"')[1])
    said = text_of(canvas, 3)
    assert "pair 1 of" in said and "two images, 64x48" in said
    (row,) = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert row["instruction"] == "make it green" and (rows.parent / row["target"]).is_file()
    assert canvas.errors == []
