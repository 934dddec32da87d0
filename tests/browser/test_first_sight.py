"""What one sees of a shipped workflow when it is opened from the template browser: on a laptop's
screen every text is drawn, nothing overlaps, and notes are readable, in both styles of nodes.

The frontend's settings are those of a fresh install.
"""

from collections.abc import Iterator
from itertools import combinations

import pytest

from sama_core.launch.commands.serve import provide_clips

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
# Boxes as they are on the screen, [x, y, width, height] in pixels of the canvas.
BOXES = """() => {
    const { scale, offset } = app.canvas.ds
    const html = node => LiteGraph.vueNodesMode
        && document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
    const box = node => {
        const seen = html(node)
        if (!seen) return [...node.boundingRect]
        return [seen.x / scale - offset[0], seen.y / scale - offset[1],
            seen.width / scale, seen.height / scale]
    }
    const named = (items, name, box) =>
        Object.fromEntries(items.map(item => [name(item), box(item)]))
    return {
        scale, greyed: app.canvas.low_quality, offset: [...offset],
        nodes: named(app.graph.nodes, node => `${node.id} ${node.title}`, box),
        groups: named(app.graph.groups, group => group.title, group => [...group.boundingRect]),
    }
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


def opened(canvas, name: str) -> dict:
    """BOXES of a workflow that was opened as a template."""
    canvas.evaluate(OPEN, [shipped(name), workflow_path(name).stem], "the workflow to be loaded")
    canvas.wait_until(DRAWN, what=f"{name} to be drawn")
    with canvas.browser.limit("sizes to settle"):
        canvas.page.wait_for_timeout(400)
    return canvas.evaluate(BOXES)


def on_screen(box: list[float], view: dict) -> list[float]:
    """A box in pixels of the screen."""
    (x, y), scale = view["offset"], view["scale"]
    return [(box[0] + x) * scale, (box[1] + y) * scale, box[2] * scale, box[3] * scale]


def overlaps(boxes: dict) -> Iterator[tuple[str, str]]:
    """Pairs of nodes that overlap, of groups that do, and nodes that lie across a group's edge."""
    for kind in ("nodes", "groups"):
        for (one, first), (other, second) in combinations(boxes[kind].items(), 2):
            if touch(first, second):
                yield one, other
    for node, box in boxes["nodes"].items():
        for group, frame in boxes["groups"].items():
            if touch(box, frame) and not inside(box, frame):
                yield node, group


def touch(one: list[float], other: list[float]) -> bool:
    """Whether two boxes have more than half a pixel in common."""
    return all(
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])
        > 0.5
        for axis in (0, 1)
    )


def inside(box: list[float], frame: list[float]) -> bool:
    """Whether a box lies in another."""
    return all(
        frame[axis] <= box[axis] + 0.5
        and box[axis] + box[axis + 2] <= frame[axis] + frame[axis + 2] + 0.5
        for axis in (0, 1)
    )


def check_note(note: dict, name: str) -> None:
    """All of its text is shown, with links, and stands out."""
    assert len(note["text"]) > 100 and note["links"], name
    assert note["hidden"] <= 0, f"{name}: {note['hidden']} pixels of the note have to be scrolled"
    assert min(note["contrasts"], key=lambda text: text[1])[1] >= LEAST_CONTRAST, (name, note)
