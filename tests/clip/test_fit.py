"""Fitting: the release's pixels bit for bit, 4k+1 frames, and a record that says what was done."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sama_core.clip import ClipRange, FileSource, ImageSource, fit_clip, resize_frame
from sama_core.geometry import choose_bucket, crop_box

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "pixels.safetensors"), json.loads(
        (GOLDEN / "pixels.json").read_text()
    )["parameters"]


@pytest.mark.parametrize("case", range(5))
def test_crop_and_resize_equals_the_release(golden, case):
    tensors, parameters = golden
    facts = parameters[f"crop_and_resize.{case}"]
    box = crop_box(*facts["input_wh"], *facts["target_wh"])
    assert list(box) == facts["crop_box_left_top_right_bottom"]
    frame = resize_frame(tensors[f"crop_and_resize.{case}.input"].numpy(), box, *facts["target_wh"])
    assert np.array_equal(frame, tensors[f"crop_and_resize.{case}.output"].numpy())


def test_load_clip_frames_equals_the_release(golden):
    tensors, parameters = golden
    facts = parameters["load_clip_frames"]
    source = ImageSource(tensors["load_clip_frames.input"] / 255, Fraction("23.976"))
    frames, info = fit_clip(source, ClipRange(0, 81), area=6144)
    assert frames.dtype == torch.float32
    assert torch.equal(frames, tensors["load_clip_frames.output"] / 255)
    assert (info.width, info.height) == (120, 68)
    assert [info.fitted_width, info.fitted_height] == facts["chosen_wh"] == [96, 64]
    assert list(info.crop_box) == facts["crop_box"] == [9, 0, 111, 68]
    assert (info.frame_count, info.padded_count) == (7, 9)
    assert info.fps == Fraction(2997, 125)
    assert info.source is source and info.clip_range == ClipRange(0, 81)


def test_padding_repeats_the_last_frame():
    images = torch.stack([torch.full((64, 96, 3), level / 255) for level in (10, 20, 30)])
    frames, info = fit_clip(ImageSource(images, Fraction(24)), ClipRange(), area=6144)
    assert (info.frame_count, info.padded_count) == (3, 5)
    assert [round(float(frame.mean()) * 255) for frame in frames] == [10, 20, 30, 30, 30]


def test_one_frame_needs_no_padding():
    frames, info = fit_clip(
        ImageSource(torch.rand(1, 64, 96, 3), Fraction(24)), ClipRange(), area=6144
    )
    assert frames.shape == (1, 64, 96, 3) and (info.frame_count, info.padded_count) == (1, 1)


def test_default_area_is_480p():
    frames, info = fit_clip(ImageSource(torch.rand(1, 108, 192, 3), Fraction(24)), ClipRange())
    assert frames.shape == (1, 480, 832, 3)
    assert (info.fitted_width, info.fitted_height) == (832, 480)


def test_stride_slows_the_rate_and_places_the_sound():
    source = ImageSource(torch.rand(20, 64, 96, 3), Fraction(24))
    frames, info = fit_clip(source, ClipRange(6, 4, 3), area=6144)
    assert info.fps == 8 and info.frame_count == 4 and len(frames) == 5
    assert info.start_seconds == Fraction(1, 4) and info.duration_seconds == Fraction(1, 2)
    assert torch.equal(frames[1], (source.images[9] * 255).round() / 255)


def test_progress_counts_frames():
    calls = []
    source = ImageSource(torch.rand(7, 32, 48, 3), Fraction(24))
    fit_clip(
        source,
        ClipRange(1, 81, 2),
        area=6144,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


@settings(max_examples=12, deadline=None)
@given(
    width=st.integers(4, 70),
    height=st.integers(4, 70),
    count=st.integers(1, 7),
    start=st.integers(0, 6),
    stride=st.integers(1, 3),
)
def test_any_file_fits(tmp_path_factory, width, height, count, start, stride):
    path = tmp_path_factory.mktemp("any") / "clip.mp4"
    write_clip(path, moving_shapes(count + start, width, height), Fraction(24))
    frames, info = fit_clip(FileSource(str(path)), ClipRange(start, 0, stride), area=2048)
    expected = len(range(0, count, stride))
    assert (info.width, info.height, info.frame_count) == (width, height, expected)
    assert info.padded_count % 4 == 1 and expected <= info.padded_count < expected + 4
    assert tuple(frames.shape) == (info.padded_count, info.fitted_height, info.fitted_width, 3)
    assert (info.fitted_width, info.fitted_height) == choose_bucket(width, height, 2048)
    assert 0 <= frames.min() and frames.max() <= 1
