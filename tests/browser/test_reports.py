"""Reports stand in the node that made them, and refusals on the node that they are about."""

from sama_core import embedded

BOX = """([id, name]) => app.graph.getNodeById(id).widgets
    .find(widget => widget.name === name)?.element"""
TEXT = f"given => ({BOX})(given)?.innerText ?? ''"
DRAWN = f"""given => {{
    const frame = ({BOX})(given)?.getBoundingClientRect()
    return frame ? [frame.width, frame.height] : null
}}"""
REPORT, REFUSAL = "sama_report", "sama_refusal"


def text_of(canvas, node_id: int, name: str = REPORT) -> str:
    """What a node's box says."""
    return canvas.evaluate(TEXT, [node_id, name])


def plan_of(name: str) -> dict:
    return {
        "class_type": "SAMAPlan",
        "inputs": {
            "model_name": name,
            "weight_dtype": "default",
            "frames": 17,
            "width": 64,
            "height": 64,
            "steps": 10,
            "cfg": 1.3,
        },
    }


def scores() -> dict:
    """Two grey clips that differ a little, and their scores."""
    picture = {"width": 64, "height": 64, "batch_size": 3}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**picture, "color": 0x808080}},
        "2": {"class_type": "EmptyImage", "inputs": {**picture, "color": 0x908080}},
        "3": {"class_type": "SAMAScores", "inputs": {"source": ["1", 0], "edited": ["2", 0]}},
    }


def test_a_report_stands_in_its_node_and_in_the_saved_workflow(either_canvas):
    """The verdict comes first; opened again, the workflow shows it without a run."""
    canvas = either_canvas
    canvas.open_api({"1": plan_of(embedded.DIT.name)})
    assert text_of(canvas, 1) == "The report appears here when the node has run."
    entry = canvas.queue_and_wait()
    assert entry["outputs"]["1"]["text"][0].startswith("SAMA plan: 17 frames of 64x64, 10 steps")
    lines = text_of(canvas, 1).splitlines()
    assert lines[:3] == [
        "Copy",
        "Verdict: it fits.",
        "SAMA plan: 17 frames of 64x64, 10 steps, cfg 1.3",
    ]
    width, height = canvas.evaluate(DRAWN, [1, REPORT])
    assert width > 100 and height > 60
    canvas.move_and_undo()
    shown = f"given => ({BOX})(given).isConnected && ({TEXT})(given).includes('it fits')"
    canvas.wait_until(shown, [1, REPORT], "the new node's box on the page")
    saved = canvas.workflow()
    assert "sama_report" not in str(canvas.prompt())
    canvas.evaluate("() => app.graph.clear()")
    canvas.open_workflow(saved)
    canvas.wait_until(f"given => ({TEXT})(given).includes('Verdict: it fits.')", [1, REPORT])
    assert canvas.workflow()["nodes"][0]["widgets_values"] == saved["nodes"][0]["widgets_values"]
    assert canvas.errors == []


def test_scores_are_a_table_that_is_not_cut(either_canvas):
    """A row for each score, and every word of it can be scrolled to inside the node."""
    canvas = either_canvas
    canvas.open_api(scores())
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    rows = canvas.evaluate(
        f"""given => [...({BOX})(given).querySelectorAll("tr")]
            .map(row => [...row.cells].map(cell => cell.textContent))""",
        [3, REPORT],
    )
    assert [row[0] for row in rows] == ["Exclusivity", "Flicker", "Motion follow"]
    assert rows[1][1:] == [
        "0.00",
        "grey levels of 255 that the edit adds from frame to frame; best is 0",
    ]
    for width in (340, 160):  # of the node
        canvas.evaluate(
            "w => { const n = app.graph.getNodeById(3); n.setSize([w, n.size[1]]) }", width
        )
        canvas.wait_until(
            f"given => {{ const b = ({BOX})(given); return b.scrollWidth <= b.clientWidth }}",
            [3, REPORT],
            "the table to fit into the node's width",
        )
    assert (
        canvas.evaluate(f"given => getComputedStyle(({BOX})(given)).overflowY", [3, REPORT])
        == "auto"
    )
    assert canvas.errors == []


def test_a_report_is_never_markup(canvas):
    """A file may be named as it likes."""
    canvas.open_api({"1": plan_of(embedded.DIT.name)})
    canvas.evaluate(
        """() => app.graph.getNodeById(1).onExecuted(
            { sama_report: ["<img src=x onerror=alert(1)>  <b>a</b>  c\\nd  e  f"] })"""
    )
    assert "<img src=x onerror=alert(1)>" in text_of(canvas, 1)
    assert (
        canvas.evaluate(f"given => ({BOX})(given).querySelectorAll('img, b').length", [1, REPORT])
        == 0
    )


