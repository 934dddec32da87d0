"""PSNR, exclusivity and flicker come out at the size that was planted."""

import math

import pytest
import torch

from sama_core.scores import measure
from sama_core.scores.fidelity import CEILING_DB, exclusivity, psnr

from .conftest import half_mask, panned

# --- decibels --------------------------------------------------------------------------------


def test_psnr_is_per_clip_and_capped():
    """A difference of 0.1 everywhere is 20 dB, of 0.01 is 40 dB; equal clips reach the cap."""
    truth = torch.full((3, 2, 4, 4, 3), 0.5)
    clips = truth + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1, 1)
    assert psnr(clips, truth).tolist() == pytest.approx([20.0, 40.0, CEILING_DB], abs=1e-3)


def test_psnr_of_another_peak():
    """Values in -1…1 differ by twice as much, for the same decibels."""
    clips, truth = torch.rand(2, 3, 1, 4, 4), torch.rand(2, 3, 1, 4, 4)
    assert torch.equal(psnr(clips * 2, truth * 2, peak=2.0), psnr(clips, truth))


def test_psnr_of_a_region():
    """Only the region counts: half the pixels are off by 0.1; an empty region has no PSNR."""
    truth = torch.zeros(1, 1, 2, 2, 3)
    clip = truth.clone()
    clip[:, :, 0] = 0.1
    top = torch.tensor([[[[True, True], [False, False]]]])
    assert psnr(clip, truth, top).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(clip, truth, ~top).item() == CEILING_DB
    assert psnr(clip, truth).item() == pytest.approx(23.0103, abs=1e-3)
    assert psnr(clip, truth, torch.zeros_like(top)).isnan().all()


# --- exclusivity -----------------------------------------------------------------------------


def test_exclusivity_of_a_planted_leak():
    """Half is off by 0.3, as asked, the other by 0.1: a quarter leaks, 20 dB, 25.5 levels."""
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


# --- flicker ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pan", [(0, 0), (3, -2)])
def test_planted_flicker_comes_out_at_its_size(pan):
    """Every other frame is brighter by 5 grey levels: 5 from frame to frame, moving or not."""
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
