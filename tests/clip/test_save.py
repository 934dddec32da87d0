"""Saving a restored clip: exactly the source's size, count and times, its own sound, and a whole
file or none.
"""

import io
import os
import re
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sama_core.clip import (
    ClipRange,
    FileSource,
    Fit,
    FrameWalk,
    ImageSource,
    OwnSound,
    Timing,
    fit_clip,
    restored_frames,
    save_restored,
)
from sama_core.clip.colours import Colours
from sama_core.clip.save import Encoding
from sama_core.clip.sound import fitting_sound
from sama_core.errors import ClipError

from ..harness.moving_shapes import moving_shapes
from ..harness.turned_files import rotate
from ..harness.write_clip import write_clip
from .conftest import is_copied, sound_tracks

RATE = 48000
NTSC = Fraction(24000, 1001)
SOUNDS = [
    ("in.mp4", "aac"),
    ("in.mkv", "aac"),
    ("in.ts", "aac"),
    ("in.mp4", "libmp3lame"),
    ("in.mp4", "ac3"),
    ("in.mp4", "alac"),
    ("in.mkv", "flac"),
    ("in.mp4", "libopus"),
]
# AAC and AC-3 fill in some noise of their own, never the same twice; Opus takes longest to get
# going.
TOLERANCES = {"alac": 1e-6, "flac": 1e-6, "libopus": 0.03}


def sweep(seconds):
    """A tone that rises, so that every moment sounds different."""
    pitch = torch.linspace(200, 2000, int(seconds * RATE)) * (2 * torch.pi / RATE)
    return 0.4 * torch.sin(torch.cumsum(pitch, 0))[None]


def make(path, sound=None, frames=48, size=(48, 32), rate=24):
    """A clip with a rising tone in the codec `sound`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"g": "6"})
        (video.width, video.height), video.pix_fmt = size, "yuv420p"
        track = container.add_stream(sound, rate=RATE, layout="mono") if sound else None
        for number, pixels in enumerate(moving_shapes(frames, *size)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if track:
            resampler = av.AudioResampler(
                format=track.codec_context.format.name, layout="mono", rate=RATE
            )
            frame = av.AudioFrame.from_ndarray(
                sweep(frames / rate).numpy(), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = RATE, 0
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return FileSource(str(path))


def fitted(source, clip_range=None, fit=Fit.CROP):
    """Frames, and the record with the range's sound, as the nodes make them."""
    frames, info = fit_clip(source, clip_range or ClipRange(), 1024, fit=fit)
    return frames, replace(info, audio=source.audio(info.start_seconds, info.duration_seconds))


def stored_packets(path):
    with av.open(str(path)) as container:
        return [
            bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size
        ]


# Size, count, times


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    count=st.integers(1, 7),
    start=st.integers(0, 4),
    stride=st.integers(1, 3),
    fit=st.sampled_from(Fit),
    rate=st.sampled_from([24, NTSC, Fraction(25, 2), 240]),
)
def test_round_trip(tmp_path_factory, width, height, count, start, stride, fit, rate):
    """Size, count and rate of any clip, range and fit mode; and the pictures, unedited, look the
    same.
    """
    folder = tmp_path_factory.mktemp("trip")
    write_clip(folder / "in.mp4", moving_shapes(count + start, width, height), Fraction(rate))
    source = FileSource(str(folder / "in.mp4"))
    clip_range = ClipRange(start, 0, stride)
    frames, info = fit_clip(source, clip_range, 2048, fit=fit)
    save_restored(folder / "out.mp4", frames, info)
    back = FileSource(str(folder / "out.mp4"))
    facts, kept = back.facts(), len(range(0, count, stride))
    assert (facts.width, facts.height, facts.frame_count) == (width, height, kept)
    assert facts.fps == Fraction(rate) / stride
    pairs = zip(source.frames(clip_range), back.frames(ClipRange()), strict=True)
    if min(width, height) >= 16:
        assert max(np.abs(one.astype(int) - other).mean() for one, other in pairs) < 25


