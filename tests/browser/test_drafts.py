"""SAMA Drafts on the canvas: drawn as they come, picked by a click, found again after a reload."""

import uuid
from fractions import Fraction

import pytest

from sama_core import embedded

from ..harness.held_runs import hold
from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip

RED, BLUE = "make the circle red", "make the circle blue"
NODE = "6"
EVENT = "sama.drafts"
SOME = 6
"""Messages of a run that is held when it has drawn some drafts: of the empty sheet, and of each."""
GATHER = """() => {
    window.drawn = []
    const node = app.graph.getNodeById(6)
    const sheet = node.widgets.find(widget => widget.name === "sheet").element
    const look = () => window.drawn.push(sheet.querySelectorAll("button img").length)
    new MutationObserver(look).observe(sheet, { childList: true, subtree: true })
}"""
SHEET = """() => {
    const node = app.graph.getNodeById(6)
    const sheet = node.widgets.find(widget => widget.name === "sheet").element
    const text = part => sheet.querySelector(`.sama-drafts-${part}`).textContent
    const drafts = [...sheet.querySelectorAll("button")]
    return {
        bands: [...sheet.querySelectorAll("h4")].map(title => title.textContent),
        labels: drafts.map(draft => draft.textContent),
        pictures: [...sheet.querySelectorAll("button img")].filter(i => i.naturalWidth).length,
        loading: [...sheet.querySelectorAll("button img")].filter(i => !i.complete).length,
        picked: drafts.map(draft => draft.getAttribute("aria-pressed") === "true"),
        visible: sheet.getBoundingClientRect().height > 100,
        choice: text("choice"), message: text("message"), costs: text("costs"),
    }
}"""
HEIGHT = """() => document.querySelector("[data-node-id='6']")?.getBoundingClientRect().height
    ?? app.graph.getNodeById(6).size[1]"""
SET = """([name, value]) => {
    app.graph.getNodeById(6).widgets.find(widget => widget.name === name).value = value
}"""

PICK_IS_SEEN = """() => {
    const boxOf = (what) => document.querySelector(what).getBoundingClientRect()
    const [sheet, pick] = [".sama-drafts", '.sama-drafts [aria-pressed="true"]'].map(boxOf)
    return pick.top < sheet.bottom && pick.bottom > sheet.top && sheet.height > 0
}"""


