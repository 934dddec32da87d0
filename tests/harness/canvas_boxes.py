"""Where nodes and groups lie on the canvas, and which of them overlap."""

import time
from collections.abc import Iterator
from itertools import combinations

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
SETTLED = """async () => {
    const read = () => JSON.stringify((BOXES)())
    for (let now = read(), since = performance.now(), frames = 0; ; frames += 1) {
        if (frames >= 10 && performance.now() - since >= 400) return JSON.parse(now)
        await new Promise(requestAnimationFrame)
        const next = read()
        if (next !== now) [now, since, frames] = [next, performance.now(), 0]
    }
}""".replace("BOXES", BOXES)
"""BOXES as they are when they have not changed for ten frames, and 0.4 s."""
STEPS = """steps => {
    for (const node of app.graph.nodes)
        for (const widget of node.widgets ?? []) if (widget.name === "steps") widget.value = steps
}"""


def settled_boxes(canvas) -> dict:
    """BOXES that stay as they are."""
    return canvas.evaluate(SETTLED, what="sizes to settle")


def settled_overlaps(canvas, seconds: float = 60) -> list[tuple[str, str]]:
    """`overlaps` on a canvas whose nodes may still shrink, as texts of a run leave them."""
    until = time.monotonic() + seconds
    while (found := list(overlaps(settled_boxes(canvas)))) and time.monotonic() < until:
        canvas.rest(250)
    return found


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