@pytest.mark.parametrize("fit", Fit)
def test_unedited_frames_come_back_alike(tmp_path, fit):
    source = make(tmp_path / "in.mp4", size=(240, 136))
    frames, info = fit_clip(source, ClipRange(5, 9), 240 * 136, fit=fit)
    save_restored(tmp_path / "out.mp4", frames, info)
    pairs = zip(
        source.frames(ClipRange(5, 9)),
        FileSource(str(tmp_path / "out.mp4")).frames(ClipRange()),
        strict=True,
    )
    assert max(np.abs(one.astype(int) - other).mean() for one, other in pairs) < 2


@pytest.mark.parametrize(
    "fit, kept", [(Fit.CROP, 0.7), (Fit.LETTERBOX, 0), (Fit.STRETCH, 0), (Fit.KEEP, 0)]
)
def test_only_cropping_leaves_borders(tmp_path, fit, kept):
    frames, info = fit_clip(
        make(tmp_path / "in.mp4", size=(128, 32)), ClipRange(0, 3), 1024, fit=fit
    )
    for restored in restored_frames(torch.full_like(frames, 0.25), info):
        untouched = ((restored - 0.25).abs().amax(-1) > 1e-5).float().mean()
        assert float(untouched) == pytest.approx(kept, abs=0.08)


def test_frames_are_restored_one_at_a_time():
    read = []

    class Source(ImageSource):
        def pictures(self, clip_range, deep=False):
            for picture in super().pictures(clip_range, deep):
                read.append(picture.number)
                yield picture

    frames, info = fit_clip(Source(torch.rand(9, 32, 100, 3), Fraction(24)), ClipRange(), 1024)
    read.clear()
    restored = restored_frames(frames, info)
    next(restored)
    next(restored)
    assert read == [0, 1]


@pytest.mark.parametrize("aspect", [Fraction(64, 45), Fraction(8, 9)])
@pytest.mark.parametrize("fit", Fit)
def test_pixels_that_are_not_square_come_back(tmp_path, fit, aspect):
    """A circle on an anamorphic clip is round to the model, and as stored in the result, with its
    pixel shape.
    """
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=24, options={"crf": "4"})
        video.width, video.height, video.pix_fmt = 72, 58, "yuv420p"
        video.codec_context.sample_aspect_ratio = aspect
        rows, columns = np.mgrid[:58, :72]
        disc = ((columns - 36) * float(aspect)) ** 2 + (rows - 29) ** 2 < 20**2
        picture = av.VideoFrame.from_ndarray(
            (disc[..., None] * np.full(3, 255)).astype(np.uint8), format="rgb24"
        )
        container.mux([*video.encode(picture), *video.encode(None)])
    source = FileSource(str(tmp_path / "in.mp4"))
    assert source.facts().pixel_aspect == aspect and (
        source.facts().width,
        source.facts().height,
    ) == (72, 58)
    frames, info = fit_clip(source, ClipRange(), 96 * 64, fit=fit)
    if fit in (Fit.CROP, Fit.LETTERBOX):
        seen = frames[0, ..., 0] > 0.5
        assert int(seen.any(0).sum()) == pytest.approx(int(seen.any(1).sum()), abs=2), "round"
    save_restored(tmp_path / "out.mp4", frames, info)
    facts = FileSource(str(tmp_path / "out.mp4")).facts()
    assert (facts.width, facts.height, facts.pixel_aspect) == (72, 58, aspect)


