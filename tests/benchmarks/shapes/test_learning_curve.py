"""The learning curve's command, on logs written by hand."""

import json

import pytest
from PIL import Image

from benchmarks.shapes import learning_curve


def log(folder, steps, flow):
    folder.mkdir()
    path = folder / "log.jsonl"
    path.write_text(
        "".join(
            json.dumps({"step": step, "flow": value}) + "\n"
            for step, value in zip(steps, flow, strict=True)
        )
        + '{"step": 99, "fl',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def stages(tmp_path):
    first = log(tmp_path / "a", [0, 5, 9], [4.0, 2.0, 1.0])
    begun = log(tmp_path / "b", [0, 5, 10, 15], [0.9, 0.8, 7.0, 7.0])
    ended = log(tmp_path / "c", [10, 14], [0.6, 0.5])
    return [f"one={first}", f"two={begun}", f"two={ended}"]


def test_stages_follow_one_another_and_a_later_log_replaces(stages):
    one, two = learning_curve.join_stages(stages, [])
    assert (one["steps"], one["flow"]) == ([0, 5, 9], [4.0, 2.0, 1.0])
    assert (two["steps"], two["flow"]) == ([10, 15, 20, 24], [0.9, 0.8, 0.6, 0.5])


def test_a_curve_goes_on_after_an_earlier_runs_numbers(stages, tmp_path):
    """The whole curve at once, and in two runs: the second knows the first one's JSON only."""
    command, curve = learning_curve.main, tmp_path / "curve.json"
    assert command([*stages, "--json", str(curve)]) == 0
    whole = curve.read_text()
    assert command([stages[0], "--json", str(curve)]) == 0 and curve.read_text() != whole
    assert command([*stages[1:], "--after", str(curve), "--json", str(curve)]) == 0
    assert curve.read_text() == whole


def test_the_command_writes_numbers_and_a_picture(stages, tmp_path, capsys):
    assert (
        learning_curve.main(
            [*stages, "--json", str(tmp_path / "curve.json"), "--plot", str(tmp_path / "curve.png")]
        )
        == 0
    )
    assert json.loads((tmp_path / "curve.json").read_text())["stages"][1]["flow"][-1] == 0.5
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (990, 440)
    assert "two: steps 10 to 24, flow loss of the last tenth 0.500" in capsys.readouterr().out
