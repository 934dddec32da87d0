"""What must hold of the code as a whole: sizes, names, documentation, imports, repetition.

`python -m benchmarks.house --list` prints every place. The limits may be lowered, never raised.
"""

import pytest

from benchmarks.house import House, summarise

from .harness.imports import REPO_ROOT

TABLES: set[str] = set()
"""Files that may be longer than 350 lines: they hold a table."""
LONG_TODAY = {"sama_core/identity/code.py"}


@pytest.fixture(scope="module")
def house():
    """The measures of this checkout."""
    return House(REPO_ROOT)


def test_files_are_of_a_readable_size(house):
    median, _, _ = summarise(list(house.files.values()))
    assert 100 <= median <= 200
    assert set(house.long_files()) - TABLES <= LONG_TODAY


def test_functions_are_short(house):
    _, most, longest = summarise([function.lines for function in house.functions])
    assert most <= 25 and longest <= 62


def test_every_module_lies_in_a_room_under_a_name_of_its_own(house):
    assert house.loose_modules() == []
    assert set(house.names_twice()) <= {"formats.py", "samples.py"}


def test_rooms_do_not_import_in_a_circle(house):
    assert all(
        module.startswith("sama_core.identity.") for circle in house.cycles() for module in circle
    )


def test_functions_are_named_by_verbs(house):
    assert len(house.find_participles()) <= 66


def test_what_is_public_is_documented(house):
    assert len(house.find_undocumented()) <= 62


def test_lines_fit_in_100_columns(house):
    assert len(house.long_lines()) <= 1077


def test_the_readme_is_short(house):
    assert house.readme_lines() <= 160


def test_few_places_are_alike(house):
    places = house.repetition()
    assert len(places) < 10, places
