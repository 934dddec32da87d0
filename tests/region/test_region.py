"""Masks: fitted like the clip, softened by known pixels, pasted bit for bit, and found again in an edit."""

from fractions import Fraction

import pytest
import torch

from sama_core.clip import ClipRange, ImageSource, fit_clip
from sama_core.clip.placement import Fit
from sama_core.errors import GeometryError, RegionError
from sama_core.region import (
    changed_mask,
    fit_mask,
    latent_mask,
    paste_back,
    require_pair,
    require_region,
    soften,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def square(frames: int, height: int, width: int, top: int, left: int, side: int) -> torch.Tensor:
    """A black mask with a white square."""
    mask = torch.zeros(frames, height, width)
    mask[:, top : top + side, left : left + side] = 1
    return mask


def fitted(fit: Fit = Fit.CROP):
    """A clip of 3 frames of 120x68 fitted to 5 of 96x64; cropping keeps columns 9 to 111."""
    return fit_clip(
        ImageSource(noise(3, 68, 120, 3), Fraction(24)), ClipRange(), area=6144, fit=fit
    )


# --- fitting -----------------------------------------------------------------------------------


def test_a_mask_of_the_frames_size_is_taken_as_it_is():
    mask = noise(5, 64, 96)
    assert torch.equal(fit_mask(mask, 5, 64, 96), mask)
    assert torch.equal(fit_mask(mask[0], 5, 64, 96), mask[:1].expand(5, -1, -1))


def test_a_still_stands_for_all_frames_and_padding_repeats_the_last():
    mask = noise(3, 64, 96)
    assert torch.equal(fit_mask(mask[:1], 5, 64, 96)[4], mask[0])
    padded = fit_mask(mask, 5, 64, 96)
    assert (
        torch.equal(padded[:3], mask)
        and torch.equal(padded[3], mask[2])
        and torch.equal(padded[4], mask[2])
    )


@pytest.mark.parametrize("with_info", [True, False])
def test_a_mask_of_the_source_is_cropped_as_the_clip_was(with_info):
    """White exactly where the crop box is: all white. White outside of it alone: all black."""
    frames, info = fitted()
    assert info.crop_box == (9, 0, 111, 68) and frames.shape == (5, 64, 96, 3)
    mask = torch.zeros(3, 68, 120)
    mask[:, :, 9:111] = 1
    info = info if with_info else None
    assert torch.equal(fit_mask(mask, 5, 64, 96, info), torch.ones(5, 64, 96))
    assert not fit_mask(1 - mask, 5, 64, 96, info).any()


def test_a_mask_of_the_source_at_half_size_is_cropped_alike():
    _, info = fitted()
    half = torch.zeros(1, 34, 60)
    half[:, :, 5:55] = 1
    found = fit_mask(half, 5, 64, 96, info)
    assert (found[:, :, 4:-4] == 1).all()


def test_bars_are_not_part_of_the_picture():
    """Letterboxed, a white mask covers the picture and leaves the bars; stretched, it covers everything."""
    _, info = fitted(Fit.LETTERBOX)
    left, top, right, bottom = info.placement.inset_box
    found = fit_mask(torch.ones(1, 68, 120), 5, 64, 96, info)
    assert (left, right) == (0, 96) and 0 < top < bottom < 64
    assert (
        (found[:, top:bottom] == 1).all()
        and not found[:, :top].any()
        and not found[:, bottom:].any()
    )
    assert (fit_mask(torch.ones(1, 68, 120), 5, 64, 96, fitted(Fit.STRETCH)[1]) == 1).all()


def test_filled_edges_continue_the_mask():
    """Kept at its size, 120x68 becomes 128x80: the last column and row are repeated."""
    _, info = fitted(Fit.KEEP)
    found = fit_mask(torch.ones(1, 68, 120), 5, 80, 128, info)
    assert found.shape == (5, 80, 128) and (found == 1).all()


def test_values_beyond_0_and_1_are_clamped():
    assert fit_mask(torch.tensor([[[-1.0, 2.0]]]).repeat(1, 2, 1), 1, 2, 2).tolist() == [
        [[0.0, 1.0], [0.0, 1.0]]
    ]


def test_softening_comes_after_resizing():
    """Of a mask at half size: 4 pixels of feather are 4 pixels of the frames."""
    half = torch.zeros(1, 32, 48)
    half[:, :, :24] = 1
    soft = fit_mask(half, 1, 64, 96, feather=4)[0, 0]
    sharp = fit_mask(half, 1, 64, 96)[0, 0]
    assert int((soft > 0).sum()) == int((sharp > 0).sum()) + 4


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (
            torch.ones(2, 64, 96),
            "mask: got 2 frames, needs 1 frame for the whole clip, or 9. Make the mask",
        ),
        (torch.ones(10, 64, 96), "mask: got 10 frames, needs 1 frame for the whole clip, or 9."),
        (torch.full((1, 64, 96), torch.nan), "mask: got values that are no numbers"),
        (torch.ones(1, 64, 96, 3), "mask: got shape [1, 64, 96, 3], needs a MASK"),
        (torch.ones(0, 64, 96), "mask: got shape [0, 64, 96], needs a MASK"),
    ],
)
def test_masks_that_do_not_fit(mask, words):
    with pytest.raises(RegionError) as caught:
        fit_mask(mask, 9, 64, 96)
    assert str(caught.value).startswith(words)


def test_clip_info_knows_the_count_without_padding():
    _, info = fitted()
    with pytest.raises(
        RegionError, match=r"got 4 frames, needs 1 frame for the whole clip, or 5 \(or 3, without"
    ):
        fit_mask(torch.ones(4, 64, 96), 5, 64, 96, info)
    with pytest.raises(
        RegionError, match="got that of a clip fitted to 96x64, needs that of these 64x64 frames"
    ):
        fit_mask(torch.ones(1, 64, 64), 5, 64, 64, info)


def test_an_empty_region_is_refused():
    with pytest.raises(RegionError, match="got black everywhere in the frames, needs some white"):
        require_region(torch.zeros(5, 8, 8))
    assert require_region(torch.eye(8)[None]) is not None


# --- growing and feathering --------------------------------------------------------------------


def test_grow_is_counted_in_pixels():
    assert torch.equal(soften(square(2, 32, 32, 12, 12, 6), grow=3), square(2, 32, 32, 9, 9, 12))
    assert torch.equal(soften(square(1, 32, 32, 0, 0, 6), grow=3), square(1, 32, 32, 0, 0, 9))


def test_feather_is_a_linear_ramp_outside_the_white():
    """Four pixels: 0.8, 0.6, 0.4, 0.2, then exactly 0; the white stays exactly 1."""
    mask = torch.zeros(1, 40, 40)
    mask[:, :, :20] = 1
    soft = soften(mask, feather=4)[0]
    assert soft[7, 19:25].tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0], abs=1e-6)
    assert (soft[:, :20] == 1).all() and (soft[:, 24:] == 0).all()


@pytest.mark.parametrize("feather", [1, 2, 5, 8])
def test_feather_ends_where_it_says(feather):
    soft = soften(square(1, 48, 48, 20, 20, 8), grow=2, feather=feather)
    reach = square(1, 48, 48, 18 - feather, 18 - feather, 12 + 2 * feather)
    assert (soft[square(1, 48, 48, 18, 18, 12) == 1] == 1).all()
    assert torch.equal((soft > 0).float(), reach)
    assert float(soft.max()) == 1


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
    """A square of 20 pixels, 0.2 away, under noise of deviation 0.03: all of it, and hardly more."""
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
