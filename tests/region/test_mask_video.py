"""A mask video of another size than its clip."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, Fit, ImageSource, measure_clip
from sama_core.geometry import WAN_21
from sama_core.region import MaskVideo, fit_mask


@pytest.mark.parametrize("size", [(20, 36), (40, 72), (80, 144), (20, 108)])
def test_it_is_laid_where_the_clip_is_kept_at_its_size(size):
    """72x40 pixels, filled up to 80x48 with the last column and row."""
    clip = ImageSource(torch.zeros(2, 40, 72, 3), Fraction(12))
    info = measure_clip(clip, ClipRange(), fit=Fit.KEEP)
    height, width = size
    white_left = torch.zeros(2, height, width, 3)
    white_left[:, :, : width // 2] = 1
    beside = ImageSource(white_left, Fraction(12))
    found = MaskVideo(beside, ClipRange(), info, WAN_21).take(slice(0, 2)).numpy()
    assert found.shape == (2, 48, 80)
    assert np.all(found[:, :, :33] == 1) and np.all(found[:, :, 39:] == 0)


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(40, 72), (36, 36), (30, 120)])
def test_it_is_laid_as_a_mask_is(fit, size):
    """A box of the picture, whatever the shape of the mask: only the edges differ, as they are
    resized in another way.
    """
    clip = ImageSource(torch.zeros(1, 40, 72, 3), Fraction(12))
    info = measure_clip(clip, ClipRange(), area=48 * 48, fit=fit)
    height, width = size
    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : height // 2, : width // 3] = 1
    expected = fit_mask(mask, 1, info.fitted_height, info.fitted_width, info)
    beside = ImageSource(mask[..., None].expand(-1, -1, -1, 3).contiguous(), Fraction(12))
    found = MaskVideo(beside, ClipRange(), info, WAN_21).take(slice(0, 1))
    assert 0.02 < expected.mean() < 0.3
    assert (found - expected).abs().mean() < 0.01