def test_a_turned_clip_comes_back_upright(tmp_path):
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(4, 3)
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8), format="rgb24")
        container.mux([*video.encode(picture), *video.encode(None)])
    rotate(tmp_path / "in.mp4", 90)
    frames, info = fit_clip(FileSource(str(tmp_path / "in.mp4")), ClipRange(), 1024)
    assert (info.width, info.height, info.facts.rotation, info.facts.pixel_aspect) == (
        32,
        64,
        90,
        Fraction(3, 4),
    )
    save_restored(tmp_path / "out.mp4", frames, info)
    facts = FileSource(str(tmp_path / "out.mp4")).facts()
    assert (facts.width, facts.height, facts.rotation, facts.pixel_aspect) == (
        32,
        64,
        0,
        Fraction(3, 4),
    )


@pytest.mark.parametrize(
    "size, bits, pixels",
    [
        ((48, 32), 8, "yuv420p"),
        ((47, 32), 8, "yuv444p"),
        ((48, 31), 10, "yuv444p10le"),
        ((48, 32), 10, "yuv420p10le"),
    ],
)
def test_odd_sizes_are_exact(size, bits, pixels):
    source = ImageSource(torch.rand(2, size[1], size[0], 3), Fraction(24))
    frames, info = fit_clip(source, ClipRange(), 1024)
    buffer = io.BytesIO()
    save_restored(buffer, frames, info, encoding=Encoding(bit_depth=bits))
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height, context.pix_fmt) == (*size, pixels)


@pytest.mark.parametrize("size", [(100, 70), (112, 80)])
def test_the_same_frames_become_the_same_bytes(size):
    """Seen to differ on processors with AVX-512; memory is used anew from run to run, so it takes
    some runs.
    """
    width, height = size
    noise = torch.rand(20, height, width, 3, generator=torch.Generator().manual_seed(0))
    frames, info = fit_clip(
        ImageSource(noise * 0.2 + torch.linspace(0, 0.8, width)[:, None], Fraction(24)),
        ClipRange(),
        64 * 64,
    )

    def saved():
        buffer = io.BytesIO()
        save_restored(buffer, frames, info)
        return buffer.getvalue()

    assert len({saved() for _ in range(30)}) == 1


# Sound


@pytest.mark.parametrize("name, codec", SOUNDS)
@pytest.mark.parametrize(
    "clip_range",
    [ClipRange(), ClipRange(17, 20), ClipRange(30, 5, 2)],
    ids=["all", "middle", "stride"],
)
def test_the_sources_sound_is_copied(tmp_path, name, codec, clip_range):
    """The very packets of the source, in step with the pictures to the sample, and no longer than
    they play.
    """
    source = make(tmp_path / name, codec)
    frames, info = fitted(source, clip_range)
    assert is_copied(info, info.audio)
    save_restored(tmp_path / "out.mp4", frames, info, info.audio)
    theirs, ours = stored_packets(tmp_path / name), stored_packets(tmp_path / "out.mp4")
    if name != "in.ts":  # whose packets carry headers of their own
        assert ours == theirs[theirs.index(ours[0]) :][: len(ours)]
    back = FileSource(str(tmp_path / "out.mp4")).audio(0, info.duration_seconds)["waveform"]
    wanted = info.audio["waveform"]
    assert back.shape == wanted.shape
    assert float((back - wanted)[..., 600:-1200].abs().max()) < TOLERANCES.get(codec, 2e-3)
    with av.open(str(tmp_path / "out.mp4")) as container:
        track = container.streams.audio[0]
        assert abs(track.duration * track.time_base - info.duration_seconds) < Fraction(1, 500)


@pytest.mark.parametrize(
    "name, codec", [("in.mov", "pcm_s16le"), ("in.avi", "pcm_s16le"), ("in.mkv", "wavpack")]
)
def test_what_an_mp4_does_not_take_becomes_aac(tmp_path, name, codec):
    frames, info = fitted(make(tmp_path / name, codec), ClipRange(12, 24))
    assert not is_copied(info, info.audio)
    save_restored(tmp_path / "out.mp4", frames, info, info.audio)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    back = FileSource(str(tmp_path / "out.mp4")).audio(0, 1)["waveform"]
    assert back.shape == info.audio["waveform"].shape
    assert float((back - info.audio["waveform"])[..., :-2000].abs().max()) < 0.03, (
        "from the first sample on"
    )