def test_a_refusal_stands_on_its_node_until_something_is_changed(either_canvas):
    """First a value that ComfyUI does not take, then an error of the run itself."""
    canvas = either_canvas
    canvas.open_api({"1": plan_of("no such file.safetensors")})
    before = canvas.evaluate("() => app.graph.getNodeById(1).size[1]")
    canvas.evaluate("() => { app.queuePrompt(0) }")
    canvas.wait_until(f"given => ({TEXT})(given)", [1, REFUSAL], "the refusal on the node")
    assert "'no such file.safetensors'" in text_of(canvas, 1, REFUSAL)
    is_drawn = f"given => {{ const [w, h] = ({DRAWN})(given); return w > 100 && h > 30 }}"
    canvas.wait_until(is_drawn, [1, REFUSAL], "the refusal to be drawn")
    canvas.evaluate(
        "name => { app.graph.getNodeById(1).widgets[0].value = name }",
        embedded.DIT.name,
    )
    canvas.wait_until(f"given => !({BOX})(given)", [1, REFUSAL], "the refusal to go")
    canvas.wait_until("height => Math.abs(app.graph.getNodeById(1).size[1] - height) < 2", before)


REMARK = """SAMA: SAMA-Shapes does not know: cowboy, hat, on, horse. It knows the shapes circle,
square, triangle, star, cross, ring; its colours, backgrounds and styles are listed in its docs."""
HIDDEN = """() => {
    const [text] = document.querySelectorAll(".dom-widget .break-all")
    const box = text?.closest(".overflow-y-auto")
    return box ? box.scrollHeight - box.clientHeight : null
}"""
"""Pixels of a remark that have to be scrolled."""


def test_a_refusal_leaves_the_remark_above_it_whole(canvas):
    inputs = {"instruction": "put a cowboy hat on the horse", "fit": "stretch"}
    canvas.open_api({"1": {"class_type": "SAMAEditWholeVideo", "inputs": inputs}})
    canvas.evaluate("() => app.graph.getNodeById(1).setSize([310, 800])")
    said = {"nodeId": "1", "text": REMARK.replace("\n", " ")}
    canvas.evaluate("said => app.api.dispatchCustomEvent('progress_text', said)", said)
    canvas.wait_until(f"() => ({HIDDEN})() === 0", what="a remark that is whole")
    error = {"node_id": "1", "node_type": "SAMAEditWholeVideo", "exception_message": "no " * 40}
    canvas.evaluate("error => app.api.dispatchCustomEvent('execution_error', error)", error)
    canvas.wait_until(f"given => ({TEXT})(given)", [1, REFUSAL], "the refusal on the node")
    canvas.rest(500)  # room is shared out
    assert canvas.evaluate(HIDDEN) == 0


def test_a_failed_run_is_explained_on_its_node(either_canvas):
    """Two clips of different lengths: the error's advice, until the next run."""
    canvas = either_canvas
    graph = scores()
    graph["2"]["inputs"]["batch_size"] = 2
    canvas.open_api(graph)
    assert canvas.queue_and_wait()["status"]["status_str"] == "error"
    canvas.wait_until(f"given => ({TEXT})(given)", [3, REFUSAL], "the error on the node")
    assert text_of(canvas, 3, REFUSAL).startswith("edited frames: got 2, needs 3, as many as the ")
    canvas.evaluate(
        "() => { app.graph.getNodeById(2).widgets.find(w => w.name === 'batch_size').value = 3 }"
    )
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    canvas.wait_until(f"given => !({BOX})(given)", [3, REFUSAL], "the error to go")


DRAFT = """text => Object.entries(localStorage).some(
    ([name, value]) => name.startsWith("Comfy.Workflow.Draft.") && value.includes(text))"""


def test_a_report_is_there_when_the_page_is_loaded_again(canvas, comfy_server):
    """ComfyUI opens the draft that it keeps of a workflow, and nothing has run since."""
    canvas.evaluate("() => app.extensionManager.setting.set('Comfy.Workflow.Persist', true)")
    try:
        canvas.open_api({"1": plan_of(embedded.DIT.name)})
        canvas.queue_and_wait()
        canvas.wait_until(DRAFT, "it fits", "the draft to be saved")
        canvas.reload()
        shown = f"given => app.graph.getNodeById(1) && ({TEXT})(given).includes('it fits')"
        canvas.wait_until(shown, [1, REPORT], "the report after the reload")
    finally:
        comfy_server.save_settings(Comfy__Workflow__Persist=False)
