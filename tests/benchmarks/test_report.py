"""Files that benchmarks write: whole or not there, and small."""

import pytest
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.report import save_plot
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
