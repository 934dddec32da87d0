"""Masks: fitted as the clip was, softened by known pixels, and checked once with their clip."""

from fractions import Fraction

import pytest
import torch

from sama_core.clip import ClipRange, ImageSource, fit_clip
from sama_core.clip.placement import Fit
from sama_core.errors import GeometryError, RegionError
from sama_core.geometry import LatentShape
from sama_core.region import FittedClip, fit_mask, require_region, soften

from .conftest import noise, square


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
    """Letterboxed, a white mask covers the picture and not the bars; stretched, it covers all."""
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


# --- a clip with its mask ----------------------------------------------------------------------


def test_a_fitted_clip_drops_alpha_and_fits_its_mask():
    images, mask = noise(5, 32, 48, 4), square(1, 32, 48, 4, 4, 8)
    clip = FittedClip.check(images, mask)
    assert torch.equal(clip.frames, images[..., :3])
    assert clip.mask is not None and torch.equal(clip.mask, mask.expand(5, -1, -1))
    assert clip.latent == LatentShape(2, 4, 6)
    assert FittedClip.check(images).mask is None


def test_a_part_of_a_fitted_clip_may_change_nothing():
    mask = torch.zeros(9, 16, 16)
    mask[7, 3, 4] = 1
    clip = FittedClip.check(noise(9, 16, 16, 3), mask)
    first, second = clip.part(slice(0, 5)), clip.part(slice(4, 9))
    assert torch.equal(second.frames, clip.frames[4:])
    assert not first.mask.any() and second.mask.any()
    assert FittedClip.check(noise(9, 16, 16, 3)).part(slice(0, 5)).mask is None


@pytest.mark.parametrize(
    ("images", "mask", "error", "words"),
    [
        (torch.zeros(4, 16, 16, 3), None, GeometryError, "frame count: got 4"),
        (torch.zeros(5, 24, 16, 3), None, GeometryError, "frame size: got 16x24"),
        (torch.zeros(5, 16, 16, 3), torch.zeros(1, 16, 16), RegionError, "mask: got black"),
        (torch.zeros(5, 16, 16, 3), torch.ones(6, 16, 16), RegionError, "mask: got 6 frames"),
    ],
)
def test_what_does_not_go_into_an_edit(images, mask, error, words):
    with pytest.raises(error) as caught:
        FittedClip.check(images, mask)
    assert str(caught.value).startswith(words)
