"""Titles, labels and tooltips on a canvas whose language is Chinese."""

import pytest

from sama_core import embedded

from ..harness.browser import open_canvas

GRAPH = {
    "1": {"class_type": "SAMALoadModel", "inputs": {"model_name": embedded.DIT.name}},
    "2": {"class_type": "SAMAEdit", "inputs": {"model": ["1", 0]}},
}
STEPS = "采样步数。默认 0，即模型自己的步数：SAMA-14B 为 50"
PLACE_OF_STEPS = """() => {
    const node = app.graph.nodes.find(node => node.type === "SAMAEdit")
    const { last_y: top } = node.widgets.find(widget => widget.name === "steps")
    const { scale, offset } = app.canvas.ds
    const frame = app.canvasEl.getBoundingClientRect()
    return [frame.x + (node.pos[0] + 60 + offset[0]) * scale,
            frame.y + (node.pos[1] + top + 10 + offset[1]) * scale]
}"""
TITLES = "() => app.graph.nodes.map(node => node.title)"
LABELS = """() => app.graph.nodes.find(node => node.type === "SAMAEdit").inputs.map(
    input => input.label ?? input.localized_name)"""


@pytest.fixture(params=[False, True], ids=["classic", "nodes_2"])
def chinese(request, browser, comfy_server):
    """A canvas in Chinese, and whether its nodes are HTML."""
    comfy_server.save_settings(Comfy__Locale="zh")
    try:
        with open_canvas(browser, comfy_server, nodes_2=request.param) as canvas:
            canvas.open_api(GRAPH)
            canvas.fit()
            yield canvas, request.param
    finally:
        comfy_server.save_settings(Comfy__Locale="en")


def test_title_labels_and_tooltip_are_chinese(chinese):
    canvas, nodes_2 = chinese
    assert canvas.evaluate(TITLES) == ["加载 SAMA 模型", "SAMA 编辑"]
    assert canvas.evaluate(LABELS)[:9] == [
        *("模型", "CLIP", "VAE", "帧", "遮罩", "锚帧", "指令", "种子", "步数")
    ]
    page = canvas.page
    with canvas.browser.limit("the tooltip in Chinese"):
        if nodes_2:
            page.get_by_text("SAMA 编辑", exact=True).first.wait_for(state="visible")
            page.get_by_text("步数", exact=True).first.hover()
        else:
            left, top = canvas.evaluate(PLACE_OF_STEPS)
            page.mouse.move(left - 5, top)
            page.mouse.move(left, top)
        page.get_by_text(STEPS).first.wait_for(state="visible")
    assert canvas.errors == []
