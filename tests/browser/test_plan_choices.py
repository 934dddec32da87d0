"""What is finished in some minutes stands in SAMA Plan, and a click copies it to the edit."""

import json
import shutil

from sama_core import embedded

from ..harness.imports import REPO_ROOT

PLAN = 50
BOX = "id => app.graph.getNodeById(id).samaReport"
ROWS = f"""id => [...({BOX})(id).querySelectorAll(".sama-choices > button")].map(
    button => button.textContent + ": " + button.nextElementSibling.textContent)"""
CLICK = f"""([id, name]) => [...({BOX})(id).querySelectorAll(".sama-choices button")]
    .find(button => button.textContent === name).click()"""
SAID = f"""id => [...({BOX})(id).querySelector(".sama-said").children].map(
    line => line.textContent)"""
VALUES = """([id, names]) => names.map(
    name => app.graph.getNodeById(id).widgets.find(widget => widget.name === name).value)"""
SEEN = f"""id => {{
    const box = ({BOX})(id), all = box.getBoundingClientRect()
    const said = box.querySelector(".sama-said").getBoundingClientRect()
    return said.height > 0 && said.top >= all.top && said.bottom <= all.bottom
}}"""
SET = """([id, values]) => Object.entries(values).forEach(([name, value]) => {
    app.graph.getNodeById(id).widgets.find(widget => widget.name === name).value = value
})"""
GIVE = """([id, choice]) => app.graph.getNodeById(id).onExecuted(
    { sama_report: ["a report"], sama_choices: [choice] })"""
LINK = """([from, to, name]) => {
    const [origin, target] = [from, to].map(id => app.graph.getNodeById(id))
    origin.connect(0, target, target.inputs.findIndex(input => input.name === name))
}"""
LONG = {
    "name": "Full",
    "model": "sama_14b_ema.safetensors",
    "says": "400 frames of 640x384, in 6 segments of 81, 6 steps, cfg 1",
    "time": "5 to 9 min",
    "frames": 400,
    "area": 245760,
    "steps": 6,
    "cfg": 1.0,
    "segment_frames": 65,
    "segments": 8,
    "weight_dtype": "fp8_e4m3fn",
    "file": "",
    "lora": True,
}


def open_edit(canvas, server, **others) -> dict[str, int]:
    """A graph up to SAMA Edit, and a plan of it; the ids of its nodes by their classes."""
    shutil.copy(embedded.CLIP, server.base / "input" / embedded.CLIP.name)
    graph = json.loads((REPO_ROOT / "workflows/api/region_edit.json").read_text())
    loaders = ("SAMALoadModel", "SAMALoadTextEncoder", "SAMALoadVAE", "LoadVideo")
    kept = (*loaders, "SAMASourceVideo", "SAMAEdit")
    graph = {key: node for key, node in graph.items() if node["class_type"] in kept}
    next(node for node in graph.values() if node["class_type"] == "SAMAEdit")["inputs"].pop("mask")
    size = {"frames": 81, "width": 832, "height": 480, "steps": 0, "cfg": -1}
    inputs = {"model_name": embedded.DIT.name, "weight_dtype": "default", **size}
    inputs |= {"minutes": 0.1, "card": "RTX 4090 24 GB"}
    graph[str(PLAN)] = {"class_type": "SAMAPlan", "inputs": inputs}
    canvas.open_api(graph | others)
    return {node["class_type"]: int(key) for key, node in graph.items()}


def test_a_click_copies_a_choice_to_the_edit(either_canvas, comfy_server):
    """Times are those of an RTX 4090, which needs no such card; the edit itself does not run."""
    canvas = either_canvas
    nodes = open_edit(canvas, comfy_server)
    entry = canvas.queue_and_wait()
    assert canvas.evaluate(ROWS, PLAN) == [
        "Use full: 81 frames of 832x480, 5 steps, cfg 1.3; 2.8 to 4.7 s",
        "Use middle: 81 frames of 704x416, 4 steps, cfg 1.3; 1.2 to 2.1 s",
        "Use draft: 81 frames of 512x320, 4 steps, cfg 1.3; 0.39 to 0.67 s",
    ]
    assert "\nMiddle: 81 frames of 704x416, 4 steps" in entry["outputs"][str(PLAN)]["text"][0]
    canvas.fit()
    canvas.page.get_by_role("button", name="Use middle").click()
    edit, source = nodes["SAMAEdit"], nodes["SAMASourceVideo"]
    assert canvas.evaluate(SAID, PLAN) == [
        f"Copied to SAMA Edit ({edit}): steps 4, cfg 1.3.",
        f"Copied to SAMA Source Video ({source}): frames 81, area 292864.",
    ]
    assert canvas.evaluate(VALUES, [edit, ["steps", "cfg"]]) == [4, 1.3]
    canvas.wait_until(SEEN, PLAN, "what was copied to be seen")
    prompt = canvas.prompt()
    assert prompt[str(source)]["inputs"]["area"] == 292864
    assert prompt[str(edit)]["inputs"]["steps"] == 4
    saved = canvas.workflow()
    canvas.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")
    canvas.wait_until(f"given => ({VALUES})(given)[0] === 0", [edit, ["steps"]], "the undo")
    canvas.evaluate("() => app.graph.clear()")
    canvas.open_workflow(saved)
    canvas.wait_until(f"id => ({ROWS})(id).length === 3", PLAN, "the choices of the saved plan")
    assert canvas.errors == []


