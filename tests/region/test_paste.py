"""Latent cells under a mask, pasting back bit for bit, and finding what an edit changed."""

import pytest
import torch

from sama_core.errors import GeometryError, RegionError
from sama_core.region import changed_mask, latent_mask, paste_back, require_pair, soften

from .conftest import noise, square

# --- latent cells ------------------------------------------------------------------------------


def test_a_cell_with_any_mask_in_it_is_sampled_in_full():
    """One faint pixel at frame 6, row 17, column 9 of 9 frames is cell (2, 2, 1)."""
    mask = torch.zeros(9, 32, 48)
    mask[6, 17, 9] = 0.01
    cells = latent_mask(mask)
    assert cells.shape == (1, 1, 3, 4, 6)
    assert cells.nonzero().tolist() == [[0, 0, 2, 2, 1]] and cells.max() == 1


@pytest.mark.parametrize(("frame", "cell"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_the_first_latent_frame_holds_one_frame_every_other_four(frame, cell):
    mask = torch.zeros(9, 16, 16)
    mask[frame] = 1
    assert latent_mask(mask).amax((0, 1, 3, 4)).nonzero().flatten().tolist() == [cell]


def test_one_frame_and_unfitted_frames():
    assert torch.equal(latent_mask(torch.ones(1, 16, 32)), torch.ones(1, 1, 1, 2, 4))
    with pytest.raises(GeometryError, match="got 4"):
        latent_mask(torch.ones(4, 16, 16))


# --- pasting back ------------------------------------------------------------------------------


def test_pasting_back_is_exact_where_the_mask_is_0_or_1():
    """Also where arithmetic would round, and with values beyond 0…1."""
    source, edited = noise(3, 24, 24, 3) * 3 - 1, noise(3, 24, 24, 3, seed=1) * 1e4
    mask = soften(square(3, 24, 24, 8, 8, 6), feather=4)
    pasted = paste_back(source, edited, mask)
    assert torch.equal(pasted[mask == 0], source[mask == 0])
    assert torch.equal(pasted[mask == 1], edited[mask == 1])
    between = (mask > 0) & (mask < 1)
    expected = source + mask[..., None] * (edited - source)
    assert between.any() and torch.allclose(pasted[between], expected[between], rtol=1e-4)


def test_alpha_and_half_precision_are_taken():
    source = noise(1, 8, 8, 4)
    pasted = paste_back(source, source[..., :3].half(), torch.zeros(1, 8, 8))
    assert torch.equal(pasted, source[..., :3])


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        (torch.zeros(4, 16, 16, 3), "edited frames: got 4, needs 5, as many as the source frames."),
        (
            torch.zeros(5, 16, 24, 3),
            "edited frames: got 24x16, needs 16x16, the source frames' size.",
        ),
        (torch.full((5, 16, 16, 3), torch.inf), "edited frames: got pixels that are no numbers"),
        (torch.zeros(5, 16, 16), "edited frames: got shape [5, 16, 16], needs frames of a clip"),
    ],
)
def test_clips_that_are_no_pair(edited, words):
    with pytest.raises(RegionError) as caught:
        require_pair(torch.zeros(5, 16, 16, 3), edited)
    assert str(caught.value).startswith(words)


# --- finding what changed ----------------------------------------------------------------------


def test_nothing_changed():
    clip = noise(5, 64, 64, 3)
    assert not changed_mask(clip, clip, grow=4, feather=8).any()
    assert not changed_mask(clip, clip + 2 / 255, threshold=0).any()


def test_a_changed_square_is_found_through_codec_noise():
    """A square of 20 pixels, 0.2 away, under noise of deviation 0.03: all, and hardly more."""
    source = noise(5, 64, 64, 3, seed=1) * 0.5
    true = square(5, 64, 64, 22, 10, 20)
    codec = 0.03 * torch.randn(source.shape, generator=torch.Generator().manual_seed(2))
    edited = source + 0.2 * true[..., None] + codec
    found = changed_mask(source, edited)
    assert set(found.unique().tolist()) == {0, 1}
    assert found[true == 1].mean() > 0.99
    assert (found - true).abs().sum() / true.sum() < 0.25


def test_specks_are_dropped_and_holes_filled():
    source = torch.zeros(3, 64, 64, 3)
    edited = source + square(3, 64, 64, 20, 20, 20)[..., None]
    edited[:, 28:31, 28:31] = 0
    edited[1, 5, 5] = 0.3
    found = changed_mask(source, edited)
    assert (found[:, 21:39, 21:39] == 1).all()
    assert not found[:, :15, :15].any()


def test_an_edit_of_everything_changes_everything():
    """More than half the clip changed: the limit is capped, so it is not taken for noise."""
    source = noise(3, 32, 32, 3) * 0.5
    assert (changed_mask(source, source + 0.4) == 1).all()
    assert (changed_mask(source[:1], source[:1] + 0.4) == 1).all()
