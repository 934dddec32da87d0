"""SAMA Compare's player on the real canvas: exact frames, views, keys, and nothing left behind."""

import json
from fractions import Fraction

import pytest
import torch

from ..harness.browser import open_canvas
from ..harness.numbered_clips import numbered_picture
from ..harness.write_clip import write_clip

COUNT = 17
EDIT = 100
"""The number of the edit's first picture; the source begins with 0."""
STAGE = ".sama-compare-stage"
PLAYERS = """async () => {
    const scripts = await app.api.getExtensions()
    const player = scripts.find(path => path.endsWith("/compare/player.js"))
    window.players = (await import(app.api.fileURL(player))).players
    return window.players.size
}"""
READY = "() => [...players].some(player => player.film?.ready)"
SHOWN = """() => {
    const [player] = players
    const { canvas } = player.controls
    const pen = canvas.getContext("2d")
    const read = left => [0, 1, 2, 3, 4, 5, 6, 7].reduce((number, place) =>
        2 * number + (pen.getImageData(left + 4 + 8 * place, 4, 1, 1).data[0] > 128), 0)
    return [player.film.index, read(0), canvas.width > 64 ? read(canvas.width - 64) : null]
}"""
STILL = (
    "([frame]) => { const [p] = players; return p.film.index === frame && !p.film.video.seeking }"
)
WATCH = f"""() => {{
    const [player] = players
    window.pairs = []
    const draw = player.draw.bind(player)
    player.draw = () => {{ draw(); pairs.push(({SHOWN})()) }}
}}"""

ARRIVED = "() => { const [{ film }] = players; return film.wanted === null && !film.video.seeking }"
PLAYED = "() => new Set(pairs.map(([, source]) => source)).size"
"""How many different frames were drawn: a busy computer leaves some out each time."""


@pytest.fixture(scope="module")
def clips(comfy_server):
    """Two clips of pictures that carry their numbers; the source has sound."""
    wave = 0.1 * torch.sin(torch.linspace(0, 4000, 24_000))
    audio = {"waveform": wave[None, None], "sample_rate": 16_000}
    for name, first, sound in (("source", 0, audio), ("edit", EDIT, None)):
        pictures = (numbered_picture(first + number) for number in range(COUNT))
        path = comfy_server.base / "input" / f"numbered_{name}.mp4"
        write_clip(path, pictures, Fraction(12), sound)


GRAPH = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "numbered_source.mp4"}},
    "2": {"class_type": "LoadVideo", "inputs": {"file": "numbered_edit.mp4"}},
    "3": {
        "class_type": "SAMACompare",
        "inputs": {
            "edit": ["2", 0],
            "source": ["1", 0],
            "layout": "side by side",
            "position": 0.5,
            "fps": 0.0,
        },
    },
}


def graph_with(**inputs):
    """The graph with other inputs of SAMA Compare."""
    node = GRAPH["3"]
    return {**GRAPH, "3": {**node, "inputs": {**node["inputs"], **inputs}}}


def compare(canvas):
    """Run the graph, and wait for the player to show its film."""
    canvas.open_api(GRAPH)
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    wait_for_film(canvas)
    canvas.fit()


def wait_for_film(canvas):
    canvas.evaluate(PLAYERS)
    canvas.wait_until(READY, what="the film in the player")


def press(canvas, key, frame=None):
    """Press a key in the player; wait until it shows the frame."""
    canvas.page.locator(STAGE).focus()
    canvas.page.keyboard.press(key)
    if frame is not None:
        canvas.wait_until(STILL, [frame], f"frame {frame}")


def readout(canvas):
    return canvas.page.locator(".sama-compare-readout").text_content()


def test_every_frame_is_shown_beside_its_own(clips, either_canvas):
    """Stepped forward, and while it plays: source i and edit i, never another."""
    canvas = either_canvas
    compare(canvas)
    canvas.page.get_by_role("button", name="Show as: Side by side").click()
    assert canvas.evaluate(SHOWN) == [0, 0, EDIT]
    for frame in range(1, COUNT):
        press(canvas, "ArrowRight", frame)
        assert canvas.evaluate(SHOWN) == [frame, frame, EDIT + frame]
    assert readout(canvas) == "frame 16 / 16 · 1.333 s"
    press(canvas, "ArrowRight", 0)  # it loops
    press(canvas, "ArrowLeft", 16)
    press(canvas, "Home", 0)
    canvas.page.locator(".sama-compare input[type=range]").fill("7")
    canvas.wait_until(STILL, [7])
    assert canvas.evaluate(SHOWN) == [7, 7, EDIT + 7]
    canvas.evaluate(WATCH)
    press(canvas, " ")
    canvas.wait_until(f"() => pairs.length > 30 && ({PLAYED})() > 8", what="30 frames played")
    press(canvas, " ")
    pairs = canvas.evaluate("() => pairs")
    assert {edit - source for _, source, edit in pairs} == {EDIT}
    canvas.wait_until(ARRIVED, what="the frame at which it stopped")
    frame, source, edit = canvas.evaluate(SHOWN)
    assert (source, edit) == (frame, EDIT + frame)
    assert canvas.errors == []