def test_changed_sound_is_encoded_and_foreign_sound_too(tmp_path):
    frames, info = fitted(make(tmp_path / "in.mp4", "aac"))
    louder = {**info.audio, "waveform": info.audio["waveform"] * 2}
    assert is_copied(info, {**info.audio, "waveform": info.audio["waveform"].clone()})
    assert not is_copied(info, louder) and not is_copied(info, None)
    save_restored(tmp_path / "out.mp4", frames, info, louder)
    back = FileSource(str(tmp_path / "out.mp4")).audio(0, 2)["waveform"]
    assert float((back - louder["waveform"])[..., 2000:-2000].abs().max()) < 0.05


@pytest.mark.parametrize(
    "rate, channels, stored", [(44100, 2, 44100), (192_000, 1, 48000), (5000, 6, 48000)]
)
def test_any_rate_and_layout_is_encoded_and_cut_to_the_range(rate, channels, stored):
    frames, info = fit_clip(ImageSource(torch.rand(24, 32, 32, 3), Fraction(24)), ClipRange(), 1024)
    audio = {"waveform": 0.3 * torch.ones(1, channels, 3 * rate), "sample_rate": rate}
    audio["waveform"][0, 0, 5] = float("nan")
    buffer = io.BytesIO()
    save_restored(buffer, frames, info, audio)
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        track = container.streams.audio[0]
        assert (track.rate, track.channels) == (stored, channels)
        assert abs(float(track.duration * track.time_base) - 1) < 0.03


def test_no_sound_was_asked_for(tmp_path):
    frames, info = fitted(make(tmp_path / "in.mp4", "aac"))
    save_restored(tmp_path / "out.mp4", frames, info, None)
    assert not sound_tracks(tmp_path / "out.mp4")


def test_pictures_and_sound_lie_side_by_side(tmp_path):
    """A player that streams the file needs both soon: no long run of either."""
    frames, info = fitted(make(tmp_path / "in.mp4", "aac", frames=120))
    save_restored(tmp_path / "out.mp4", frames, info, info.audio)
    with av.open(str(tmp_path / "out.mp4")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    changes = sum(one != other for one, other in pairwise(kinds))
    assert changes > 20


# A whole file or none


def clip(count=6, size=64):
    return fit_clip(
        ImageSource(
            torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0)),
            Fraction(24),
        ),
        ClipRange(),
        4096,
    )


def test_tags_are_stored_in_files_and_in_memory(tmp_path):
    tags = {"prompt": '{"1": "ä"}', "workflow": "{" + "x" * 100_000 + "}"}
    buffer = io.BytesIO()
    for target in (tmp_path / "out.mp4", buffer):
        save_restored(target, *clip(), encoding=Encoding(metadata=tags))
    for written in (str(tmp_path / "out.mp4"), io.BytesIO(buffer.getvalue())):
        with av.open(written) as container:
            assert {name: container.metadata[name] for name in tags} == tags
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_the_index_comes_first_in_a_file(tmp_path):
    save_restored(tmp_path / "out.mp4", *clip())
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("room", [0, 100, 2000, 9000])
def test_a_full_disk_keeps_the_old_file(tmp_path, room):
    resource = pytest.importorskip(
        "resource", reason="file size limits stand in for a full disk; Unix only"
    )
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(
            ClipError,
            match="out.mp4: got .* needs room and permission to write it. Free disk space",
        ):
            save_restored(path, *clip())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["out.mp4"] and path.read_bytes() == b"the old file"


def test_what_a_killed_save_had_begun_goes_when_it_is_old(tmp_path):
    """Only of the same name: another one may be written at this moment."""
    frames, info = clip()
    names = (".out[1].mp4.ab12.part.mp4", ".out[1].mp4.cd34.part.mp4", ".other.mp4.ef56.part.mp4")
    for name in names:
        (tmp_path / name).write_bytes(b"begun")
    for name in names[1:]:
        os.utime(tmp_path / name, (0, 0))
    save_restored(tmp_path / "out[1].mp4", frames, info)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ("out[1].mp4", names[0], names[2])
    )


