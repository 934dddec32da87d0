"""The sheet of SAMA Drafts where the page has lost its connection, or was loaded anew."""

import pytest

from ..harness.page_scripts import run_script

STATE = """
const image = (number) => ({ filename: `${number}.png`, subfolder: "sama_drafts", type: "temp" });
const stateOf = (drawn, stage = "drawing", sources = { 0: image("source") }) => ({
    drafts: [1, 2, 3].map((seed) => ({
        ...{ seed: String(seed), instruction: "red", frame: 0, pick: `${seed}: red` },
        image: seed <= drawn ? image(seed) : null,
    })),
    ...{ sources, notes: [], costs: [`${drawn} drawn`], stage },
});
const message = (state, prompt = "run") => ({ workflow: "one", node: "6", prompt, state });
"""


@pytest.mark.parametrize(
    ("queue", "history", "stage", "drawn"),
    [
        ("[[0, 'run']]", "{}", "drawing", 1),
        ("[[0, 'other']]", "{ run: { outputs: {} } }", "stopped", 1),
        ("[]", "{ run: { status: { messages: [['execution_error', {}]] } } }", "failed", 1),
        ("[]", "{}", "lost", 1),
        ("[]", "{ run: { outputs: { 6: { sama_drafts: [stateOf(3, 'done')] } } } }", "done", 3),
    ],
    ids=["goes on", "interrupted", "failed", "started again", "finished"],
)
def test_a_run_that_the_page_has_lost_is_asked_for(tmp_path, queue, history, stage, drawn):
    told = run_script(
        tmp_path,
        STATE
        + f"""
const {{ ask, endAll, receive }} = await load("drafts/runs.js");
const {{ state }} = receive(message(stateOf(1)));
endAll("away");
const away = state.stage;
const answers = {{ "/queue": {{ queue_running: {queue}, queue_pending: [] }} }};
answers["/history/run"] = {history};
api.fetchApi = async (route) => ({{ json: async () => answers[route] }});
const silent = api.fetchApi;
api.fetchApi = async () => {{ throw new Error("not there yet") }};
const unanswered = [await ask(), state.stage];
api.fetchApi = silent;
const answered = await ask();
const drawn = state.drafts.filter(({{ image }}) => image).length;
told = [away, unanswered, answered, state.stage, drawn];
""",
    )
    assert told == ["away", [False, "away"], True, stage, drawn]


def test_a_message_brings_what_the_page_has_missed(tmp_path):
    """Pictures of the known sheet, and a whole sheet where it is another one or unknown."""
    told = run_script(
        tmp_path,
        STATE
        + """
const { endAll, receive } = await load("drafts/runs.js");
told = [];
const take = (...given) => told.push(receive(message(...given)).drawn);
take(stateOf(1));
endAll("away");
take(stateOf(3));
told.push(receive(message(stateOf(3, "done"))).state.stage);
take(stateOf(0));
take(stateOf(0, "drawing", { 0: image("another clip") }));
take(stateOf(0), "another run");
""",
    )
    assert told == [None, [1, 2], "done", None, None, None]
