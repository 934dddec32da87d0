"""Writing: what is written reads back, and a failure leaves the folder as it was.

And the demo clip.
"""

import errno
import os
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource
from sama_core.errors import ClipError

from .moving_shapes import moving_shapes
from .write_clip import write_clip


def pixel_format(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, stream.codec_context.pix_fmt


@pytest.mark.parametrize(
    "width, height, pixels", [(64, 48, "yuv420p"), (33, 47, "yuv444p"), (34, 47, "yuv444p")]
)
def test_what_is_written_reads_back(tmp_path, width, height, pixels):
    frames = list(moving_shapes(9, width, height))
    write_clip(tmp_path / "clip.mp4", frames, Fraction(30000, 1001))
    assert pixel_format(tmp_path / "clip.mp4") == ("h264", pixels)
    source = FileSource(str(tmp_path / "clip.mp4"))
    facts = source.facts()
    assert (facts.width, facts.height, facts.frame_count) == (width, height, 9)
    assert facts.fps == Fraction(30000, 1001) and source.audio(0, 0) is None
    back = np.stack(list(source.frames(ClipRange())))
    assert np.abs(back.astype(int) - np.stack(frames)).mean() < 4


def test_one_frame(tmp_path):
    write_clip(tmp_path / "clip.mp4", moving_shapes(1, 32, 32), Fraction(24))
    assert len(list(FileSource(str(tmp_path / "clip.mp4")).frames(ClipRange()))) == 1


def test_sound_is_written(tmp_path):
    wave = 0.5 * torch.sin(torch.arange(44100) * 2 * torch.pi * 440 / 44100)
    audio = {"waveform": torch.stack([wave, -wave])[None], "sample_rate": 44100}
    write_clip(tmp_path / "clip.mp4", moving_shapes(24, 64, 64), Fraction(24), audio)
    back = FileSource(str(tmp_path / "clip.mp4")).audio(0.25, 0.5)
    assert back["sample_rate"] == 44100 and back["waveform"].shape == (1, 2, 22050)
    left, right = back["waveform"][0]
    assert torch.allclose(left, wave[11025:33075], atol=0.05) and torch.allclose(
        left, -right, atol=0.05
    )


@pytest.mark.parametrize(
    "frames, text",
    [
        ([], "video: got 0 frames, needs at least 1 frame."),
        ([np.zeros((32, 32, 3), np.float32)], "frame: got float32 (32, 32, 3), needs uint8"),
        (
            [np.zeros((32, 32), np.uint8)],
            "frame: got uint8 (32, 32), needs uint8 (height, width, 3)",
        ),
        (
            [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 34, 3), np.uint8)],
            "frame: got uint8 (32, 34, 3), needs",
        ),
    ],
)
def test_wrong_frames_leave_nothing_behind(tmp_path, frames, text):
    with pytest.raises(ClipError) as caught:
        write_clip(tmp_path / "clip.mp4", frames, Fraction(24))
    assert text in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_wrong_sound_leaves_nothing_behind(tmp_path):
    with pytest.raises(
        ClipError, match=r"audio: got shape \(1, 3, 8\), needs \(1, channels, samples\)"
    ):
        write_clip(
            tmp_path / "clip.mp4",
            moving_shapes(2, 32, 32),
            Fraction(24),
            {"waveform": torch.zeros(1, 3, 8), "sample_rate": 44100},
        )
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_frames_themselves_passes_through(tmp_path):
    def frames():
        yield from moving_shapes(3, 32, 32)
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        write_clip(tmp_path / "clip.mp4", frames(), Fraction(24))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", [1, 300, 1500, 100_000])
def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path, missing):
    resource = pytest.importorskip(
        "resource", reason="file size limits stand in for a full disk; Unix only"
    )
    # A limit on file size fails in the muxer's own write calls, as a full disk does, at any byte we
    # choose.
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(10)]
    path = tmp_path / "clip.mp4"
    write_clip(path, noise, Fraction(24))
    limit = max(0, path.stat().st_size - missing)
    path.write_bytes(b"the old file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(
            ClipError, match="video 'clip.mp4': got an error while writing .*Free some disk space"
        ):
            write_clip(path, noise, Fraction(24))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert path.read_bytes() == b"the old file"


def test_a_failed_rename_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the old file")

    def refuse(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ClipError, match=r"an error while writing \(Permission denied\)"):
        write_clip(path, moving_shapes(2, 32, 32), Fraction(24))
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert path.read_bytes() == b"the old file"


def test_a_missing_folder_is_named_as_the_cause(tmp_path):
    with pytest.raises(ClipError, match=r"an error while writing \(No such file or directory\)"):
        write_clip(tmp_path / "nowhere" / "clip.mp4", moving_shapes(2, 32, 32), Fraction(24))


def test_an_older_file_is_replaced(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the old file")
    write_clip(path, moving_shapes(2, 32, 32), Fraction(24))
    assert FileSource(str(path)).facts().frame_count == 2
    assert os.listdir(tmp_path) == ["clip.mp4"]


# The demo clip


def test_demo_clip_defaults():
    frames = list(moving_shapes())
    assert len(frames) == 17
    assert all(frame.shape == (128, 128, 3) and frame.dtype == np.uint8 for frame in frames)


def test_demo_clip_is_seeded():
    first, again, other = (np.stack(list(moving_shapes(3, seed=seed))) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", range(4))
def test_demo_clip_shows_two_moving_colours(seed):
    frames = list(moving_shapes(17, seed=seed))
    colours, counts = np.unique(frames[0].reshape(-1, 3), axis=0, return_counts=True)
    shapes = colours[np.argsort(counts)[-2:]].astype(int)
    assert counts[np.argsort(counts)[-2:]].min() > 800, "circle and square each cover a good part"
    assert np.abs(shapes[0] - shapes[1]).max() > 60
    for colour in shapes:
        places = np.array([np.argwhere((frame == colour).all(-1)).mean(0) for frame in frames])
        assert np.linalg.norm(places - places[0], axis=1).max() > 15


def test_demo_clip_is_smooth_at_its_edges():
    (frame,) = moving_shapes(1)
    between = len(np.unique(frame.reshape(-1, 3), axis=0)) - 128
    assert between > 50, "more colours than the gradient's rows and the two shapes: blended edges"
