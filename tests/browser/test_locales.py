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
OURS = {
    "1": {"class_type": "SAMACompare", "inputs": {}},
    "2": {"class_type": "SAMADrafts", "inputs": {}},
    "3": {"class_type": "SAMAPlan", "inputs": {"model_name": embedded.DIT.name}},
}
WORDS = """() => ["comparison", "sheet", "sama_report"].map((name, at) => app.graph
    .getNodeById(at + 1).widgets.find(widget => widget.name === name).element.textContent)"""
CHOICES = """() => app.graph.getNodeById(3).onExecuted({
    sama_report: ["SAMA plan"],
    sama_choices: ["Full", "Middle", "Draft"].map(name => ({ name, says: "…", time: "…" })),
})"""
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


def test_buttons_and_sentences_in_our_nodes_are_chinese(chinese):
    canvas, _ = chinese
    canvas.open_api(OURS)
    comparison, sheet, report = canvas.evaluate(WORDS)
    assert comparison.startswith("滑动并排差异切换源视频编辑结果")
    assert "运行工作流以进行对比。" in comparison and "无声音" in comparison
    assert sheet == "节点运行时，草稿会显示在这里。点击一个即可使用其种子和指令。"
    assert report == "节点运行后，报告会显示在这里。"
    canvas.evaluate(CHOICES)
    for words in ("使用完整方案", "使用中间方案", "使用草稿", "复制"):
        assert words in canvas.evaluate(WORDS)[2]
    assert canvas.errors == []
