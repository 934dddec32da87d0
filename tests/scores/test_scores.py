"""Scores: exact for equal clips, and planted leaks, flicker and shifts come out at their size."""

import math

import pytest
import torch
from torch.nn import functional

from sama_core.errors import RegionError
from sama_core.scores import draw, measure, report
from sama_core.scores.fidelity import CEILING_DB, exclusivity, flicker, psnr
from sama_core.scores.motion import block_motion, shrink, shrink_factor, travel_gap


def texture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(height, width, 3) of smooth blobs, a few pixels wide."""
    coarse = torch.rand(
        1, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(seed)
    )
    return (
        functional.interpolate(coarse, (height, width), mode="bicubic")
        .clamp(0, 1)[0]
        .movedim(0, -1)
    )


def panned(frames: int, x: int, y: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    """(frames, size, size, 3): a picture whose content moves by (x, y) pixels a frame."""
    picture, middle = texture(4 * size, 4 * size, seed), 3 * size // 2
    corners = [(middle - y * t, middle - x * t) for t in range(frames)]
    return torch.stack([picture[top : top + size, left : left + size] for top, left in corners])


def half_mask(frames: int, size: int = 64) -> torch.Tensor:
    """White on the left half."""
    mask = torch.zeros(frames, size, size)
    mask[:, :, : size // 2] = 1
    return mask


# --- equal clips -------------------------------------------------------------------------------


def test_an_unchanged_clip_has_the_best_scores_exactly():
    clip = panned(5, 2, 1)
    scores = measure(clip, clip, half_mask(5))
    assert scores.exclusivity.share == 1.0
    assert scores.exclusivity.outside_db == CEILING_DB
    assert scores.exclusivity.leak.tolist() == [0.0] * 5
    assert scores.flicker.levels == 0.0 and scores.flicker.frames[1:].tolist() == [0.0] * 4
    assert (scores.motion.follow, scores.motion.pixels) == (1.0, 0.0)


def test_one_frame_has_exclusivity_alone():
    clip = panned(1, 0, 0)
    scores = measure(clip, clip + 0.1, half_mask(1))
    assert scores.exclusivity.share == pytest.approx(0.5, abs=1e-5)
    assert (
        math.isnan(scores.flicker.levels)
        and math.isnan(scores.motion.follow)
        and math.isnan(scores.motion.pixels)
    )
    assert scores.flicker.frames.isnan().all() and len(scores.motion.frames) == 1


# --- decibels ---------------------------------------------------------------------------------


def test_psnr_is_per_clip_and_capped():
    """A difference of 0.1 everywhere is 20 dB, of 0.01 is 40 dB; equal clips reach the cap."""
    truth = torch.full((3, 2, 4, 4, 3), 0.5)
    clips = truth + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1, 1)
    assert psnr(clips, truth).tolist() == pytest.approx([20.0, 40.0, CEILING_DB], abs=1e-3)


def test_psnr_of_a_region():
    """Only the region counts: half the pixels are off by 0.1, the others exact; an empty region has none."""
    truth = torch.zeros(1, 1, 2, 2, 3)
    clip = truth.clone()
    clip[:, :, 0] = 0.1
    top = torch.tensor([[[[True, True], [False, False]]]])
    assert psnr(clip, truth, top).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(clip, truth, ~top).item() == CEILING_DB
    assert psnr(clip, truth).item() == pytest.approx(23.0103, abs=1e-3)
    assert psnr(clip, truth, torch.zeros_like(top)).isnan().all()


# --- exclusivity -------------------------------------------------------------------------------


def test_exclusivity_of_a_planted_leak():
    """Half the clip is off by 0.3, as asked, the other half by 0.1: a quarter leaks, 20 dB, 25.5 levels."""
    source, mask = torch.zeros(2, 16, 16, 3), half_mask(2, 16)
    edited = torch.where(mask[..., None] > 0, 0.3, 0.1).expand_as(source)
    found = exclusivity(source, edited, mask)
    assert found.share == pytest.approx(0.75, abs=1e-6)
    assert found.outside_db == pytest.approx(20.0, abs=1e-4)
    assert found.leak.tolist() == pytest.approx([25.5, 25.5], abs=1e-4)


def test_the_feather_belongs_to_the_region():
    source = torch.zeros(1, 16, 16, 3)
    found = exclusivity(source, source + half_mask(1, 16)[..., None] * 0.5, half_mask(1, 16) * 0.01)
    assert (found.share, found.outside_db) == (1.0, CEILING_DB)


def test_a_region_of_the_whole_clip_has_no_outside():
    source = torch.zeros(1, 16, 16, 3)
    found = exclusivity(source, source + 0.5, torch.ones(1, 16, 16))
    assert found.share == 1.0 and math.isnan(found.outside_db) and found.leak.isnan().all()


# --- flicker -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pan", [(0, 0), (3, -2)])
def test_planted_flicker_comes_out_at_its_size(pan):
    """Every other frame is brighter by 5 grey levels: 5 from each frame to the next, moving or not."""
    source = panned(6, *pan)
    edited = source + (torch.arange(6) % 2).view(-1, 1, 1, 1) * 5 / 255
    scores = measure(source, edited)
    assert scores.flicker.levels == pytest.approx(5.0, abs=0.2)
    assert scores.flicker.frames[1:].tolist() == pytest.approx([5.0] * 5, abs=0.4)
    assert scores.flicker.frames[0].isnan()


def test_a_constant_change_of_colour_does_not_flicker():
    source = panned(4, 2, 0) * 0.5
    assert measure(source, source + 0.3).flicker.levels < 0.1


def test_the_flicker_of_the_source_is_not_the_edits():
    flickering = panned(6, 0, 0) + (torch.arange(6) % 2).view(-1, 1, 1, 1) * 5 / 255
    assert measure(flickering, flickering * 0.9).flicker.levels == 0.0


def test_cuts_do_not_count():
    """Two still shots: the pair across the cut is left out."""
    source = torch.cat([panned(3, 0, 0), panned(3, 0, 0, seed=5)])
    edited = source.clone()
    edited[3:] += 0.3
    found = measure(source, edited).flicker
    assert found.frames.isnan().tolist() == [True, False, False, True, False, False]
    assert found.levels == 0.0


# --- motion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, -4), (5, 2)])
def test_block_motion_finds_a_planted_shift(shift):
    motion = block_motion(panned(3, *shift))
    assert motion.distinct.all() and motion.found[:, 1:-1, 1:-1].all()
    assert (motion.vectors - torch.tensor(shift))[:, 1:-1, 1:-1].abs().max() < 0.3


def test_block_motion_over_several_frames():
    motion = block_motion(panned(4, 2, -1), gap=3)
    assert motion.vectors.shape == (1, 8, 8, 2) and motion.gap == 3
    assert (motion.vectors - torch.tensor([6.0, -3.0]))[:, 1:-1, 1:-1].abs().max() < 0.3


def test_flat_blocks_and_sliding_edges_tell_no_motion():
    stripes = (torch.arange(64) // 8 % 2).float().view(1, 1, 64, 1).expand(2, 64, 64, 3)
    assert not block_motion(stripes).distinct.any()
    assert not block_motion(torch.full((2, 64, 64, 3), 0.5)).distinct.any()


def test_shrunk_pixels_count_as_what_they_are():
    """480 pixels are shrunk 4 times: a shift of 8 pixels is 2 shrunk ones, and reported as 8."""
    assert (shrink_factor(480, 832), shrink_factor(64, 64), shrink_factor(129, 129)) == (4, 1, 2)
    assert shrink(torch.zeros(1, 480, 832, 3)).shape == (1, 120, 208, 3)
    source = panned(2, 8, 0, size=256)
    still = source[:1].expand_as(source)
    found = measure(source, still).motion
    assert shrink_factor(256, 256) == 2
    assert found.pixels == pytest.approx(8.0, abs=0.5)


def test_a_still_edit_of_a_moving_clip_does_not_follow():
    source = panned(4, 3, 4)
    found = measure(source, source[:1].expand_as(source)).motion
    assert found.follow == pytest.approx(0.1, abs=0.02), "|w − v| = 5 = |v|, half a pixel is unsure"
    assert found.pixels == pytest.approx(5.0, abs=0.2)
    assert found.frames[1:].tolist() == pytest.approx([5.0] * 3, abs=0.3)


def test_slow_motion_is_measured_over_more_frames():
    """One pixel a frame: over four frames at a time."""
    source = panned(9, 1, 0)
    assert travel_gap(block_motion(source), 9) == 4
    assert travel_gap(block_motion(source[:3]), 3) == 2
    assert travel_gap(block_motion(panned(9, 0, 0)), 9) == 8
    found = measure(source, source[:1].expand_as(source)).motion
    assert found.follow == pytest.approx(0.125, abs=0.03)
    assert found.pixels == pytest.approx(1.0, abs=0.1)
    assert found.frames.isnan().tolist() == [True] * 4 + [False] * 5


def test_half_the_speed_follows_by_three_quarters():
    """|w − v| = 2, of which half a pixel is unsure; |w| + |v| = 6."""
    found = measure(panned(4, 4, 0), panned(4, 2, 0)).motion
    assert found.follow == pytest.approx(0.75, abs=0.03)
    assert found.pixels == pytest.approx(2.0, abs=0.2)


def test_other_colours_with_the_same_motion_follow():
    assert measure(panned(4, 3, 1), 1 - panned(4, 3, 1) * 0.8).motion.follow > 0.97


def test_nothing_to_follow():
    """Flat frames have no motion to compare; a still picture is followed by a still picture."""
    flat = torch.full((3, 64, 64, 3), 0.5)
    assert math.isnan(measure(flat, flat + 0.1).motion.follow)
    still = panned(3, 0, 0)
    assert measure(still, still * 0.9).motion.follow == 1.0


# --- words, picture, bad input -----------------------------------------------------------------


def test_the_report_says_what_the_numbers_are():
    source = panned(3, 2, 0)
    text = report(measure(source, source, half_mask(3)))
    assert text.splitlines() == [
        "3 frames of 64x64",
        "Exclusivity    1.000   100.0% of the change lies in the region; outside: 60.0 dB, best is 60",
        "Flicker        0.00    grey levels of 255 that the edit adds from frame to frame; best is 0",
        "Motion follow  1.000   1 moves as the source, 0 does not; 0.00 pixels per frame apart where something moves",
    ]
    alone = report(measure(source[:1], source[:1]))
    assert alone.startswith("1 frame of 64x64\n") and alone.count("not measured") == 3


def test_the_picture_has_a_panel_per_score():
    source = panned(3, 2, 0)
    with_mask, without = draw(measure(source, source, half_mask(3))), draw(measure(source, source))
    assert with_mask.shape == (1, 372, 640, 3) and without.shape == (1, 252, 640, 3)
    assert 0 <= with_mask.min() < 0.3 and with_mask.max() == 1
    assert draw(measure(source[:1], source[:1])).shape == (1, 252, 640, 3)


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        (torch.zeros(4, 32, 32, 3), "got 4, needs 5"),
        (torch.zeros(5, 32, 48, 3), "got 48x32, needs 32x32"),
        (torch.full((5, 32, 32, 3), torch.nan), "NaN or infinite"),
    ],
)
def test_clips_that_are_no_pair(edited, words):
    with pytest.raises(RegionError, match=words):
        measure(torch.zeros(5, 32, 32, 3), edited)


def test_frames_too_small_for_motion():
    with pytest.raises(RegionError, match="frame size: got 8x32, needs at least 16x16"):
        measure(torch.zeros(2, 32, 8, 3), torch.zeros(2, 32, 8, 3))


@pytest.mark.parametrize(("height", "width", "frames"), [(17, 31, 2), (16, 16, 1), (130, 300, 2)])
def test_any_size(height, width, frames):
    clip = texture(height + 3, width + 3)[:height, :width].expand(frames, -1, -1, -1)
    assert flicker(shrink(clip), shrink(clip), block_motion(shrink(clip))).frames.shape == (frames,)
