"""What programs of the environment say, and what libraries print in between."""

import pytest

from sama_core.launch.progress import LaunchError
from sama_core.launch.setup.messages import last_message, read_message


@pytest.mark.parametrize("line", ["", "\n", "warning", '{"a": 1', "[]", "1", "null", "[" * 9999])
def test_what_is_no_object_is_no_message(line):
    assert read_message(line) is None


def test_the_last_object_is_the_answer():
    said = 'warning: old card\n{"answer": 1}\n{"answer": [2]}\n[3]\nbye\n'
    assert last_message(said, "a.mp4") == {"answer": [2]}


@pytest.mark.parametrize("said", ["", "bye\n", '{"answer": 1'])
def test_no_answer_is_an_error_that_shows_what_was_said(said):
    shown = repr(said.strip() or "nothing").strip("'")
    with pytest.raises(LaunchError, match=r"^a\.mp4: the program of the environment said") as error:
        last_message(said, "a.mp4")
    assert shown in str(error.value)
