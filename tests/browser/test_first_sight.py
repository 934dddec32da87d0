"""What one sees of a shipped workflow when it is opened from the template browser: on a laptop's
screen every text is drawn, nothing overlaps, and notes are readable, in both styles of nodes.

The frontend's settings are those of a fresh install.
"""

import pytest

from sama_core.launch.commands.serve import provide_clips

from ..harness.canvas_boxes import BOXES, STEPS, overlaps, settled_boxes, settled_overlaps
from ..harness.server import TestPlaces
from ..workflows.shipped import NAMES, shipped, workflow_path

SCREENS = ({"width": 1366, "height": 768}, {"width": 1440, "height": 900})
LEAST_SCALE = 0.6
"""Text of 14 pixels has 8.4 then. Below 0.571 the frontend draws grey bars instead."""
LEAST_CONTRAST = 4.5
"""Of a text and what is behind it: level AA of WCAG 2."""
OPEN = """async ([workflow, name]) => {
    delete workflow.extra.linearMode
    await app.loadGraphData(workflow, true, true, name, { openSource: "template" })
}"""
DRAWN = """() => {
    const waiting = [...document.querySelectorAll("video")].some(video => !video.readyState)
    const notes = document.querySelectorAll(".comfy-markdown, .comfy-markdown-content")
    const html = document.querySelectorAll("[data-node-id]").length
    return notes.length && !waiting && (!LiteGraph.vueNodesMode || html >= app.graph.nodes.length)
}"""
NOTE = """() => {
    const note = [...document.querySelectorAll(".comfy-markdown, .comfy-markdown-content")].at(-1)
    const node = app.graph.nodes.find(node => node.type === "MarkdownNote")
    const rgb = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = colour => {
        const [r, g, b] = rgb(colour).slice(0, 3).map(level => level / 255)
            .map(level => level <= 0.03928 ? level / 12.92 : ((level + 0.055) / 1.055) ** 2.4)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    const painted = document.createElement("i")
    painted.style.color = node.renderingBgColor
    document.body.append(painted)
    const canvas = getComputedStyle(painted).color
    painted.remove()
    const behind = element => {
        for (; element && LiteGraph.vueNodesMode; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor
            if ((rgb(colour)[3] ?? 1) > 0.5) return colour
        }
        return canvas
    }
    const texts = [...note.querySelectorAll("h1, h2, h3, p, em, strong, a, code, li")]
    return {
        text: note.innerText,
        links: [...note.querySelectorAll("a")].map(link => link.href),
        hidden: Math.max(0, ...texts.map(text => text.getBoundingClientRect().bottom))
            - note.getBoundingClientRect().bottom,
        contrasts: texts.map(text => {
            const both = [light(getComputedStyle(text).color), light(behind(text))].sort()
            return [text.tagName, (both[1] + 0.05) / (both[0] + 0.05)]
        }),
    }
}"""
SCROLLED = """() => {
    const { element } = app.graph.getNodeById(14).widgets.find(w => w.name === "sama_report")
    return element.scrollHeight - element.clientHeight
}"""
"""Pixels of the report on an edited region that have to be scrolled."""
SHEET_SHOWN = """() => LiteGraph.vueNodesMode
    ? document.querySelector("[data-node-id='6'] img")?.naturalWidth
    : app.graph.getNodeById(6).imgs?.[0]?.naturalWidth"""
THEME = "name => app.extensionManager.setting.set('Comfy.ColorPalette', name)"


@pytest.fixture
def laptop(either_canvas, comfy_server):
    """`either_canvas` on the smallest screen, with the pack's clips."""
    provide_clips(TestPlaces(folder=comfy_server.base.parent))
    either_canvas.page.set_viewport_size(SCREENS[0])
    yield either_canvas
    either_canvas.evaluate(THEME, "dark")


def test_every_workflow_is_readable_at_first_sight_and_nothing_overlaps(laptop):
    for name in NAMES:
        for screen in SCREENS:
            laptop.page.set_viewport_size(screen)
            boxes = opened(laptop, name)
            assert not boxes["greyed"] and boxes["scale"] >= LEAST_SCALE, (name, boxes["scale"])
            for node, box in boxes["nodes"].items():
                left, top, width, height = on_screen(box, boxes)
                assert 0 <= left and left + width <= screen["width"], (name, node)
                assert 0 <= top and top + height <= screen["height"], (name, node)
        assert list(overlaps(boxes)) == [], name
        check_note(laptop.evaluate(NOTE), name)


def test_notes_are_readable_in_a_light_theme(laptop):
    laptop.evaluate(THEME, "light")
    opened(laptop, "few_step_edit")
    check_note(laptop.evaluate(NOTE), "few_step_edit")


@pytest.mark.parametrize("name", ["region_edit", "drafts_first"])
def test_results_stay_in_their_groups(laptop, name):
    """Reports, plots and films appear after the run, below what was there."""
    opened(laptop, name)
    laptop.evaluate(STEPS, 1)
    before = laptop.evaluate(BOXES)
    assert laptop.queue_and_wait()["status"]["status_str"] == "success"
    laptop.wait_until_shown(
        9,
        f"before => ({BOXES})().nodes['9 Save Video'][3] > before",
        before["nodes"]["9 Save Video"][3] + 100,
        "the film in Save Video",
    )
    assert settled_overlaps(laptop) == []
    if name == "region_edit":
        laptop.wait_until(f"() => ({SCROLLED})() <= 1", what="the report to be whole")


def test_a_sheet_of_single_frames_stays_in_its_group(laptop):
    opened(laptop, "anchor_preview")
    laptop.evaluate(STEPS, 1)
    assert laptop.queue_and_wait()["status"]["status_str"] == "success"
    laptop.wait_until_shown(6, SHEET_SHOWN, what="the sheet in the node")
    assert settled_overlaps(laptop) == []


def opened(canvas, name: str) -> dict:
    """BOXES of a workflow that was opened as a template."""
    canvas.evaluate(OPEN, [shipped(name), workflow_path(name).stem], "the workflow to be loaded")
    canvas.wait_until(DRAWN, what=f"{name} to be drawn")
    return settled_boxes(canvas)


def on_screen(box: list[float], view: dict) -> list[float]:
    """A box in pixels of the screen."""
    (x, y), scale = view["offset"], view["scale"]
    return [(box[0] + x) * scale, (box[1] + y) * scale, box[2] * scale, box[3] * scale]


def check_note(note: dict, name: str) -> None:
    """All of its text is shown, with links, and stands out."""
    assert len(note["text"]) > 100 and note["links"], name
    assert note["hidden"] <= 0, f"{name}: {note['hidden']} pixels of the note have to be scrolled"
    assert min(note["contrasts"], key=lambda text: text[1])[1] >= LEAST_CONTRAST, (name, note)
