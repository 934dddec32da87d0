"""The button that the README names opens a node's help page."""

from sama_core import embedded

from ..harness.imports import REPO_ROOT

SELECT = "() => app.canvas.selectNode(app.graph.getNodeById(1))"
HELP = REPO_ROOT / "web" / "docs" / "SAMAPlan.md"


def test_the_button_for_help_has_the_name_that_the_readme_says(canvas):
    name = "Node Info"
    readme = (REPO_ROOT / "README.md").read_text(encoding="utf-8")
    assert f"*{name}*" in readme and "*?*" not in readme
    canvas.open_api({"1": {"class_type": "SAMAPlan", "inputs": {"model_name": embedded.DIT.name}}})
    canvas.evaluate(SELECT)
    with canvas.browser.limit(f"the button {name}"):
        canvas.page.get_by_role("button", name=name).first.click()
    with canvas.browser.limit("the help page"):
        first = HELP.read_text(encoding="utf-8").splitlines()[0]
        canvas.page.get_by_text(first[:40]).first.wait_for(state="visible")
