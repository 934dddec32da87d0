"""Notes of our workflows keep their looks."""

from ..workflows.shipped import shipped

COLOURS = """() => app.graph.nodes.filter(node => node.type === "MarkdownNote")
    .map(node => [node.color, node.bgcolor])"""


def test_notes_are_plain_after_undo_and_in_a_saved_workflow_but_keep_a_chosen_colour(canvas):
    """A note without colours is saved without them, and ComfyUI's own new notes are brown."""
    canvas.open_workflow(shipped("simple_edit"))
    assert canvas.evaluate(COLOURS) == [["", ""]]
    canvas.move_and_undo()
    assert canvas.evaluate(COLOURS) == [["", ""]]

    saved = canvas.workflow()
    canvas.open_workflow(saved)
    assert canvas.evaluate(COLOURS) == [["", ""]]

    (note,) = [node for node in saved["nodes"] if node["type"] == "MarkdownNote"]
    note.update(color="#232", bgcolor="#353")
    canvas.open_workflow(saved)
    assert canvas.evaluate(COLOURS) == [["#232", "#353"]]
