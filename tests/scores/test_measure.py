"""All scores at once: the best ones, the report, the picture, and clips that are refused."""

import math

import pytest
import torch

from sama_core.errors import RegionError
from sama_core.scores import draw, measure, report
from sama_core.scores.fidelity import CEILING_DB, flicker
from sama_core.scores.motion import block_motion, shrink

from .conftest import half_mask, panned, texture

# --- equal clips -----------------------------------------------------------------------------


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


# --- words, picture, bad input ---------------------------------------------------------------


def test_the_report_says_what_the_numbers_are():
    source = panned(3, 2, 0)
    text = report(measure(source, source, half_mask(3)))
    assert text.splitlines() == [
        "3 frames of 64x64",
        (
            "Exclusivity    1.000   100.0% of the change lies in the region; "
            "outside: 60.0 dB, best is 60"
        ),
        (
            "Flicker        0.00    grey levels of 255 that the edit adds from frame to frame; "
            "best is 0"
        ),
        (
            "Motion follow  1.000   1 moves as the source, 0 does not; "
            "0.00 pixels per frame apart where something moves"
        ),
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
