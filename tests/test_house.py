"""What must hold of the code as a whole: sizes, names, documentation, imports, repetition
(`benchmarks/house.py`).
"""

import pytest

from benchmarks.house import House, spread

from .harness.imports import REPO_ROOT

TABLES: set[str] = set()
"""Files that may be longer than 350 lines: they hold a table."""


@pytest.fixture(scope="module")
def house():
    return House(REPO_ROOT)


def test_files_are_of_a_readable_size(house):
    median, _, _ = spread(list(house.files.values()))
    assert 100 <= median <= 200
    assert set(house.long_files()) - TABLES <= {"sama_core/identity/code.py"}


def test_functions_are_short(house):
    _, most, longest = spread([function.lines for function in house.functions])
    assert most <= 25 and longest <= 73


def test_every_module_lies_in_a_room(house):
    assert house.loose_modules() == []


def test_few_places_are_alike(house):
    places = house.repetition()
    assert len(places) < 10, places
