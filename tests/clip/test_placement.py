"""Fit modes: which part of a picture is taken, and where it lands; literal boxes, and rules for any
size.
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sama_core.clip import Fit, place
from sama_core.clip.placement import lay_in, resize_frame, resize_quickly, shown_size
from sama_core.errors import ClipError
from sama_core.geometry import choose_bucket, crop_box

SIDES, AREAS = st.integers(1, 3000), st.integers(32 * 32, 1280 * 720)


@pytest.mark.parametrize(
    "fit, size, source, inset",
    [
        (Fit.CROP, (832, 480), (24, 0, 1896, 1080), (0, 0, 832, 480)),
        (Fit.LETTERBOX, (832, 480), (0, 0, 1920, 1080), (0, 6, 832, 474)),
        (Fit.STRETCH, (832, 480), (0, 0, 1920, 1080), (0, 0, 832, 480)),
        (Fit.KEEP, (1920, 1088), (0, 0, 1920, 1080), (0, 0, 1920, 1080)),
    ],
)
def test_full_hd(fit, size, source, inset):
    placement = place(1920, 1080, fit=fit)
    assert (placement.width, placement.height) == size
    assert (placement.source_box, placement.inset_box) == (source, inset)


def test_tall_letterbox_has_bars_at_the_sides():
    placement = place(300, 900, fit=Fit.LETTERBOX)
    assert (placement.width, placement.height) == (448, 896)
    assert placement.inset_box == (74, 0, 373, 896)


def test_pixels_that_are_not_square_are_shown_square():
    """PAL widescreen: 720x576 stored, 1024x576 shown. The boxes are in stored pixels."""
    assert shown_size(720, 576, Fraction(64, 45)) == (1024, 576)
    assert shown_size(720, 480, Fraction(8, 9)) == (720, 540)
    cropped = place(720, 576, pixel_aspect=Fraction(64, 45))
    assert (cropped.width, cropped.height) == (832, 480) == choose_bucket(1024, 576)
    assert crop_box(1024, 576, 832, 480) == (13, 0, 1011, 576)
    assert cropped.source_box == (9, 0, 711, 576)
    whole = place(720, 576, fit=Fit.LETTERBOX, pixel_aspect=Fraction(64, 45))
    assert whole.source_box == (0, 0, 720, 576) and whole.inset_box == (0, 6, 832, 474)
    assert place(720, 576, fit=Fit.KEEP, pixel_aspect=Fraction(64, 45)) == place(
        720, 576, fit=Fit.KEEP
    )


@given(width=SIDES, height=SIDES, area=AREAS)
def test_cropping_square_pixels_is_the_releases_rule(width, height, area):
    placement = place(width, height, area)
    assert (placement.width, placement.height) == choose_bucket(width, height, area)
    assert placement.source_box == crop_box(width, height, placement.width, placement.height)
    assert placement.fills_all


@given(
    width=SIDES,
    height=SIDES,
    area=AREAS,
    fit=st.sampled_from(Fit),
    aspect=st.fractions(Fraction(1, 16), 16, max_denominator=64),
)
def test_boxes_lie_inside_and_are_never_empty(width, height, area, fit, aspect):
    placement = place(width, height, area, fit, aspect)
    assert placement.width % 16 == placement.height % 16 == 0
    for box, outer in (
        (placement.source_box, (width, height)),
        (placement.inset_box, (placement.width, placement.height)),
    ):
        left, top, right, bottom = box
        assert 0 <= left < right <= outer[0] and 0 <= top < bottom <= outer[1]
    assert placement.takes_all or fit == Fit.CROP
    assert placement.fills_all or fit in (Fit.LETTERBOX, Fit.KEEP)


@given(width=SIDES, height=SIDES)
def test_a_letterbox_touches_two_sides_and_is_centred(width, height):
    placement = place(width, height, fit=Fit.LETTERBOX)
    left, top, right, bottom = placement.inset_box
    margins = (left, placement.width - right), (top, placement.height - bottom)
    assert any(margin == (0, 0) for margin in margins)
    assert all(0 <= after - before <= 1 for before, after in margins)


@given(width=st.integers(1, 60), height=st.integers(1, 60))
def test_kept_pixels_stay_and_their_edge_goes_on(width, height):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    laid = lay_in(frame, place(width, height, fit=Fit.KEEP))
    assert np.array_equal(laid[:height, :width], frame)
    assert (laid[height:, :width] == frame[-1:]).all() and (
        laid[:height, width:] == frame[:, -1:]
    ).all()


def test_bars_are_black():
    laid = lay_in(np.full((108, 192, 3), 200, np.uint8), place(192, 108, fit=Fit.LETTERBOX))
    assert laid.shape == (480, 832, 3)
    assert (laid[:6] == 0).all() and (laid[474:] == 0).all() and (laid[6:474] == 200).all()


@pytest.mark.parametrize(
    "area, got",
    [
        (0, "0"),
        (-(2**70), "-1.18059e+21"),
        (2**70, "1.18059e+21"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("x", "'x'"),
    ],
)
@pytest.mark.parametrize("fit", Fit)
def test_an_area_that_no_frame_has(area, got, fit):
    with pytest.raises(ClipError) as caught:
        place(64, 48, area, fit)
    assert str(caught.value) == f"area: got {got}, needs 1 to 16777216 pixels. Set it to 399360."


@pytest.mark.parametrize(
    ("size", "area", "words", "share"),
    [
        ((256, 256), 64 * 64, "", 0),
        ((1920, 1080), 832 * 480, "24 pixels at the left and 24 at the right", 0.025),
        ((1920, 1080), 64 * 64, "420 pixels at the left and 420 at the right", 0.4375),
        ((640, 480), 832 * 480, "3 pixels at the top and 4 at the bottom", 0.0146),
        ((65, 64), 64 * 64, "1 pixels at the right", 0.0154),
    ],
)
def test_what_is_cut_off_in_words(size, area, words, share):
    placed = place(*size, area)
    assert placed.describe_cut() == words and placed.share_cut == pytest.approx(share, abs=1e-4)
    for fit in (Fit.STRETCH, Fit.LETTERBOX, Fit.KEEP):
        whole = place(*size, area, fit)
        assert (whole.describe_cut(), whole.share_cut) == ("", 0)


@pytest.mark.parametrize(
    "sizes",
    [
        ((270, 480), (120, 208)),
        ((60, 80), (96, 128)),
        ((140, 149), (155, 198)),
        ((239, 209), (119, 368)),
        ((384, 357), (174, 348)),
        ((73, 352), (39, 134)),
        ((64, 96), (64, 96)),
    ],
)
def test_the_quick_resize_is_within_a_level_of_pillows(sizes):
    """Also for pure noise, where both cut off what lies beyond 0…255 in between.

    Where a side grows, less than one value in 10,000 may be two levels off.
    """
    (height, width), size = sizes
    rows, columns = np.mgrid[:height, :width]
    waves = 127 + 120 * np.sin(columns / 9) * np.cos(rows / 7)
    waves = np.stack([waves, 255 - waves, np.full_like(waves, 110)], -1).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 2, (height, width, 3), dtype=np.uint8) * 255
    most = 1 if size[0] <= height and size[1] <= width else 2
    for frame in (waves, noise):
        exact, quick = (
            resize(frame, (0, 0, width, height), *size[::-1]).astype(int)
            for resize in (resize_frame, resize_quickly)
        )
        assert np.abs(exact - quick).max() <= most
        assert (np.abs(exact - quick) > 1).mean() < 1e-4
