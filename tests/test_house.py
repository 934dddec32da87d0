"""What must hold of the code as a whole: sizes, names, documentation, imports, repetition.

`python -m benchmarks.house --list` prints every place. The limits may be lowered, never raised.
"""

import pytest

from benchmarks.house import House, summarise

from .harness.imports import REPO_ROOT

TABLES: set[str] = set()
"""Files that may be longer than 350 lines: they hold a table."""
UPWARDS = [["sama_core.model.dit", "sama_core.weights.checkpoint"]]
"""`SamaDiT.from_state_dict` calls the builder on the floor above it, when it is called."""


@pytest.fixture(scope="module")
def house():
    """The measures of this checkout."""
    return House(REPO_ROOT)


def test_files_are_of_a_readable_size(house):
    median, _, _ = summarise(list(house.files.values()))
    assert 100 <= median <= 200
    assert set(house.long_files()) <= TABLES


def test_the_checkout_is_light(house):
    assert sum(house.sizes.values()) < 45e6
    assert max(house.sizes.values()) < 25e6


def test_functions_are_short(house):
    _, most, longest = summarise([function.lines for function in house.functions])
    assert most <= 25 and longest <= 60


def test_every_module_lies_in_a_room_under_a_name_of_its_own(house):
    assert house.loose_modules() == []
    assert house.names_twice() == {}


def test_rooms_do_not_import_in_a_circle(house):
    assert [circle for circle in house.cycles() if circle not in UPWARDS] == []


def test_functions_are_named_by_verbs(house):
    assert house.find_participles() == []


def test_what_is_public_is_documented(house):
    assert house.find_undocumented() == []


def test_lines_fit_in_100_columns(house):
    assert len(house.long_lines()) <= 4


def test_the_readme_is_short(house):
    assert house.readme_lines() <= 160


def test_few_places_are_alike(house):
    places = house.repetition()
    assert len(places) < 10, places