def test_views_keys_and_the_large_view(clips, either_canvas):
    canvas = either_canvas
    compare(canvas)
    page, stage = canvas.page, canvas.page.locator(STAGE)
    shown = "() => { const [p] = players; return [p.view.mode, Math.round(100 * p.view.wipe)] }"
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=4)
    assert canvas.evaluate(SHOWN)[1] == 0  # all of it is the source
    page.mouse.up()
    assert canvas.evaluate(shown) == ["wipe", 100]
    for _ in range(60):
        page.keyboard.press("[")
    assert canvas.evaluate(shown) == ["wipe", 0] and canvas.evaluate(SHOWN)[1] == EDIT
    page.keyboard.down("f")
    assert canvas.evaluate(SHOWN)[1] == 0
    page.keyboard.up("f")
    assert canvas.evaluate(SHOWN)[1] == EDIT
    press(canvas, "4")
    assert canvas.evaluate(SHOWN)[1] == EDIT
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    assert canvas.evaluate(SHOWN)[1] == 0
    page.mouse.up()
    press(canvas, "3")
    # Numbers 0 and 100 differ in the bits of 64, 32 and 4, and in nothing below them.
    assert canvas.evaluate(SHOWN)[1] == EDIT
    assert page.locator(".sama-compare-legend").is_visible()
    press(canvas, "1")
    page.keyboard.press("e")
    dialog = page.locator("dialog.sama-compare-dialog")
    assert dialog.is_visible() and dialog.locator(STAGE).bounding_box()["width"] > 1200
    page.keyboard.press("ArrowRight")
    canvas.wait_until(STILL, [1])
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert canvas.evaluate("() => [...players][0].element.closest('dialog')") is None
    assert canvas.page.locator(STAGE).is_visible()
    for key in ("Delete", "Backspace", "Control+a", "Control+c", "Control+v", "Control+m", "m"):
        press(canvas, key)
    nodes = canvas.workflow()["nodes"]
    assert [node["mode"] for node in nodes] == [0, 0, 0]
    assert canvas.errors == []


def test_the_sound_follows_the_picture(clips, canvas):
    compare(canvas)
    sound = canvas.page.get_by_label("Sound", exact=True)
    assert sound.locator("option[value=edit]").is_disabled()
    sound.select_option("source")
    press(canvas, "Home", 0)
    press(canvas, " ")
    canvas.wait_until(
        """() => {
            const [{ sound: { audio }, film: { video } }] = players
            const apart = Math.abs(audio.currentTime - video.currentTime)
            return !audio.paused && audio.currentTime > 0.2 && apart < 0.1
        }""",
        what="the sound to play in step",
    )
    press(canvas, " ")
    canvas.wait_until("() => [...players][0].sound.audio.paused")
    press(canvas, "s")
    assert canvas.evaluate("() => [...players][0].sound.audio") is None
    assert canvas.errors == []


def test_the_view_stays_and_a_lost_film_says_so(clips, either_canvas, comfy_server):
    """After the page is loaded again; then with its temporary file gone."""
    canvas = either_canvas
    compare(canvas)
    press(canvas, "2")
    press(canvas, "l")
    workflow = canvas.workflow()
    canvas.open_workflow(json.loads(json.dumps(workflow)))
    wait_for_film(canvas)
    assert canvas.evaluate("() => players.size") == 1
    view = canvas.evaluate("() => [...players][0].view")
    assert view == {"mode": "side", "wipe": 0.5, "sound": "none", "loop": False, "speed": 1}
    canvas.wait_until("() => [...players][0].controls.canvas.width > 64")
    assert canvas.evaluate(SHOWN) == [0, 0, EDIT]
    (saved,) = (node for node in workflow["nodes"] if node["type"] == "SAMACompare")
    film = saved["properties"]["sama_compare"]["film"]
    (comfy_server.base / "temp" / film["subfolder"] / film["filename"]).unlink()
    canvas.open_workflow(workflow)
    message = canvas.page.locator(".sama-compare-message")
    message.get_by_text("Run the graph again to see it.").wait_for()
    assert canvas.queue_and_wait()["status"]["status_str"] == "success"
    wait_for_film(canvas)
    assert message.is_hidden()


def test_undo_leaves_the_film_in_the_player(clips, either_canvas):
    canvas = either_canvas
    compare(canvas)
    canvas.move_and_undo()
    canvas.page.locator(STAGE).wait_for()
    wait_for_film(canvas)
    assert canvas.evaluate("() => players.size") == 1
    press(canvas, "2")
    press(canvas, "ArrowRight", 1)
    assert canvas.evaluate(SHOWN) == [1, 1, EDIT + 1]
    assert canvas.errors == []


