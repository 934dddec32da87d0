"""The check that a flow can be learned at all."""

import json

from benchmarks.shapes import alignment_overfit


def test_a_clip_is_learned_by_heart(tmp_path, capsys):
    report = tmp_path / "overfit.json"
    asked = ["--clips", "1", "--steps", "11", "--every", "10", "--json", str(report)]
    assert alignment_overfit.main(asked) == 0
    first, last = json.loads(report.read_text())["rows"]
    assert (first["step"], last["step"], first["cells"]) == (0, 10, 77)
    assert last["divergence"] < first["divergence"] / 10


def test_a_folder_that_is_not_there_is_named_first(tmp_path, capsys):
    assert alignment_overfit.main(["--json", str(tmp_path / "gone" / "overfit.json")]) == 1
    assert "--json" in capsys.readouterr().err
