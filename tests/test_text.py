"""Instruction text: the official cleaning, the trained tag, prompt weights off."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sama_core.errors import ConditioningError
from sama_core.text import add_tag, clean_instruction, escape_weights, require_instruction

from .harness.golden import load_golden

TABLE = load_golden("prompt_cleaning").manifest["table"]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: repr(row["input"]))
def test_cleaning_is_the_official_one(row):
    assert clean_instruction(row["input"]) == row["output"]


def test_entities_are_resolved_twice():
    """Where the text holds a "<", mending Unicode leaves entities to the two passes after it."""
    assert clean_instruction("<b> &amp;lt;") == "<b> <"
    assert clean_instruction("<b> &amp;amp;lt;") == "<b> &lt;"


@settings(deadline=None)
@given(st.text())
def test_cleaned_text_is_one_line_without_doubled_spaces(text):
    assert not re.search(r"^\s|\s$|\s\s|[^\S ]", clean_instruction(text))


@pytest.mark.parametrize(
    ("cleaned", "prompt"),
    [
        ("replace the seal with a crab", "[Video edit] replace the seal with a crab"),
        ("", "[Video edit]"),
    ],
)
def test_tag(cleaned, prompt):
    assert add_tag(cleaned) == prompt


@pytest.mark.parametrize("text", ["<b> &ldquo;hi&rdquo;", "a < b &amp;amp;amp;lt; c"])
def test_tagging_cleans_once_as_the_reference_does(text):
    """The reference cleans tag and instruction as one; these change again when cleaned twice."""
    assert clean_instruction(clean_instruction(text)) != clean_instruction(text)
    assert add_tag(require_instruction(text)) == clean_instruction(f"[Video edit] {text}")


def test_instruction_comes_back_cleaned():
    assert require_instruction("  make it\n&quot;snow&quot; ") == 'make it "snow"'


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "&nbsp;", "\u3000"])
def test_an_empty_instruction_is_refused(text):
    with pytest.raises(
        ConditioningError, match="instruction: got an empty text, needs a sentence .* Write one"
    ):
        require_instruction(text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("add a (red:1.3) hat", r"add a \(red:1.3\) hat"),
        ("((a)", r"\(\(a\)"),
        (r"a \(b\)", r"a \\(b\\)"),
        ("no brackets [kept]", "no brackets [kept]"),
    ],
)
def test_prompt_weights_are_escaped(text, escaped):
    assert escape_weights(text) == escaped


@settings(deadline=None)
@given(st.text(alphabet="ab():1.3\\ "))
def test_escaping_undoes_what_comfyui_undoes(text):
    """ComfyUI hides escaped parentheses from its weight parser, and shows them bare."""
    hidden = escape_weights(text).replace(r"\)", "\0\1").replace(r"\(", "\0\2")
    assert not re.search(r"[()]", hidden)
    assert hidden.replace("\0\1", ")").replace("\0\2", "(") == text
