"""Files that benchmarks write: whole or not there, and small."""

import json

import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.report import save_plot, write_json
from sama_core.errors import RuntimeSetupError


def draw_line():
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1, 4], color="C3")
    return figure


def test_a_plot_is_a_small_picture_of_few_colours(tmp_path):
    save_plot(draw_line(), tmp_path / "line.png")
    with Image.open(tmp_path / "line.png") as picture:
        assert (picture.mode, picture.size) == ("P", (330, 220))
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert [path.name for path in tmp_path.iterdir()] == ["line.png"]


def test_a_plot_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RuntimeSetupError, match=r"gone/line\.png"):
        save_plot(draw_line(), tmp_path / "gone" / "line.png")


def test_lists_of_numbers_take_a_line_and_texts_stay(tmp_path):
    report = {
        "losses": [0.5, -1e-07, None, 3],
        "text": "[ 1, 2 ]\n[\n 1\n]",
        "rows": [[], ["a", 1]],
    }
    write_json(tmp_path / "report.json", report)
    written = (tmp_path / "report.json").read_text()
    assert json.loads(written) == report
    assert ' "losses": [0.5, -1e-07, null, 3],\n' in written
