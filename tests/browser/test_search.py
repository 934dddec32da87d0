"""People find the pack by the words that they would type, in both search boxes."""

import pytest

BOXES = ("default", "v1 (legacy)")
WORDS = (
    "edit video",
    "video edit",
    "instruction",
    "inpaint video",
    "remove object",
    "wan edit",
    "video to video",
)
FIRST = 5
CHOOSE = "box => app.extensionManager.setting.set('Comfy.NodeSearchBoxImpl', box)"
TOGGLE = "() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')"
FIELD = ".comfy-vue-node-search-container input, [role=combobox][placeholder]"
FOUND = """() => [...document.querySelectorAll("[role=option]")]
    .map(item => item.innerText.trim()).filter(text => text)"""


@pytest.fixture
def searched(canvas):
    """`searched(box, words)`: the names in a search box, best first."""

    def search(box: str, words: str) -> list[str]:
        canvas.evaluate(CHOOSE, box)
        canvas.evaluate(TOGGLE)
        with canvas.browser.limit("the search box"):
            field = canvas.page.locator(FIELD).first
            field.fill(words)
            canvas.page.wait_for_timeout(600)  # it waits until one has stopped typing
        found = canvas.evaluate(FOUND)
        with canvas.browser.limit("the search box to close"):
            canvas.page.keyboard.press("Escape")
            field.wait_for(state="detached")
        return found

    yield search
    canvas.evaluate(CHOOSE, BOXES[0])


def test_every_usual_word_finds_the_pack_among_the_first(searched):
    for box in BOXES:
        for words in WORDS:
            found = searched(box, words)[:FIRST]
            assert any("SAMA" in name for name in found), f"{box}, {words}: {found}"
        assert searched(box, "edit video")[0].startswith("Video Edit (SAMA)")