def test_what_stops_the_work_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_restored(tmp_path / "out.mp4", *clip(), progress=stop)
    assert os.listdir(tmp_path) == []


def test_a_source_that_changed_leaves_nothing(tmp_path):
    (tmp_path / "results").mkdir()
    frames, info = fit_clip(make(tmp_path / "in.mp4", size=(128, 32)), ClipRange(), 1024)
    make(tmp_path / "in.mp4", frames=5, size=(128, 32))
    with pytest.raises(
        ClipError, match="source video: got another clip in its place, needs the same"
    ):
        save_restored(tmp_path / "results" / "out.mp4", frames, info)
    assert os.listdir(tmp_path / "results") == []


def test_frames_of_another_clip_are_refused_at_once(tmp_path):
    frames, info = clip()
    with pytest.raises(ClipError, match="frame count: got 4, needs 9"):
        save_restored(tmp_path / "out.mp4", frames[:4], info)
    with pytest.raises(
        ClipError, match="got .*No such file or directory, needs room and permission"
    ):
        save_restored(tmp_path / "nowhere" / "out.mp4", frames, info)


# Sound that no file takes as it is


@pytest.mark.parametrize("channels", [7, 9, 16])
def test_sound_of_a_layout_that_no_file_takes_is_mixed_to_stereo(channels):
    """Left stays left and right right; what else there is, is heard on both sides."""
    waveform = torch.zeros(1, channels, 48000)
    waveform[0, 0], waveform[0, 1] = sweep(1)[0], -sweep(1)[0] / 2
    waveform[0, 2:] = 0.5
    audio = {"waveform": waveform, "sample_rate": 48000}
    frames, info = fit_clip(ImageSource(torch.rand(24, 32, 32, 3), Fraction(24)), ClipRange(), 1024)
    mixed, remark = fitting_sound(info, audio)
    assert f"The sound has {channels} channels" in remark and "stereo mix" in remark
    assert torch.allclose(mixed["waveform"][0, 0], waveform[0, 0] / 2 + 0.25)
    assert torch.allclose(mixed["waveform"][0, 1], waveform[0, 1] / 2 + 0.25)
    buffer = io.BytesIO()
    save_restored(buffer, frames, info, audio)
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        assert (container.streams.audio[0].channels, container.streams.audio[0].rate) == (2, 48000)


@pytest.mark.parametrize("channels, words", [(2, ""), (7, "The sound has 7 channels")])
def test_of_a_batch_of_sounds_the_first_is_taken_and_that_is_told(channels, words):
    first = sweep(1).expand(channels, -1)
    audio = {"waveform": torch.stack([first, torch.zeros_like(first)]), "sample_rate": RATE}
    frames, info = fit_clip(ImageSource(torch.rand(24, 32, 32, 3), Fraction(24)), ClipRange(), 1024)
    kept, remark = fitting_sound(info, audio)
    assert remark.startswith("The sound is a batch of 2, and a video has one") and words in remark
    assert torch.allclose(kept["waveform"], first[None, : kept["waveform"].shape[1]], atol=1e-6)
    assert OwnSound.of(info, lambda: None, audio).heard.remark == remark
    buffer = io.BytesIO()
    save_restored(buffer, frames, info, audio)
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        heard = np.concatenate([part.to_ndarray() for part in container.decode(audio=0)], 1)
    assert np.abs(heard).max() > 0.9 * first.abs().max()


