"""Tiles of the release's VAE: where they lie and how they are blended."""

import pytest
import torch
from torch.nn.functional import avg_pool3d

from sama_core.encoders.latent_space import Tiles, blend_tiles, tile_boxes


def pool(pixels: torch.Tensor) -> torch.Tensor:
    """A stand-in encoder: (1, 3, F, H, W) → (1, 3, F, H/8, W/8), each value of its 8x8 pixels."""
    return avg_pool3d(pixels, (1, 8, 8))


def enlarge(latent: torch.Tensor) -> torch.Tensor:
    """A stand-in decoder, the inverse of `pool` on flat patches."""
    return latent.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)


@pytest.mark.parametrize(
    ("size", "tiles", "boxes"),
    [
        (
            (60, 104),
            Tiles(),
            [(top, top + 30, left, left + 52) for top in (0, 15, 30) for left in (0, 26, 52)],
        ),
        ((30, 52), Tiles(), [(0, 30, 0, 52)]),
        ((8, 8), Tiles(), [(0, 30, 0, 52)]),
        ((31, 52), Tiles(), [(0, 30, 0, 52), (15, 45, 0, 52)]),
        ((4, 6), Tiles((4, 4), (2, 2)), [(0, 4, 0, 4), (0, 4, 2, 6)]),
        ((2, 6), Tiles((2, 3), (2, 3)), [(0, 2, 0, 3), (0, 2, 3, 6)]),
    ],
    ids=[
        "480x832 takes nine",
        "one exactly",
        "one larger than all",
        "one row more",
        "small",
        "without overlap",
    ],
)
def test_where_tiles_lie(size, tiles, boxes):
    assert tile_boxes(*size, tiles) == boxes


@pytest.mark.parametrize(
    "tiles",
    [
        Tiles((4, 4), (2, 2)),
        Tiles((4, 5), (3, 2)),
        Tiles((2, 3), (2, 3)),
        Tiles((3, 20), (1, 9)),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(4, 6), (7, 9), (11, 23)], ids=str)
def test_blending_changes_nothing_where_tiles_agree(size, tiles):
    """A function of each place alone is equal in all tiles, so any blend is the untiled result."""
    latent = torch.randn(1, 3, 2, *size, generator=torch.Generator().manual_seed(1))
    pixels = enlarge(latent)
    torch.testing.assert_close(blend_tiles(enlarge, latent, tiles, encode=False), pixels)
    torch.testing.assert_close(blend_tiles(pool, pixels, tiles, encode=True), latent)


def test_ramps_by_hand():
    """Two tiles of 10 and 20, overlapping by two: weights 1 and ½, then ½ and 1."""
    values = iter([10.0, 20.0])
    blended = blend_tiles(
        lambda tile: torch.full((1, 1, 1, 1, 4), next(values)),
        torch.zeros(1, 3, 1, 8, 48),
        Tiles((1, 4), (1, 2)),
        encode=True,
    )
    expected = [10, 10, (10 + 20 / 2) / 1.5, (10 / 2 + 20) / 1.5, 20, 20]
    torch.testing.assert_close(blended.flatten(), torch.tensor(expected))


def test_corners_by_hand():
    """Four tiles of 4x6 that share two rows and four columns: a weight is the smaller ramp."""
    values = iter([0.0, 0.0, 0.0, 1.0])
    blended = blend_tiles(
        lambda tile: torch.full((1, 1, 1, 4, 6), next(values)),
        torch.zeros(1, 3, 1, 48, 64),
        Tiles((4, 6), (2, 2)),
        encode=True,
    )[0, 0, 0]
    # Row 3 weighs ½ above and 1 below; column 4 weighs ½ on the left and ¾ on the right.
    assert blended[3, 4].item() == pytest.approx(0.75 / (0.5 + 0.5 + 0.5 + 0.75))
    # Row 2 weighs 1 above and ½ below; column 2 weighs 1 on the left and ¼ on the right.
    assert blended[2, 2].item() == pytest.approx(0.25 / (1 + 0.25 + 0.5 + 0.25))
    # The last row has the lower tiles alone, at full height: only their columns count.
    assert blended[5, 4].item() == pytest.approx(0.75 / (0.5 + 0.75))
    assert blended[5, 7].item() == 1 and blended[0, 7].item() == 0


def test_the_last_tile_is_cut_at_the_edge():
    """The function never sees more than the clip holds."""
    seen = []
    blend_tiles(
        lambda tile: seen.append(tuple(tile.shape[3:])) or enlarge(tile),
        torch.zeros(1, 1, 1, 5, 7),
        Tiles((4, 4), (2, 2)),
        encode=False,
    )
    assert seen == [(4, 4), (4, 4), (4, 3), (3, 4), (3, 4), (3, 3)]
