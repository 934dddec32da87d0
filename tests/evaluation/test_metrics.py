"""Pixel measures with literal expectations."""

import math

import pytest
import torch

from sama_core.evaluation.metrics import CEILING_DB, from_bytes, nearest, psnr, saved_bytes, to_bytes, wilson


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


def test_nearest_is_by_mean_squared_error():
    clip = torch.full((1, 1, 1, 3), 0.4)
    assert nearest(clip, torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1, 1).expand(3, 1, 1, 1, 3)) == 1


@pytest.mark.parametrize(("hits", "count", "low", "high"), [
    (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (180, 200, 0.85059, 0.93433), (1, 1, 0.20654, 1.0)])
def test_wilson_interval(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-5)


def test_bytes_are_rounded_in_and_truncated_out():
    frames = torch.tensor([-0.1, 0.5 / 255, 0.7 / 255, 1.0, 1.2])
    assert to_bytes(frames).tolist() == [0, 0, 1, 255, 255]
    assert saved_bytes(frames).tolist() == [0, 0, 0, 255, 255]
    assert math.isclose(from_bytes(torch.tensor(51, dtype=torch.uint8)).item(), 0.2, rel_tol=1e-6)