def test_copied_sound_keeps_all_of_its_channels(tmp_path):
    """FLAC holds 7 channels, and an mp4 holds FLAC: nothing is mixed then."""
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        track = container.add_stream("flac", rate=RATE, layout="6.1")
        for number, pixels in enumerate(moving_shapes(24, 48, 32)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        silence = av.AudioFrame.from_ndarray(
            np.full((1, 7 * RATE), 99, np.int16), format="s16", layout="6.1"
        )
        silence.sample_rate, silence.pts = RATE, 0
        container.mux([*track.encode(silence), *track.encode(None)])
    frames, info = fitted(FileSource(str(tmp_path / "in.mkv")))
    assert info.audio["waveform"].shape[1] == 7 and fitting_sound(info, info.audio)[1] is None
    save_restored(tmp_path / "out.mp4", frames, info, info.audio)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].channels == 7
    frames, info = fitted(FileSource(str(tmp_path / "in.mkv")), ClipRange(6))
    save_restored(tmp_path / "out.mkv", frames, info, info.audio, Encoding(container="mkv"))
    with av.open(str(tmp_path / "out.mkv")) as container:  # which cannot begin inside a packet
        assert container.streams.audio[0].channels == 2


@pytest.mark.parametrize(
    "audio, words",
    [
        ({"waveform": torch.zeros(2, 48000), "sample_rate": 48000}, r"the shape \(2, 48000\)"),
        (
            {"waveform": torch.zeros(1, 0, 48000), "sample_rate": 48000},
            r"the shape \(1, 0, 48000\)",
        ),
        ({"waveform": torch.zeros(1, 2, 48000), "sample_rate": 0}, "the sample rate 0"),
        (
            {"waveform": torch.zeros(1, 2, 48000), "sample_rate": float("nan")},
            "the sample rate nan",
        ),
        ({"sample_rate": 48000}, "no waveform"),
        ("sound.wav", "the form str"),
    ],
)
def test_what_is_no_sound_does_not_cost_the_edit(tmp_path, audio, words):
    """It reaches Finish Video after the edit is made: the video is saved silent, with a remark."""
    frames, info = clip()
    kept, remark = fitting_sound(info, audio)
    assert kept is None and re.search(f"The sound is left out, because it has {words}", remark)
    save_restored(tmp_path / "out.mp4", frames, info, audio)
    facts = FileSource(str(tmp_path / "out.mp4")).facts()
    assert facts.frame_count == info.frame_count and not sound_tracks(tmp_path / "out.mp4")


# Other containers and encodings


@pytest.mark.parametrize("start", [0, 12])
@pytest.mark.parametrize(
    "name, codec", [("in.mp4", "aac"), ("in.mkv", "flac"), ("in.mov", "pcm_s16le")]
)
def test_an_mkv_is_the_same_video(tmp_path, name, codec, start):
    """Pictures as in the mp4, times to the millisecond, sound in step with them, and the texts."""
    frames, info = fitted(make(tmp_path / name, codec, rate=NTSC), ClipRange(start, 24))
    for file in ("out.mp4", "out.mkv"):
        save_restored(
            tmp_path / file,
            frames,
            info,
            info.audio,
            Encoding(container=file[-3:], metadata={"prompt": "{}"}),
        )
    ours, other = (FileSource(str(tmp_path / file)) for file in ("out.mkv", "out.mp4"))
    facts = ours.facts()
    assert (facts.width, facts.height, facts.fps) == (48, 32, NTSC)
    pictures = list(ours.pictures(ClipRange()))
    assert [picture.number for picture in pictures] == list(range(24))
    assert all(
        abs(picture.time - picture.number / NTSC) <= Fraction(1, 1000) for picture in pictures
    )
    pairs = zip(
        other.frames(ClipRange()), pictures, strict=True
    )  # x264 is not the same to the bit, run by run
    assert max(np.abs(one.astype(int) - two.pixels).mean() for one, two in pairs) < 4
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.format.name.startswith("matroska") and container.metadata["PROMPT"] == "{}"
        assert container.streams.video[0].start_time == 0
    back, wanted = (
        sound["waveform"][0, 0] for sound in (ours.audio(0, info.duration_seconds), info.audio)
    )
    off = {
        lag: float((torch.roll(back, lag) - wanted)[2000:-2000].abs().mean())
        for lag in range(-96, 97)
    }
    assert abs(min(off, key=off.get)) <= RATE // 1000 and min(off.values()) < 0.01, (
        "in step to the millisecond"
    )
    assert float(back[1500:2500].abs().max()) > 0.3, "from the first packet on"


