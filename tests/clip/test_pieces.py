"""A result in pieces is the one that is written at once: its times, tags, form and sound."""

import os
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from sama_core.clip import (
    ClipRange,
    FileSource,
    FrameWalk,
    ImageSource,
    OwnSound,
    Timing,
    count_pictures,
    fit_clip,
    join_pieces,
    measure_clip,
    prepare_pictures,
    save_restored,
    write_piece,
)
from sama_core.clip.save import Encoding
from sama_core.errors import ClipError

from .test_save import NTSC, SOUNDS, TOLERANCES, clip, make

AT_ONCE = Encoding(crf=0)


def in_pieces(path, frames, info, lengths, encoding=AT_ONCE, audio=None):
    """The restored frames in pieces of these lengths, joined."""
    restored, pieces, first = prepare_pictures(frames[: info.frame_count], info, encoding), [], 0
    for number, length in enumerate(lengths):
        piece = path.parent / f"{path.stem}_{number}.mp4"
        write_piece(piece, restored, info, range(first, first + length), encoding)
        assert count_pictures(piece) == length
        pieces.append((piece, first))
        first += length
    join_pieces(path, pieces, info, OwnSound.of(info, lambda: None, audio), encoding)
    return path


def described(path) -> dict:
    """What players and other programs see of a file, but its coding."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        seen = {
            "rate": stream.average_rate,
            "frames": stream.frames,
            "size": (context.width, context.height, context.pix_fmt),
            "aspect": stream.sample_aspect_ratio,
            "colours": (context.colorspace, context.color_primaries, context.color_trc),
            "tags": dict(container.metadata),
            "tracks": [(track.type, track.codec_context.name) for track in container.streams],
        }
        shown = [
            (frame.pts * frame.time_base, frame.to_ndarray(format="rgb48le"))
            for frame in container.decode(stream)
        ]
    with av.open(str(path)) as container:
        lengths = sorted(
            (packet.pts * packet.time_base, packet.duration * packet.time_base)
            for packet in container.demux(container.streams.video[0])
            if packet.size
        )
    return seen | {"times": lengths, "pictures": [time for time, _ in shown]}, [
        picture for _, picture in shown
    ]


VARYING = Timing(
    Fraction(0),
    tuple(Fraction(time, 90_000) for time in (0, 3003, 6006, 15_000, 15_300, 40_000, 43_750)),
    Fraction(50_000, 90_000),
    False,
)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("timing", [None, NTSC, VARYING])
def test_joined_pieces_are_the_file_that_is_written_at_once(tmp_path, bits, size, timing):
    images = torch.rand(7, size[1], size[0], 3, generator=torch.Generator().manual_seed(1))
    frames, info = fit_clip(
        ImageSource(images, timing if timing in (NTSC,) else 24), ClipRange(), 1024
    )
    info = replace(info, timing=timing) if timing is VARYING else info
    encoding = replace(AT_ONCE, bit_depth=bits, metadata={"prompt": '{"a": 1}'})
    save_restored(tmp_path / "whole.mp4", frames, info, None, encoding)
    in_pieces(tmp_path / "joined.mp4", frames, info, (3, 1, 3), encoding)
    whole, pictures = described(tmp_path / "whole.mp4")
    joined, again = described(tmp_path / "joined.mp4")
    assert joined == whole
    apart = np.abs(np.stack(pictures).astype(int) - np.stack(again))
    if bits == 8:
        assert apart.max() == 0, "crf 0 loses nothing"
    else:
        assert apart.mean() < 4 << 6, "noise, of which x264 keeps 10 bits to some levels"


@pytest.mark.parametrize(
    ("name", "codec"), [*SOUNDS, ("in.mkv", "pcm_s16le"), ("in.mov", "pcm_s16le")]
)
@pytest.mark.parametrize("clip_range", [ClipRange(), ClipRange(7, 30)])
def test_the_sound_is_the_one_of_a_result_that_is_written_at_once(
    tmp_path, name, codec, clip_range
):
    """Copied where that one's is copied; else encoded, from samples that were never held whole."""
    source = make(tmp_path / name, codec)
    frames, info = fit_clip(source, clip_range, 1024)
    heard = info.with_sound(source.sound(info.start_seconds, info.duration_seconds))
    save_restored(tmp_path / "whole.mp4", frames, heard, heard.audio, AT_ONCE)
    count = info.frame_count
    in_pieces(tmp_path / "joined.mp4", frames, info, (10, count - 10))
    one, other = (
        FileSource(str(tmp_path / f"{form}.mp4")).audio(0, 0) for form in ("whole", "joined")
    )
    assert one["sample_rate"] == other["sample_rate"]
    difference = (one["waveform"] - other["waveform"]).abs().max()
    assert one["waveform"].shape == other["waveform"].shape
    assert difference <= max(TOLERANCES.get(codec, 0), 1e-6)


def test_sound_in_memory_is_taken_as_it_is(tmp_path):
    frames, info = clip(6, 32)
    audio = {"waveform": torch.rand(1, 2, 12_000) - 0.5, "sample_rate": 48_000}
    in_pieces(tmp_path / "joined.mp4", frames, info, (4, 2), audio=audio)
    assert FileSource(str(tmp_path / "joined.mp4")).audio(0, 0)["waveform"].shape[1] == 2


def test_a_piece_that_cannot_be_made_leaves_nothing(tmp_path):
    frames, info = clip(6, 32)
    with pytest.raises(ClipError, match="2 frames"):
        write_piece(
            tmp_path / "one.mp4",
            prepare_pictures(frames[:2], info.part(0, 2), AT_ONCE),
            info,
            range(4),
            AT_ONCE,
        )
    assert not list(tmp_path.iterdir())
    (tmp_path / "one.mp4").write_bytes(b"no video")
    assert count_pictures(tmp_path / "one.mp4") is None


def test_walking_gives_the_frames_that_are_held_whole(tmp_path):
    """In stretches that overlap, from anywhere, behind the end; the record is that of the whole."""
    source = make(tmp_path / "in.mp4", frames=22, size=(70, 40))
    wanted = ClipRange(1, 0, 2)
    frames, info = fit_clip(source, wanted, 1024)
    assert measure_clip(source, wanted, 1024) == info and info.padded_count == 13
    walk = FrameWalk(info)
    for part in (slice(0, 5), slice(4, 9), slice(8, 13), slice(12, 13), slice(2, 4), slice(2, 3)):
        assert torch.equal(walk.take(part), frames[part]), part
    walk.close()
    (tmp_path / "in.mp4").unlink()
    make(tmp_path / "in.mp4", frames=9, size=(40, 40))
    with pytest.raises(ClipError, match="changed or replaced"):
        FrameWalk(info).take(slice(0, 5))


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two processors",
)
def test_a_piece_is_the_same_with_fewer_processors(tmp_path):
    """Of two machines that work on one clip, and of one that goes on with an edit."""
    _, info = clip(12, 256)
    drawn = torch.Generator().manual_seed(0)
    frames = torch.rand(12, 256, 256, 3, generator=drawn)
    all_of_them, written = os.sched_getaffinity(0), []
    try:
        for processors in (all_of_them, {min(all_of_them)}):
            os.sched_setaffinity(0, processors)
            path = tmp_path / f"{len(processors)}.mp4"
            pictures = prepare_pictures(frames, info, Encoding())
            write_piece(path, pictures, info, range(12), Encoding())
            written.append(path.read_bytes())
    finally:
        os.sched_setaffinity(0, all_of_them)
    assert written[0] == written[1]
