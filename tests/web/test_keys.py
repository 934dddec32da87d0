"""Keys in the pack's boxes: what they use stays there, what is the application's goes on."""

from ..harness.page_scripts import run_script

PRESS = """
const keys = [
    ["Enter"], ["Delete"], ["a", "ctrlKey"],
    ["Enter", "ctrlKey"], ["S", "metaKey"], ["z", "ctrlKey"],
];
const stopped = (element) => keys.map(
    ([key, held]) => element.give("keydown", { key, [held]: true }).stopped,
);
"""


def test_queue_and_save_work_from_a_report_and_its_buttons(tmp_path):
    told = run_script(
        tmp_path,
        PRESS
        + """
const { addBox } = await load("shared/node_box.js");
told = stopped(addBox(makeNode(1, "SAMAPlan"), "sama_report", 100).element);
""",
    )
    assert told == [True, True, True, False, False, False]


def test_ctrl_enter_queues_after_a_click_on_a_draft(tmp_path):
    told = run_script(
        tmp_path,
        PRESS
        + """
const { Sheet } = await load("drafts/sheet.js");
told = stopped(new Sheet(() => "", () => {}).element);
""",
    )
    assert told == [True, True, False, False, False, False]