def test_nothing_is_left_when_the_node_goes_while_it_plays(clips, either_canvas):
    canvas = either_canvas
    compare(canvas)
    canvas.evaluate(
        """() => {
            const [player] = players
            window.gone = { video: player.film.video, frames: 0, attached: player.attached.signal }
            const draw = player.draw.bind(player)
            player.draw = () => { gone.frames += 1; draw() }
        }"""
    )
    press(canvas, " ")
    canvas.wait_until("() => gone.frames > 3", what="the film to play")
    canvas.evaluate(
        "() => app.graph.remove(app.graph.nodes.find(n => n.comfyClass === 'SAMACompare'))"
    )
    left = canvas.evaluate(
        """async () => {
            const { video } = gone, { frames } = gone
            await new Promise(done => setTimeout(done, 500))
            return { players: players.size, src: video.getAttribute("src"), paused: video.paused,
                network: video.networkState, frames: gone.frames - frames,
                listening: !gone.attached.aborted,
                elements: document.querySelectorAll(".sama-compare, .sama-compare-dialog").length }
        }"""
    )
    assert left == {
        "players": 0,
        "src": None,
        "paused": True,
        "network": 0,
        "frames": 0,
        "listening": False,
        "elements": 0,
    }
    assert canvas.errors == []


def test_a_hidden_tab_pauses_and_goes_on(clips, canvas):
    compare(canvas)
    press(canvas, " ")
    playing = "() => [...players][0].film.playing"
    canvas.wait_until(playing)
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden })
        document.dispatchEvent(new Event("visibilitychange"))
    }"""
    canvas.evaluate(hide, True)
    canvas.wait_until("() => ![...players][0].film.playing")
    canvas.evaluate(hide, False)
    canvas.wait_until(playing)
    press(canvas, " ")
    canvas.evaluate(hide, True)
    canvas.evaluate(hide, False)
    canvas.rest(100)
    assert canvas.evaluate(playing) is False  # what was paused stays so


def test_two_tabs_do_not_disturb_each_other(clips, canvas, browser, comfy_server):
    compare(canvas)
    press(canvas, "2")
    press(canvas, "ArrowRight", 1)
    with open_canvas(browser, comfy_server) as second:
        second.open_api(graph_with(fps=7.0))
        assert second.queue_and_wait()["status"]["status_str"] == "success"
        wait_for_film(second)
        press(second, "End", 16)
        assert canvas.evaluate(SHOWN) == [1, 1, EDIT + 1]
        film = "() => [...players][0].film.data.filename"
        assert canvas.evaluate(film) != second.evaluate(film)
    press(canvas, "ArrowRight", 2)
    assert canvas.evaluate(SHOWN) == [2, 2, EDIT + 2]


INTO_A_SUBGRAPH = """() => {
    const node = app.graph.nodes.find(node => node.comfyClass === "SAMACompare")
    window.outside = app.graph.convertToSubgraph(new Set([node])).node
    app.queuePrompt(0)
}"""


def test_it_plays_in_a_subgraph_and_stops_when_that_is_left(clips, either_canvas):
    canvas = either_canvas
    canvas.open_api(GRAPH)
    canvas.evaluate(INTO_A_SUBGRAPH)
    wait_for_film(canvas)
    canvas.evaluate("() => app.canvas.openSubgraph(outside.subgraph, outside)")
    canvas.page.locator(STAGE).wait_for()
    canvas.fit()
    press(canvas, "2")
    press(canvas, "ArrowRight", 1)
    assert canvas.evaluate(SHOWN) == [1, 1, EDIT + 1]
    press(canvas, " ")
    canvas.wait_until("() => [...players][0].film.playing")
    canvas.evaluate("() => app.canvas.setGraph(app.rootGraph)")
    canvas.wait_until("() => ![...players][0].film.playing", what="the player to stop")
    workflow = canvas.workflow()
    inner = workflow["definitions"]["subgraphs"][0]["nodes"]
    (saved,) = (node["properties"]["sama_compare"] for node in inner)
    assert saved["view"]["mode"] == "side" and saved["film"]["count"] == COUNT
    assert canvas.errors == []


def test_it_plays_in_app_mode(clips, canvas):
    """The player among the app's inputs, and its film as the app's output."""
    canvas.open_api(graph_with(fps=5.0))  # ComfyUI has not run it yet
    workflow = canvas.workflow()
    (node,) = (node["id"] for node in workflow["nodes"] if node["type"] == "SAMACompare")
    app = {"inputs": [[node, "comparison"]], "outputs": [node]}
    workflow["extra"] = {**workflow.get("extra", {}), "linearMode": True, "linearData": app}
    canvas.open_workflow(workflow)
    canvas.evaluate("() => { app.queuePrompt(0) }")
    wait_for_film(canvas)
    press(canvas, "2")
    press(canvas, "ArrowRight", 1)
    assert canvas.evaluate(SHOWN) == [1, 1, EDIT + 1]
    film = canvas.evaluate("() => [...players][0].film.data.filename")
    canvas.page.locator(f"video[src*='{film}'], video source[src*='{film}']").first.wait_for()
    assert canvas.errors == []
