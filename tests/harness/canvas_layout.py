"""Places of nodes, groups and notes on the canvas: columns of groups, each group a column of nodes.

A layout file:
    {"title":   "1 Edit a video",
     "columns": [[GROUP, …], …],
     "heights": {"4": 300}, "rooms": {"9": 350}, "widths": {"9": 240},
     "widgets": {"9": {"filename_prefix": "video/%LoadVideo.file%"}},
     "app":     {"inputs": [["6", "instruction"]], "outputs": ["9"]}}
`title` is the workflow's file name. `heights` are those of nodes that shall have more than they
need, as for a picture that is there at once. `rooms` are heights that a group keeps free for nodes
which grow when their result comes, so that the first view need not show the empty room. `widths`
are those of nodes that shall be narrower than their group. `widgets` are values which the frontend
makes others of when it queues. `app` is what the workflow shows when it opens as an app; without
it, it opens as a graph.
A GROUP is one of
    {"title": "1  Model files", "width": 300, "nodes": ["1", "2"]}
    {"title": "2  Your clip", "width": 300, "nodes": [["4"], ["5"]]}      columns side by side
    {"note": "Say what …", "width": 300, "height": 200}
A size is (width, height) in pixels of the canvas, without a node's title.
"""

from collections.abc import Iterator, Mapping

Size = tuple[float, float]
Box = tuple[float, float, float, float]

TITLE = 30
"""Height of a node's title, above its place."""
GROUP_TITLE = 40
EDGE = 14
"""Between a group's edge and its nodes."""
GAP = 18
"""Between two nodes, or two groups, of a column."""
COLUMN_GAP = 28
SCREEN = (1366, 768)
"""The smallest screen on which a workflow shall be readable at first sight."""
SHARE = 0.75
"""The part of the screen that the frontend fills with a graph when it shows all of it."""


def groups_of(layout: dict) -> Iterator[dict]:
    """Every group of a layout, and every note."""
    for column in layout["columns"]:
        yield from column


def node_columns(group: dict) -> list[list[str]]:
    """A group's nodes, column by column; none for a note."""
    nodes = group.get("nodes", [])
    return nodes if nodes and isinstance(nodes[0], list) else [nodes]


def widths(layout: dict) -> dict[str, float]:
    """The width of every node."""
    own = layout.get("widths", {})
    return {
        node: own.get(node, group["width"])
        for group in groups_of(layout)
        for column in node_columns(group)
        for node in column
    }


def notes_of(layout: dict) -> list[dict]:
    """The notes of a layout, in order."""
    return [group for group in groups_of(layout) if "note" in group]


def place(layout: dict, sizes: Mapping[str, Size]) -> dict:
    """Where everything goes: `nodes` {id: Box}, `groups` [(title, Box)], `notes` [Box].

    `sizes` are the nodes' least sizes, which they keep.
    """
    placed: dict = {"nodes": {}, "groups": [], "notes": []}
    rooms = layout.get("rooms", {})
    left = 0.0
    for column in layout["columns"]:
        top, right = 0.0, left
        for group in column:
            box = _place_group(group, left, top, sizes, rooms, placed)
            right, top = max(right, left + box[2]), top + box[3] + GAP
        left = right + COLUMN_GAP
    return placed


def _place_group(
    group: dict,
    left: float,
    top: float,
    sizes: Mapping[str, Size],
    rooms: Mapping[str, float],
    placed: dict,
) -> Box:
    """Adds a group, or a note, to `placed`; its box."""
    if "note" in group:
        width, height = group["width"], group["height"]
        placed["notes"].append((left, top + TITLE, width, height))
        return left, top, width, TITLE + height
    x, bottom = left + EDGE, top
    for nodes in node_columns(group):
        y = top + GROUP_TITLE
        for node in nodes:
            width, height = sizes[node]
            placed["nodes"][node] = (x, y + TITLE, width, height)
            y += TITLE + max(height, rooms.get(node, 0)) + GAP
        x, bottom = x + group["width"] + COLUMN_GAP, max(bottom, y - GAP + EDGE)
    box = (left, top, x - COLUMN_GAP + EDGE - left, bottom - top)
    placed["groups"].append((group["title"], box))
    return box


def first_view(boxes: list[Box]) -> dict:
    """`scale` and `offset` that show these nodes in the middle of SCREEN, as the frontend would."""
    left, top = min(box[0] for box in boxes), min(box[1] - TITLE for box in boxes)
    width = max(box[0] + box[2] for box in boxes) - left
    height = max(box[1] + box[3] for box in boxes) - top
    scale = min(SHARE * SCREEN[0] / width, SHARE * SCREEN[1] / height, 1)
    offset = [SCREEN[0] / scale / 2 - left - width / 2, SCREEN[1] / scale / 2 - top - height / 2]
    return {"scale": scale, "offset": offset}