def test_varying_times_survive_in_an_mkv(tmp_path):
    times = [0, 40, 50, 130, 135, 300, 340, 360, 380]
    frames, info = clip(9, 32)
    timing = Timing(
        Fraction(0), tuple(Fraction(time, 1000) for time in times), Fraction(400, 1000), False
    )
    save_restored(
        tmp_path / "out.mkv", frames, replace(info, timing=timing), None, Encoding(container="mkv")
    )
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [
            round(frame.pts * frame.time_base * 1000) for frame in container.decode(video=0)
        ] == times


def test_a_preset_trades_time_for_size():
    sizes = {}
    frames, info = fit_clip(
        ImageSource(
            torch.from_numpy(np.stack(list(moving_shapes(17, 128, 96)))) / 255, Fraction(24)
        ),
        ClipRange(),
        128 * 96,
    )
    for preset in ("ultrafast", None):
        buffer = io.BytesIO()
        save_restored(buffer, frames, info, encoding=Encoding(preset=preset))
        sizes[preset] = buffer.tell()
    assert sizes["ultrafast"] > 1.2 * sizes[None]


def test_colours_that_are_asked_for_are_written_and_true():
    """Another matrix, tagged as such, gives the same picture back."""
    images = torch.tensor([0.8, 0.3, 0.1]).expand(3, 64, 64, 3)
    frames, info = fit_clip(ImageSource(images, Fraction(24)), ClipRange(), 4096)
    for colours in (Colours(1, 1, 13), Colours(9, 9, 18)):
        buffer = io.BytesIO()
        save_restored(buffer, frames, info, encoding=Encoding(colours=colours, bit_depth=10))
        source = FileSource(io.BytesIO(buffer.getvalue()))
        assert source.facts().colours == colours
        assert torch.allclose(
            torch.from_numpy(next(source.frames(ClipRange()))) / 255, images[0], atol=2 / 255
        )


def test_an_open_file_takes_a_video(tmp_path):
    with open(tmp_path / "out.mp4", "wb") as file:
        save_restored(file, *clip())
    assert FileSource(str(tmp_path / "out.mp4")).facts().frame_count == 6


@pytest.mark.parametrize("bits", [8, 10])
def test_threads_change_neither_the_frames_nor_the_file(tmp_path, monkeypatch, bits):
    """With cropped borders, in both depths, in parts, and with one thread or four."""
    source, made = make(tmp_path / "clip.mp4", frames=9, size=(96, 40)), []
    for workers in (1, 4):
        monkeypatch.setattr("sama_core.threads.count_workers", lambda n=workers: n)
        frames, info = fit_clip(source, ClipRange(2), area=64 * 64)
        assert info.crop_box != (0, 0, 96, 40)
        with closing(FrameWalk(info)) as walk:
            assert torch.equal(walk.take(slice(0, 4)), frames[:4])
            assert torch.equal(walk.take(slice(3, 7)), frames[3:7])
        edited = (frames * 0.9).contiguous()
        buffer = io.BytesIO()
        save_restored(buffer, edited, info, encoding=Encoding(bit_depth=bits, crf=0))
        made.append((frames, buffer.getvalue()))
        restored = torch.stack(list(restored_frames(edited, info)))
        buffer.seek(0)
        with av.open(buffer) as container:
            shown = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
        whole = (restored * 255).round().numpy()
        assert len(shown) == 7 and np.abs(np.stack(shown) - whole).mean() < 4
    assert torch.equal(made[0][0], made[1][0]) and made[0][1] == made[1][1]
