"""Restoring: the original count, size and borders, and no resampling where none is needed."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sama_core.clip import (
    ClipRange,
    EditedSource,
    FileSource,
    ImageSource,
    fit_clip,
    restore_frames,
)
from sama_core.errors import ClipError

from ..harness.moving_shapes import moving_shapes
from ..harness.write_clip import write_clip


def images(count, height, width, seed=0):
    return (
        torch.randint(
            0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(seed)
        )
        / 255
    )


def refusal(frames, info):
    with pytest.raises(ClipError) as caught:
        restore_frames(frames, info)
    return str(caught.value)


def test_frames_of_the_original_size_pass_through_bit_for_bit():
    source = ImageSource(images(3, 64, 96), Fraction(24))
    frames, info = fit_clip(source, ClipRange(), area=6144)
    edited = torch.rand(frames.shape, generator=torch.Generator().manual_seed(1)) * 3 - 1
    restored = restore_frames(edited, info)
    assert (info.fitted_width, info.fitted_height) == (96, 64)
    assert len(frames) == 5 and torch.equal(restored, edited[:3])


def test_borders_come_back_from_the_source():
    # 120x68 is cropped to columns 9..111 and fitted to 96x64.
    source = ImageSource(images(3, 68, 120), Fraction(24))
    frames, info = fit_clip(source, ClipRange(), area=6144)
    restored = restore_frames(torch.full_like(frames, 0.25), info)
    assert restored.dtype == torch.float32 and restored.shape == (3, 68, 120, 3)
    assert torch.equal(restored[:, :, :9], source.images[:, :, :9])
    assert torch.equal(restored[:, :, 111:], source.images[:, :, 111:])
    assert torch.allclose(restored[:, :, 9:111], torch.tensor(0.25), atol=1e-6)


def test_borders_come_from_the_right_frames_of_a_file(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(
        path, [np.full((34, 120, 3), 20 * number, np.uint8) for number in range(12)], Fraction(24)
    )
    frames, info = fit_clip(FileSource(str(path)), ClipRange(2, 3, 4), area=2048)
    assert info.crop_box == (26, 0, 94, 34)
    restored = restore_frames(torch.zeros_like(frames), info)
    assert [round(float(frame[:, :26].mean()) * 255 / 20) for frame in restored] == [2, 6, 10]
    assert float(restored[:, :, 26:94].abs().max()) == 0


def test_a_smooth_clip_survives_the_round_trip():
    ramp = torch.linspace(0, 1, 120).reshape(1, 1, 120, 1).expand(2, 68, 120, 3)
    frames, info = fit_clip(ImageSource(ramp, Fraction(24)), ClipRange(), area=6144)
    assert torch.allclose(restore_frames(frames, info), ramp, atol=0.01)


def test_resampling_keeps_more_than_8_bits():
    source = ImageSource(images(1, 32, 48), Fraction(24))
    frames, info = fit_clip(source, ClipRange(), area=6144)
    value = 100.4 / 255
    assert info.crop_box == (0, 0, 48, 32) and frames.shape == (1, 64, 96, 3)
    assert torch.allclose(
        restore_frames(torch.full_like(frames, value), info), torch.tensor(value), atol=1e-6
    )


@pytest.mark.parametrize("height, width", [(32, 48), (128, 192), (50, 75)])
def test_resampling_is_pillows_bicubic(height, width):
    source = ImageSource(images(1, height, width), Fraction(24))
    _, info = fit_clip(source, ClipRange(), area=6144)
    # Low contrast: Pillow also clips between its two passes, which float does not.
    edited = ((images(1, 64, 96, seed=5) / 2 + 0.25) * 255).round() / 255
    expected = Image.fromarray((edited[0] * 255).round().to(torch.uint8).numpy()).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    difference = restore_frames(edited, info)[0] * 255 - torch.from_numpy(np.array(expected))
    assert info.crop_box == (0, 0, width, height)
    assert float(difference.abs().max()) < 1.5, "Pillow rounds to 8 bits twice"


def test_overshoot_of_resampling_is_clamped():
    source = ImageSource(images(1, 128, 192), Fraction(24))
    frames, info = fit_clip(source, ClipRange(), area=6144)
    edge = torch.zeros_like(frames)
    edge[:, :, 48:] = 1
    restored = restore_frames(edge, info)
    assert float(restored.min()) == 0 and float(restored.max()) == 1


def test_half_precision_and_unpadded_frames_are_accepted():
    source = ImageSource(images(3, 68, 120), Fraction(24))
    frames, info = fit_clip(source, ClipRange(), area=6144)
    padded = restore_frames(frames, info)
    assert torch.equal(restore_frames(frames[:3], info), padded)
    assert restore_frames(frames.half(), info).dtype == torch.float32


def test_progress_counts_restored_frames():
    frames, info = fit_clip(ImageSource(images(2, 68, 120), Fraction(24)), ClipRange(), area=6144)
    calls = []
    restore_frames(frames, info, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_foreign_frames_are_refused():
    frames, info = fit_clip(ImageSource(images(3, 68, 120), Fraction(24)), ClipRange(), area=6144)
    assert refusal(frames[:4], info).startswith(
        "frame count: got 4, needs 5 (or 3 without padding). Connect"
    )
    assert refusal(torch.zeros(9, 64, 96, 3), info).startswith(
        "frame count: got 9, needs 5 (or 3 without padding)."
    )
    assert refusal(torch.zeros(5, 96, 64, 3), info).startswith(
        "frame size: got 64x96, needs 96x64 (or the original 120x68). Connect"
    )
    assert refusal(torch.zeros(64, 96, 3), info).startswith("frames: got shape (64, 96, 3), needs")
    assert refusal(torch.zeros(5, 64, 96, 4), info).startswith(
        "frames: got shape (5, 64, 96, 4), needs"
    )


def test_a_source_that_changed_is_noticed(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, moving_shapes(5, 120, 34), Fraction(24))
    frames, info = fit_clip(FileSource(str(path)), ClipRange(), area=2048)
    write_clip(path, moving_shapes(3, 120, 34), Fraction(24))
    assert refusal(frames, info).startswith(
        "source video: got another clip in its place, needs the same clip, as when it was loaded."
    )
    path.unlink()
    assert refusal(frames, info).startswith("video 'clip.mp4': got no such file")


def test_another_clip_of_the_same_size_and_length_lends_no_borders(tmp_path):
    """A link that points elsewhere by the time the result is saved, and a file that was written
    over.
    """
    for number, name in enumerate(("one.mp4", "two.mp4")):
        write_clip(
            tmp_path / name,
            (picture // (1 + number) for picture in moving_shapes(5, 120, 34)),
            Fraction(24),
        )
    link = tmp_path / "clip.mp4"
    link.symlink_to("one.mp4")
    frames, info = fit_clip(FileSource(str(link)), ClipRange(), area=2048)
    expected = restore_frames(frames, info)
    link.unlink()
    link.symlink_to("two.mp4")
    assert refusal(frames, info).startswith("source video: got another clip in its place")
    link.unlink()
    link.write_bytes((tmp_path / "one.mp4").read_bytes())  # the same clip again, newer
    assert torch.equal(restore_frames(frames, info), expected)


def test_a_recording_that_goes_on_meanwhile_is_the_same_clip(tmp_path):
    """Its length when it was loaded counts."""
    whole = tmp_path / "whole.ts"
    write_clip(tmp_path / "whole.mp4", moving_shapes(40, 120, 34), Fraction(24))
    _as_mpeg_ts(tmp_path / "whole.mp4", whole)
    data, path = whole.read_bytes(), tmp_path / "growing.ts"
    path.write_bytes(data[: len(data) * 3 // 4])
    frames, info = fit_clip(FileSource(str(path)), ClipRange(frames=9), area=2048)
    expected = restore_frames(frames, info)
    path.write_bytes(data)
    assert torch.equal(restore_frames(frames, info), expected)


def _as_mpeg_ts(source, target):
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                write.mux(packet)


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    count=st.integers(1, 9),
    start=st.integers(0, 8),
    limit=st.integers(0, 9),
    stride=st.integers(1, 3),
)
def test_round_trip_gives_back_count_and_size(width, height, count, start, limit, stride):
    source = ImageSource(images(count + start, height, width), Fraction(30000, 1001))
    frames, info = fit_clip(source, ClipRange(start, limit, stride), area=2048)
    expected = source.images[start::stride][: limit or None]
    restored = restore_frames(frames, info)
    assert restored.shape == expected.shape
    left, top, right, bottom = info.crop_box
    outside = torch.ones(height, width, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(restored[:, outside], expected[:, outside])


@settings(max_examples=8, deadline=None)
@given(width=st.integers(4, 70), height=st.integers(4, 70), count=st.integers(1, 7))
def test_round_trip_of_files_gives_back_count_and_size(tmp_path_factory, width, height, count):
    folder = tmp_path_factory.mktemp("trip")
    write_clip(folder / "in.mp4", moving_shapes(count, width, height), Fraction(24))
    frames, info = fit_clip(FileSource(str(folder / "in.mp4")), ClipRange(), area=2048)
    restored = (restore_frames(frames, info) * 255).round().to(torch.uint8).numpy()
    write_clip(folder / "out.mp4", restored, info.fps)
    facts = FileSource(str(folder / "out.mp4")).facts()
    assert (facts.width, facts.height, facts.frame_count, facts.fps) == (width, height, count, 24)


# An edit as the source of another


def test_an_edit_is_read_as_its_restored_frames():
    frames, info = fit_clip(ImageSource(images(9, 40, 120), Fraction(24)), ClipRange(2), area=2048)
    edit, whole = EditedSource(frames, info), restore_frames(frames, info)
    assert (edit.facts().frame_count, edit.facts().fps, edit.audio(0, 0)) == (7, 24, None)
    for clip_range in (ClipRange(), ClipRange(3, 2), ClipRange(1, 0, 3), ClipRange(6, 81)):
        pictures = list(edit.pictures(clip_range))
        expected = whole[clip_range.start :: clip_range.stride][: clip_range.frames or None]
        assert [picture.number for picture in pictures] == list(range(7))[
            clip_range.start :: clip_range.stride
        ][: clip_range.frames or None]
        got = torch.from_numpy(np.stack([picture.pixels for picture in pictures]))
        assert torch.equal(got, (expected * 255).round().to(torch.uint8))
        assert all(picture.time == Fraction(picture.number, 24) for picture in pictures)
    deep = next(edit.pictures(ClipRange(), deep=True)).pixels
    assert deep.dtype == np.uint16 and np.abs(deep / 65280 - whole[0].numpy()).max() < 1e-5


def test_an_edit_finds_its_frames_by_time():
    edit = EditedSource(
        *fit_clip(ImageSource(images(5, 32, 48), Fraction(10)), ClipRange(), area=2048)
    )
    assert [edit.frame_at(Fraction(time, 100)) for time in (0, 4, 6, 44, 46, 900)] == [
        0,
        0,
        1,
        4,
        5,
        5,
    ]
    assert edit.time_of(3) == Fraction(3, 10) and edit.audio(0, 1) is None
    with pytest.raises(ClipError, match="start frame 5"):
        edit.time_of(5)
    with pytest.raises(ClipError, match="frame count: got 4"):
        EditedSource(edit.edited[:4], edit.info.part(0, 3))
