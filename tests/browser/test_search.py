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
AMONG_FIRST = f"([name, first]) => ({FOUND})().slice(0, first).some(one => one.includes(name))"
OURS = "SAMA"


@pytest.fixture
def find(canvas):
    """`find(box, words, name, first)`: wait until a search box has a name among the first.

    Nothing of ours is there before the words are typed, so what is found is found by them.
    """

    def search(box: str, words: str, name: str = OURS, first: int = FIRST) -> None:
        canvas.evaluate(CHOOSE, box)
        canvas.evaluate(TOGGLE)
        with canvas.browser.limit("the search box"):
            field = canvas.page.locator(FIELD).first
            field.focus()
        canvas.rest(200)
        before = canvas.evaluate(FOUND)
        assert not any(OURS in one for one in before), before
        with canvas.browser.limit("the words to be typed"):
            field.fill(words)
        what = f"{name} among the first {first} in {box}, {words}"
        canvas.wait_until(AMONG_FIRST, [name, first], what)
        with canvas.browser.limit("the search box to close"):
            canvas.page.keyboard.press("Escape")
            field.wait_for(state="detached")

    yield search
    canvas.evaluate(CHOOSE, BOXES[0])


def test_every_usual_word_finds_the_pack_among_the_first(find):
    for box in BOXES:
        for words in WORDS:
            find(box, words)
        find(box, "edit video", "Video Edit (SAMA)", 1)
