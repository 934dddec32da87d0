"""Some 600 LoRA and weight files made to break the loaders, each in a child of a process of its
own.

A file is loaded as it is meant, and a LoRA changes the layers that its report counts; or one clear
sentence refuses it. `test_lora.py` and `test_weight_layouts.py` look closer at some of the same
cases, in this process.
"""

import pytest

from ..harness.comfy_home import comfy_source
from ..harness.hostile import judged, outcomes
from ..harness.hostile.started import run_worker

pytest.importorskip("resource", reason="children are forked; Unix only")
FEWEST = 500


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The worker's process and its lines; it starts in an empty folder, which must stay empty."""
    folder, empty = tmp_path_factory.mktemp("hostile_weights"), tmp_path_factory.mktemp("empty")
    done, lines = run_worker(
        "weights_worker", folder, empty, SAMA_COMFYUI=str(comfy_source().folder)
    )
    return done, lines, empty


@pytest.fixture(scope="module")
def cases(run):
    found = [line for line in run[1] if "kind" in line]
    outcomes.record("weights", found)
    return found


def test_the_process_survives_every_file(run, cases):
    done, lines, _ = run
    assert done.returncode == 0, done.stderr[-3000:]
    assert [case for case in cases if case["outcome"] == "crash"] == []
    assert lines[-1].get("end") and len(cases) >= FEWEST


def test_nothing_else_is_touched(run):
    _, lines, empty = run
    assert lines[-1] == {"end": True, "touched": [], "left": []} and list(empty.iterdir()) == []


def test_each_gives_what_it_says_or_an_error(cases):
    assert judged.not_as_expected(cases) == []


def test_every_error_is_one_clear_sentence(cases):
    assert judged.unclear(cases) == []