def graph(**changes) -> dict:
    """Loaders, a clip of 5 frames and the drafts, in API format."""
    parts = {"model": ["1", 0], "clip": ["2", 0], "vae": ["3", 0], "frames": ["5", 0]}
    lists = {"instructions": f"{RED}\n{BLUE}", "seeds": "1-3", "anchor_frames": "0"}
    sampling = {"steps": 4, "cfg": 1.0, "shift": 5.0, "sampler_name": "euler"}
    source = {"video": ["4", 0], "frames": 5, "start": 0, "stride": 1, "area": 4096, "fps": 24.0}
    nodes = {
        "1": ("SAMALoadModel", {"model_name": embedded.DIT.name, "weight_dtype": "default"}),
        "2": ("SAMALoadTextEncoder", {"text_encoder_name": embedded.TEXT_ENCODER.name}),
        "3": ("SAMALoadVAE", {"vae_name": embedded.VAE.name}),
        "4": ("LoadVideo", {"file": "drafts.mp4"}),
        "5": ("SAMASourceVideo", source),
        NODE: (
            "SAMADrafts",
            {
                **parts,
                **lists,
                **sampling,
                "edit_tag": True,
                "tiling": "automatic",
                "pick": "",
                **changes,
            },
        ),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


@pytest.fixture
def clip(comfy_server):
    write_clip(comfy_server.base / "input" / "drafts.mp4", moving_shapes(5, 64, 64), Fraction(12))


def click(canvas, number: int) -> None:
    """Click a draft, as a pointer does."""
    canvas.evaluate(
        """number => {
            const node = app.graph.getNodeById(6)
            const sheet = node.widgets.find(widget => widget.name === "sheet").element
            sheet.querySelectorAll("button")[number].click()
        }""",
        number,
    )


def test_drafts_are_drawn_picked_and_found_again(either_canvas, clip, request):
    # Seeds of its own for either style: the server keeps the drafts of the first one.
    seeds = [4, 5, 6] if request.node.callspec.params["either_canvas"] else [1, 2, 3]
    canvas = either_canvas
    canvas.open_api(graph(seeds=f"{seeds[0]}-{seeds[2]}"))
    canvas.evaluate(GATHER)
    (state,) = canvas.queue_and_wait()["outputs"][NODE]["sama_drafts"]
    canvas.wait_until(f"() => ({SHEET})().pictures === 6", what="six drafts with pictures")
    # One after the other; a page that was busy may have seen two at once.
    seen = canvas.evaluate("() => window.drawn")
    assert len(set(seen) & {1, 2, 3, 4, 5}) >= 2, seen
    shown = canvas.evaluate(SHEET)
    assert shown["bands"] == [f"{RED} · frame 0", f"{BLUE} · frame 0"]
    assert shown["labels"] == [f"seed {seed}" for seed in 2 * seeds]
    assert shown["picked"] == [False] * 6 and shown["visible"]
    assert (
        shown["choice"] == f"Nothing is picked: the first draft counts, seed {seeds[0]}, “{RED}”."
    )
    assert shown["costs"] == "\n".join(state["costs"]) and shown["message"] == ""

    canvas.move_and_undo()
    back = f"() => ({SHEET})().visible && ({SHEET})().pictures === 6"
    canvas.wait_until(back, what="the new node's sheet on the page")
    canvas.fit()
    before = canvas.evaluate(HEIGHT)
    canvas.evaluate("() => { document.querySelector('.sama-drafts-bands').style.zoom = 3 }")
    canvas.rest(500)
    assert abs(canvas.evaluate(HEIGHT) - before) < 2  # a long sheet scrolls
    click(canvas, 4)
    assert canvas.evaluate(PICK_IS_SEEN)
    assert canvas.prompt()[NODE]["inputs"]["pick"] == f"{seeds[1]}: {BLUE}"
    entry = canvas.queue_and_wait()
    (again,) = entry["outputs"][NODE]["sama_drafts"]
    assert again["costs"][0] == "6 drafts, 6 of them kept from before: nothing to draw."
    assert again["drafts"] == state["drafts"] and again["picked"] == f"{seeds[1]}: {BLUE}"

    saved = canvas.workflow()
    canvas.reload()
    canvas.open_workflow(saved)
    canvas.wait_until(f"() => ({SHEET})().pictures === 6", what="the drafts after a reload")
    shown = canvas.evaluate(SHEET)
    assert shown["picked"] == [False, False, False, False, True, False]
    assert shown["choice"] == f"Picked: seed {seeds[1]}, “{BLUE}”"

    kept = next(node for node in saved["nodes"] if node["type"] == "SAMADrafts")["properties"]
    for draft in kept["sama_drafts"]["drafts"]:
        draft["image"]["filename"] = "of_an_earlier_start.png"
    canvas.open_workflow({**saved, "id": str(uuid.uuid4())})
    canvas.wait_until(
        f"() => ({SHEET})().message.startsWith('Pictures of drafts are temporary')",
        what="a sentence about pictures that are gone",
    )
    assert canvas.evaluate(SHEET)["picked"][4]
    assert [line for line in canvas.errors if "/view?" not in line] == []


def test_a_stopped_run_and_another_workflow_in_between(canvas, clip, comfy_server):
    """64 seeds: the sheet says how many are drawn, and the other workflow's node shows nothing."""
    canvas.open_api(graph(instructions=RED, seeds="101-164"))
    first = {**canvas.workflow(), "id": str(uuid.uuid4())}
    canvas.open_workflow(first)
    with hold(comfy_server.base, EVENT, SOME):
        canvas.evaluate("() => { app.queuePrompt(0) }")
        canvas.wait_until(f"() => ({SHEET})().pictures >= 2", what="two drafts")
        other = {**first, "id": str(uuid.uuid4())}
        canvas.open_workflow(other)
        assert canvas.evaluate(SHEET)["labels"] == []
        canvas.open_workflow(first)
        canvas.wait_until(
            f"() => ({SHEET})().pictures >= 3", what="the drafts of the first workflow"
        )
        canvas.evaluate("() => { app.api.interrupt() }")
        canvas.wait_until(
            f"() => ({SHEET})().message.startsWith('Stopped: ')", what="the sheet to say it stopped"
        )
    canvas.wait_until(f"() => !({SHEET})().loading", what="the pictures of all drafts")
    shown = canvas.evaluate(SHEET)
    drawn = shown["pictures"]
    assert 3 <= drawn < 64 and len(shown["labels"]) == 64
    assert shown["message"] == (
        f"Stopped: {drawn} of 64 drafts are drawn. Another run draws only the others."
    )
    canvas.evaluate(SET, ["seeds", "101-103"])
    (state,) = canvas.queue_and_wait()["outputs"][NODE]["sama_drafts"]
    assert state["costs"][0] == "3 drafts, 3 of them kept from before: nothing to draw."
    assert canvas.errors == []


@pytest.mark.parametrize("forgotten", [False, True], ids=["interrupted", "started again"])
def test_a_run_that_ended_while_the_connection_was_lost(
    either_canvas, clip, comfy_server, forgotten, request
):
    """A ComfyUI that was started again knows nothing of the run; the sheet can be drawn again."""
    canvas, client = either_canvas, comfy_server.client
    first = 1000 * (1 + request.node.callspec.indices["either_canvas"]) + 100 * forgotten
    canvas.open_api(graph(instructions=RED, seeds=f"{first}-{first + 63}"))
    with hold(comfy_server.base, EVENT, SOME):
        canvas.evaluate("() => { app.queuePrompt(0) }")
        canvas.wait_until(f"() => ({SHEET})().pictures >= 2", what="two drafts")
        canvas.cut_connection()
        canvas.wait_until(
            f"() => ({SHEET})().message.startsWith('ComfyUI does not answer: ')",
            what="that it is away",
        )
        canvas.evaluate("() => app.api.interrupt()")
        comfy_server.wait_idle()
    if forgotten:
        client._request("/history", b'{"clear": true}', {"Content-Type": "application/json"})
    canvas.join()
    word = "ComfyUI was started again" if forgotten else "Stopped"
    canvas.wait_until(f"() => ({SHEET})().message.startsWith('{word}: ')", what="how it ended")
    canvas.evaluate(SET, ["seeds", f"{first}-{first + 1}"])
    canvas.queue_and_wait()
    canvas.wait_until(f"() => ({SHEET})().pictures === 2", what="both drafts")
    assert canvas.evaluate(SHEET)["message"] == ""


def test_a_list_that_cannot_be_is_refused_once_on_the_node(canvas, clip):
    """ComfyUI gives the node's own check once for each of its three lists."""
    canvas.open_api(graph(seeds="1, two"))
    canvas.evaluate("() => { app.queuePrompt(0) }")
    refusal = "app.graph.getNodeById(6).widgets.find(w => w.name === 'sama_refusal')?.element"
    canvas.wait_until(f"() => {refusal}?.innerText", what="the refusal on the node")
    assert canvas.evaluate(f"() => {refusal}.innerText") == (
        "seeds: got “two”, needs a list such as 1, 5, 7-9. Write numbers and ranges, separated by "
        "commas."
    )


def test_a_spoiled_sheet_does_not_keep_a_workflow_from_opening(canvas, clip):
    canvas.open_api(graph())
    saved = canvas.workflow()
    for spoiled in (5, {}, {"drafts": []}, {"drafts": [None]}, {"drafts": [{"pick": "1: a"}]}):
        for node in saved["nodes"]:
            node["properties"]["sama_drafts"] = spoiled
        canvas.open_workflow({**saved, "id": str(uuid.uuid4())})
        shown = canvas.evaluate(SHEET)
        assert shown["labels"] == [] and shown["message"].startswith("Drafts appear here")
        assert len(canvas.workflow()["nodes"]) == len(saved["nodes"])
        assert canvas.errors == []
