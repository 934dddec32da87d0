"""Lists as an artist types them."""

import pytest

from sama_core.drafts import ask
from sama_core.drafts.asked import read_numbers
from sama_core.errors import InputError


@pytest.mark.parametrize(
    ("text", "numbers", "twice"),
    [
        ("1, 5, 7-9", [1, 5, 7, 8, 9], []),
        ("3", [3], []),
        ("7 - 9", [7, 8, 9], []),
        ("9–10; 2..3\n1", [9, 10, 2, 3, 1], []),
        ("１～３，5 ~ 6, 8－9", [1, 2, 3, 5, 6, 8, 9], []),
        ("1，2、3", [1, 2, 3], []),
        ("2, 1-3, 2", [2, 1, 3], [2]),
        ("18446744073709551615", [2**64 - 1], []),
    ],
)
def test_lists_of_numbers(text, numbers, twice):
    assert read_numbers("seeds", text, 2**64 - 1, 64) == (numbers, twice)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x" * 5000, "got “" + "x" * 40 + "…”, needs a list such as 1, 5, 7-9"),
        ("9" * 5000, "got “" + "9" * 40 + "…”, needs a list such as 1, 5, 7-9"),
        ("9-7", "got “9-7”, needs a range that goes up, 7-9"),
        ("1-99999999999999999999", "got 99999999999999999999, needs numbers of 0 to"),
        ("1-1000000000000", "got 1000000000000 numbers, needs at most 64"),
        ("1.5", "got “1.5”, needs a list such as 1, 5, 7-9"),
        ("-3", "got “-3”, needs a list"),
    ],
)
def test_what_is_no_list_is_one_sentence(text, told):
    with pytest.raises(InputError) as error:
        read_numbers("seeds", text, 2**64 - 1, 64)
    assert told in str(error.value)


def test_drafts_are_in_the_order_of_the_sheet():
    asked = ask("b\n\n a ", "2, 1", "0, 4", count=5)
    assert [(draft.instruction, draft.frame, draft.seed) for draft in asked.drafts] == [
        ("b", 0, 2),
        ("b", 0, 1),
        ("b", 4, 2),
        ("b", 4, 1),
        ("a", 0, 2),
        ("a", 0, 1),
        ("a", 4, 2),
        ("a", 4, 1),
    ]
    assert asked.remarks == ("An empty line was left out.",)
    assert asked.find(" 1:  a ")[0].pick == "1: a" and asked.find("1: a")[1] == ""
