"""Timing this machine."""

from sama_core.geometry import ClipShape
from sama_core.plan.calibrate import calibrate
from sama_core.plan.seconds import (
    read_calibration,
)


def test_calibrating_this_machine(tmp_path):
    """Two small clips on the CPU, and the file reads back."""
    said = []
    path = calibrate(
        tmp_path / "new", [ClipShape(1, 32, 32), ClipShape(5, 32, 32)], runs=2, say=said.append
    )
    found = read_calibration(path)
    assert [(one.tokens, len(one.seconds), one.dtype) for one in found.points] == [
        (73, 2, "float32"),
        (81, 2, "float32"),
    ]
    assert found.width == 256 and found.model == "SAMA-Shapes" and found.threads >= 1
    assert [line.partition(":")[0] for line in said] == ["1 frames of 32x32", "5 frames of 32x32"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    low, high = found.rates(73)
    assert 0 < low <= high
