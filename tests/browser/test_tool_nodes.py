"""The nodes that need no others, added to the real canvas and queued from there."""

import re

from sama_core import embedded

from ..harness.numbered_clips import write_numbered


def alone(node_id: int, kind: str, *widgets: object) -> dict:
    """A node with these widget values, as a saved workflow holds it."""
    return {
        "id": node_id,
        "type": kind,
        "pos": [400 * node_id, 0],
        "size": [380, 420],
        "flags": {},
        "order": node_id,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": list(widgets),
    }


SHOWN = """id => app.graph.getNodeById(id).widgets
    .find(widget => widget.type === "progressText")?.value ?? "" """

SET = """([id, name, value]) => {
    app.graph.getNodeById(id).widgets.find(widget => widget.name === name).value = value
}"""

REPORT = """id => app.graph.getNodeById(id).widgets.find(w => w.name === "sama_report").element
    .innerText.replace(/^Copy\\n/, "")"""


def test_plan_and_convert_on_the_canvas(canvas, comfy_server):
    """Both show their text, and the converted file is there."""
    nodes = [
        alone(
            1, "SAMAPlan", embedded.DIT.name, "default", 17, 64, 64, 20, 1.0, "none", "automatic"
        ),
        alone(
            2, "SAMAConvertWeights", embedded.DIT.name, "fp8_scaled", "from_canvas", "none", False
        ),
    ]
    canvas.open_workflow(
        {
            "last_node_id": 2,
            "last_link_id": 0,
            "nodes": nodes,
            "links": [],
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }
    )
    entry = canvas.queue_and_wait()
    assert entry["status"]["status_str"] == "success"
    assert canvas.errors == []
    plan, report = (entry["outputs"][key]["text"][0] for key in "12")
    assert plan.startswith("SAMA plan: 17 frames of 64x64, 20 steps, cfg 1\n")
    assert report.startswith("from_canvas.safetensors: ")
    shown_plan, shown_report = (canvas.evaluate(REPORT, key) for key in (1, 2))
    assert shown_plan.startswith("Verdict: it fits.\nSAMA plan: ")
    assert sorted(shown_plan.splitlines()) == sorted(plan.splitlines())
    assert shown_report == report
    made = comfy_server.base / "models" / "diffusion_models" / "from_canvas.safetensors"
    size = made.stat().st_size
    made.unlink()  # other tests list this server's models
    assert 0 < size < embedded.DIT.stat().st_size


def test_the_segment_store_shows_what_confirms_clearing(canvas):
    """The report names the characters to type, so it has to be visible in the node itself."""
    store = alone(1, "SAMASegmentStore", "show", "")
    canvas.open_workflow(
        {
            "last_node_id": 1,
            "last_link_id": 0,
            "nodes": [store],
            "links": [],
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }
    )
    (report,) = canvas.queue_and_wait()["outputs"]["1"]["text"]
    # A long edit of another test may have left segments on this server.
    assert re.fullmatch(
        r"(1 segment|\d+ segments), (\d+ KiB|\d+\.\d MiB) of 8 GiB, in sama_segments\."
        r"( To remove them, set action to clear and confirm to [0-9a-f]{4}\.)?",
        report,
    )
    assert ("To remove" in report) == (not report.startswith("0 "))
    assert canvas.evaluate(REPORT, 1) == report
    assert canvas.workflow()["nodes"][0]["widgets_values"] == ["show", ""]


def test_a_remark_leaves_the_node_with_its_cause(canvas, comfy_server):
    """A varying rate is reported in SAMA Source Video, until a range has one rate again."""
    write_numbered(comfy_server.base / "input" / "varying.mkv", [0, 40, 80, 200, 240])
    canvas.open_api(
        {
            "1": {"class_type": "LoadVideo", "inputs": {"file": "varying.mkv"}},
            "2": {
                "class_type": "SAMASourceVideo",
                "inputs": {
                    "video": ["1", 0],
                    "frames": 5,
                    "start": 0,
                    "stride": 1,
                    "fit": "stretch",
                },
            },
            "3": {
                "class_type": "SAMAPlan",
                "inputs": {"model_name": embedded.DIT.name, "clip_info": ["2", 1]},
            },
        }
    )
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    after_run(canvas)
    assert "frame rate varies" in canvas.evaluate(SHOWN, 2)

    # A run that takes the node's result from before leaves the remark, which still holds.
    canvas.evaluate(SET, [3, "steps", 7])
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    after_run(canvas)
    assert "frame rate varies" in canvas.evaluate(SHOWN, 2)

    canvas.cut_connection()
    after_run(canvas)
    canvas.join()
    after_run(canvas)
    assert "frame rate varies" in canvas.evaluate(SHOWN, 2)

    canvas.evaluate(SET, [2, "frames", 3])
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    canvas.wait_until(f"id => !({SHOWN})(id).trim()", 2, "the remark to go")


def after_run(canvas) -> None:
    """Let the page do what it does after the end of a run: frontends take texts out of nodes."""
    canvas.rest(1000)
