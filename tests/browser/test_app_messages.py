"""What stands on a node in the graph is said over the page of an app, which hides the nodes."""

from sama_core.launch.commands.serve import provide_clips

from ..harness.server import TestPlaces
from ..workflows.shipped import shipped

OPEN = """workflow => app.loadGraphData(workflow, true, true, "edit", { openSource: "template" })"""
SET = """values => {
    const { widgets } = app.graph.nodes.find(node => node.type === "SAMAEditWholeVideo")
    for (const widget of widgets) if (widget.name in values) widget.value = values[widget.name]
}"""
SAID = """start => [...document.querySelectorAll("body *")]
    .filter(part => !part.children.length && part.textContent.startsWith(start)
        && !part.closest(".sama-box, style, script") && part.checkVisibility())
    .map(part => part.textContent)"""
STANDS = """() => app.graph.nodes.find(node => node.type === "SAMAEditWholeVideo")
    .widgets.find(widget => widget.name === "sama_refusal")?.element.textContent"""
REMARK = "SAMA: SAMA-Shapes does not know: horse."
EMPTY = 'The instruction is empty. Say what to change, for example "replace the seal with a crab".'


def open_edit(canvas, **extra) -> None:
    """The first workflow with one step for five frames: what is tested is what is said."""
    provide_clips(TestPlaces(folder=canvas.server.base.parent))
    workflow = shipped("simple_edit")
    canvas.evaluate(OPEN, {**workflow, "extra": {**workflow["extra"], **extra}})
    canvas.evaluate(SET, {"steps": 1, "frames": 5, "instruction": ""})


def wait_for_one(canvas, start: str) -> str:
    """The one message that begins so; one that was taken back is faded out before it is gone."""
    canvas.wait_until(f"start => ({SAID})(start).length", start, f"{start} to be said")
    canvas.rest(500)
    canvas.wait_until(f"start => ({SAID})(start).length === 1", start, f"{start} to be said once")
    return canvas.evaluate(SAID, start)[0]


def test_an_app_says_what_was_refused_and_what_a_run_remarks(canvas):
    """Until it is cured, and in no second message."""
    open_edit(canvas)
    canvas.wait_until("() => !app.canvasEl.checkVisibility()", what="the app")
    canvas.evaluate("() => { app.queuePrompt(0) }")
    assert wait_for_one(canvas, EMPTY) == EMPTY

    canvas.evaluate(SET, {"instruction": "make the horse red"})
    canvas.wait_until(f"start => !({SAID})(start).length", EMPTY, "the refusal to go")
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    assert wait_for_one(canvas, REMARK).startswith(REMARK)

    canvas.evaluate(SET, {"instruction": "make the circle red"})
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    canvas.wait_until(f"start => !({SAID})(start).length", REMARK, "the remark to go")


def test_in_the_graph_it_stands_on_the_node_alone(canvas):
    open_edit(canvas, linearMode=False)
    canvas.evaluate("() => { app.queuePrompt(0) }")
    canvas.wait_until(STANDS, what="the refusal on the node")
    assert canvas.evaluate(STANDS) == EMPTY
    assert canvas.evaluate(SAID, EMPTY) == []