def test_what_a_click_cannot_do_is_said(canvas, comfy_server):
    """Two edits, one of them for whole videos; a step-distilled LoRA that is not there; a link."""
    whole = {"class_type": "SAMAEditWholeVideo", "inputs": {"model": ["1", 0], "video": ["4", 0]}}
    number = {"class_type": "PrimitiveInt", "inputs": {"value": 3}}
    nodes = open_edit(canvas, comfy_server, **{"60": whole, "61": number})
    edit, loader = nodes["SAMAEdit"], nodes["SAMALoadModel"]
    canvas.evaluate(LINK, [61, 60, "steps"])
    canvas.evaluate(GIVE, [PLAN, LONG])
    canvas.evaluate(CLICK, [PLAN, "Use full"])
    canvas.evaluate(CLICK, [PLAN, f"SAMA Edit ({edit})"])
    assert canvas.evaluate(SAID, PLAN) == [
        (
            f"Nothing is copied: SAMA Edit ({edit}) takes all frames at once, and these are 8 "
            "segments. Use SAMA Edit Whole Video."
        )
    ]
    canvas.evaluate(CLICK, [PLAN, "Use full"])
    canvas.evaluate(CLICK, [PLAN, "SAMA Edit Whole Video (60)"])
    assert canvas.evaluate(SAID, PLAN) == [
        "Copied to SAMA Edit Whole Video (60): cfg 1, segment_frames 65, frames 400, area 245760.",
        f"Copied to Load SAMA Model ({loader}): weight_dtype fp8_e4m3fn.",
        "Set by hand: steps 6, where SAMA Edit Whole Video (60) has it from.",
        (
            f"The plan is for sama_14b_ema.safetensors, but Load SAMA Model ({loader}) loads "
            "sama_shapes.safetensors."
        ),
        (
            "Now connect Load SAMA LoRA with a step-distilled LoRA between the model and SAMA Edit "
            "Whole Video (60): without it so few steps give a poor edit."
        ),
    ]
    assert canvas.evaluate(VALUES, [60, ["cfg", "frames", "area"]]) == [1, 400, 245760]
    assert canvas.evaluate(VALUES, [loader, ["weight_dtype"]]) == ["fp8_e4m3fn"]
    canvas.evaluate(GIVE, [PLAN, LONG | {"weight_dtype": "default"}])
    canvas.evaluate(CLICK, [PLAN, "Use full"])
    canvas.evaluate(CLICK, [PLAN, "SAMA Edit Whole Video (60)"])
    assert canvas.evaluate(VALUES, [loader, ["weight_dtype"]]) == ["default"]
    canvas.evaluate(SET, [60, {"fit": "keep size", "area": 1024}])
    canvas.evaluate(CLICK, [PLAN, "Use full"])
    canvas.evaluate(CLICK, [PLAN, "SAMA Edit Whole Video (60)"])
    said = canvas.evaluate(SAID, PLAN)
    assert said[0] == "Copied to SAMA Edit Whole Video (60): cfg 1, segment_frames 65, frames 400."
    assert said[1].endswith(
        "; area 245760 and a fit other than keep size in SAMA Edit Whole Video (60), which keeps "
        "the clip's own size now."
    )
    assert canvas.evaluate(VALUES, [60, ["area"]]) == [1024]
    assert canvas.errors == []


ADD_PLAN = """([id, choice]) => {
    const node = LiteGraph.createNode("SAMAPlan")
    node.id = id
    app.graph.add(node)
    node.onExecuted({ sama_report: ["a report"], sama_choices: [choice] })
}"""
INSIDE = """([id, name]) => {
    const edit = app.graph.getNodeById(id).subgraph.nodes.find(node => node.type.includes("Edit"))
    return edit.widgets.find(widget => widget.name === name).value
}"""


def test_an_edit_inside_a_subgraph_takes_a_choice_too(either_canvas):
    """What the subgraph shows is set where it is shown; the rest in the edit itself."""
    canvas, path = either_canvas, REPO_ROOT / "subgraphs" / "Video Edit (SAMA).json"
    blueprint = json.loads(path.read_text(encoding="utf-8"))
    (shown,) = blueprint["nodes"]
    canvas.open_workflow(blueprint)
    canvas.evaluate(ADD_PLAN, [PLAN, LONG | {"frames": 0, "steps": 7, "cfg": 2.5}])
    canvas.evaluate(CLICK, [PLAN, "Use full"])
    said = canvas.evaluate(SAID, PLAN)
    assert said[0] == f"Copied to {shown['title']} ({shown['id']}): steps 7, cfg 2.5, frames 0."
    assert said[1].endswith(": segment_frames 65, area 245760.")
    assert said[2].startswith("Copied to Load SAMA Model (")
    assert said[3].startswith("Now connect Load SAMA LoRA")
    assert canvas.evaluate(VALUES, [shown["id"], ["steps", "cfg"]]) == [7, 2.5]
    assert canvas.evaluate(INSIDE, [shown["id"], "area"]) == 245760
    (edit,) = (node for node in canvas.prompt().values() if "Edit" in node["class_type"])
    taken = {name: edit["inputs"][name] for name in ("steps", "cfg", "segment_frames")}
    assert taken == {"steps": 7, "cfg": 2.5, "segment_frames": 65}
    assert canvas.errors == []
