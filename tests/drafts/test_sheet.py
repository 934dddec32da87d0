"""Where everything is on a sheet."""

import pytest

from sama_core.drafts import ask
from sama_core.drafts.sheet import cell_size, lay_out


@pytest.mark.parametrize(
    ("size", "cell"),
    [
        ((64, 64), (192, 192)),
        ((48, 80), (144, 240)),
        ((480, 832), (277, 480)),
        ((200, 300), (200, 300)),
    ],
)
def test_small_pictures_are_enlarged_whole_and_large_ones_reduced(size, cell):
    assert cell_size(*size) == cell


def test_twelve_seeds_are_two_lines_of_six_beside_the_source():
    layout = lay_out(ask("a\nb", "1-12", "0"), 100, 200)
    assert (layout.height, layout.width) == (8 + 2 * (26 + 2 * 126), 8 + 7 * 208)
    assert layout.bands == [(8, 8), (286, 8)]
    assert layout.sources == [(34, 8), (312, 8)]
    assert layout.drafts[0] == (34, 216) and layout.drafts[5] == (34, 1256)
    assert layout.drafts[6] == (160, 216) and layout.drafts[12] == (312, 216)
    assert len(layout.drafts) == 24
