"""Some 760 files made to break the reader: each gives a right result or one clear error, and
nothing else happens.
"""

import os
from collections import Counter

import pytest

from ..harness.hostile import judged, outcomes
from ..harness.hostile.started import run_worker

pytest.importorskip("resource", reason="file size limits stand in for a full disk; Unix only")
FEWEST = 740


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The worker's process and its lines; it starts in an empty folder, which must stay empty."""
    folder, empty = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("empty")
    done, lines = run_worker("worker", folder, empty)
    (folder / "clips" / "not_files" / "closed").chmod(0o700) if os.geteuid() == 0 else None
    return done, lines, empty


@pytest.fixture(scope="module")
def cases(run):
    found = [line for line in run[1] if "kind" in line]
    outcomes.record("clips", found)
    return found


def test_the_process_survives_every_file(run, cases):
    done, lines, _ = run
    assert done.returncode == 0, done.stderr[-3000:]
    assert [case for case in cases if case["outcome"] == "crash"] == []
    assert lines[-1].get("end") and len(cases) >= FEWEST


def test_nothing_else_is_touched(run, cases):
    _, lines, empty = run
    assert lines[-1]["touched"] == []
    assert list(empty.iterdir()) == []
    saved = [f"{number}.mp4" for number, case in enumerate(cases) if case["outcome"] == "right"]
    assert lines[-1]["results"] == sorted(saved), "no half files, no temporary files"


def test_each_gives_a_right_result_or_an_error(cases):
    assert judged.not_as_expected(cases) == []


def test_every_error_is_one_clear_sentence(cases):
    assert judged.unclear(cases) == []


def test_intact_files_are_read_whatever_their_name_or_end(cases):
    """Of a damaged file what is intact is used, so most of those cut near the end are right."""
    cut = Counter(
        (case["name"][0], case["outcome"])
        for case in cases
        if case["kind"] == "truncated at a tenth"
    )
    assert cut["9", "right"] >= 3
