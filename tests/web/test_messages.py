"""Refusals and remarks stand on the node that they are about, and on no other."""

import pytest

from ..harness.page_scripts import run_script

FAILED = {"node_id": "5", "node_type": "SAMAEdit", "exception_message": "no"}


def test_an_error_is_not_shown_on_a_node_of_another_kind(tmp_path):
    """The run of one workflow fails while another one is open, with a node of the same id."""
    told = run_script(
        tmp_path,
        f"""
const kinds = ["SAMAEdit", "KSampler", "SAMALoadModel"];
await load("nodes/refusals.js");
told = [];
for (const node of kinds.map((kind) => makeNode(5, kind))) {{
    open(new Graph("one", node));
    api.send("execution_error", {FAILED});
    told.push(node.widgets.map(({{ element }}) => element.textContent));
}}
""",
    )
    assert told == [["no"], [], []]


QUEUE = """
const node = makeNode(5, "SAMAEdit");
node.removeWidget = (widget) => node.widgets.splice(node.widgets.indexOf(widget), 1);
open(new Graph("one", node));
const looks = [];
globalThis.setInterval = (look) => looks.push(look);
await load("nodes/refusals.js");
const wrong = { 5: { class_type: "SAMAEdit", errors: [{ message: "empty", details: "" }] } };
const steps = {
    queue: () => api.send("promptQueueing"),
    answer: (lastNodeErrors) => { Object.assign(app, { lastNodeErrors }); looks.at(-1)(); },
    start: () => api.send("execution_start", {}),
};
const shown = () => node.widgets.map(({ element }) => element.textContent);
"""


def test_a_refusal_stays_where_the_rest_of_the_graph_is_run(tmp_path):
    """Of two results only one can be made; it waits behind another run, and then begins."""
    told = run_script(
        tmp_path,
        QUEUE
        + """
steps.queue();
steps.answer(wrong);
steps.start();
const in_part = shown();
steps.queue();
steps.answer(null);
told = [in_part, shown()];
""",
    )
    assert told == [["empty"], []]


def test_an_answer_that_takes_a_minute_is_shown(tmp_path):
    """As that of a ComfyUI that is loading a model."""
    told = run_script(
        tmp_path,
        QUEUE
        + """
globalThis.clearInterval = (number) => { looks[number - 1] = () => {}; };
const { now } = Date;
steps.queue();
Date.now = () => now() + 60_000;
steps.answer(null);
steps.answer(wrong);
told = shown();
""",
    )
    assert told == ["empty"]


@pytest.mark.parametrize("order", ["start answer", "answer start"])
def test_a_run_that_begins_takes_earlier_refusals_away(tmp_path, order):
    """It may begin, and fail, before the frontend knows that it was taken."""
    told = run_script(
        tmp_path,
        QUEUE
        + f"""
const error = {FAILED};
told = [];
for (const before of [() => steps.answer(wrong), () => api.send("execution_error", error)]) {{
    steps.queue();
    before();
    told.push(shown());
    steps.queue();
    for (const step of "{order}".split(" ")) steps[step](null);
    told.push(shown());
}}
steps.queue();
steps.start();
api.send("execution_error", error);
steps.answer(null);
told.push(shown());
""",
    )
    assert told == [["empty"], [], ["no"], [], ["no"]]


def test_a_hundred_refusals_leave_nothing_on_a_node(tmp_path):
    told = run_script(
        tmp_path,
        f"""
const node = makeNode(5, "SAMAEdit");
open(new Graph("one", node));
await load("nodes/refusals.js");
const before = [node.onAdded, node.onRemoved];
for (let number = 0; number < 100; number += 1) api.send("execution_error", {FAILED});
told = [node.onAdded === before[0], node.onRemoved === before[1], node.widgets.length];
""",
    )
    assert told == [True, True, 1]


def test_a_remark_is_not_handed_to_a_node_of_others(tmp_path):
    told = run_script(
        tmp_path,
        """
let told_to = [];
Object.assign(api, { dispatchCustomEvent: (name, { nodeId }) => told_to.push(nodeId) });
await load("nodes/remarks.js");
told = [];
for (const kind of ["KSampler", "SAMASourceVideo"]) {
    open(new Graph("one", makeNode(5, kind)));
    api.send("sama.remarks", { node: "5", text: "the rate varies" });
    api.send("execution_success", {});
    await pass(20);
    told.push(told_to);
    told_to = [];
}
""",
    )
    assert told == [[], ["5"]]


def test_a_remark_outlives_a_lost_connection_until_its_node_runs_again(tmp_path):
    """A ComfyUI that was started again cannot end it; the run that wrote it goes on meanwhile."""
    told = run_script(
        tmp_path,
        """
let shown = [];
Object.assign(api, { dispatchCustomEvent: (name, { text }) => shown.push(text) });
await load("nodes/remarks.js");
open(new Graph("one", makeNode(5, "SAMASourceVideo")));
const progress = (prompt_id, state) =>
    api.send("progress_state", { prompt_id, nodes: { 5: { state } } });
const taken = async () => {
    await pass(20);
    return shown.splice(0);
};
told = [];
progress("first", "running");
api.send("sama.remarks", { node: "5", text: "the rate varies" });
api.send("reconnecting");
told.push(await taken());
progress("first", "running");
api.send("execution_success", {});
told.push(await taken());
progress("second", "pending");
api.send("execution_success", {});
told.push(await taken());
progress("third", "running");
told.push(await taken());
api.send("execution_success", {});
told.push(await taken());
""",
    )
    held = ["the rate varies"]
    assert told == [held, held, held, [" "], []]
