"""What a workflow holds of a node may be anything: the graph opens all the same."""

from ..harness.page_scripts import run_script


def test_a_film_with_remarks_of_another_form_is_shown_without_them(tmp_path):
    told = run_script(
        tmp_path,
        """
globalThis.HTMLSelectElement = globalThis.HTMLButtonElement = globalThis.HTMLInputElement = Object;
const { filmFrom } = await load("compare/view.js");
const film = { filename: "a.mp4", width: 1, height: 1, count: 1, fps: 1 };
told = [undefined, "text", ["one"]].map((remarks) => filmFrom({ ...film, remarks }).remarks);
""",
    )
    assert told == [[], [], ["one"]]
