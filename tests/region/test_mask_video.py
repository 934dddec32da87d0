"""A mask video of another size than its clip."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, Fit, ImageSource, measure_clip
from sama_core.geometry import WAN_21
from sama_core.region import MaskVideo


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
