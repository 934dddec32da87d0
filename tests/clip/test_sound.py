"""Sound of foreign files: any channels, holes, changes and tracks, on one clock with the pictures;
nothing crashes.
"""

import io
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from time import sleep

import av
import numpy as np
import pytest
import torch

from sama_core.clip import ClipRange, FileSource, apart, file_source, fit_clip, save_restored
from sama_core.clip.sound import fitting_sound

from ..harness import sound_worker
from ..harness.sound_files import (
    CENTRE,
    LEFT,
    LEFT_BACK,
    LOW,
    RATE,
    RIGHT,
    RIGHT_BACK,
    click_times,
    clicks,
    state_order,
    tones,
    write,
)
from .conftest import is_copied, sound_tracks

ROOT = Path(__file__).resolve().parents[2]
NEAR = 0.003
"""Seconds: a coarse clock's tick, and what encoders smear."""


def read(path, clip_range=None):
    """Fitted frames, and the record with the sound, as SAMA Source Video makes them."""
    source = FileSource(str(path))
    frames, info = fit_clip(source, clip_range or ClipRange(), 1024)
    return frames, info.with_sound(source.sound(info.start_seconds, info.duration_seconds))


def saved(frames, info):
    """The result's sound, and the name of its codec."""
    buffer = io.BytesIO()
    save_restored(buffer, frames, info, info.audio)
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        codec = container.streams.audio[0].codec_context.codec.canonical_name
    return FileSource(io.BytesIO(buffer.getvalue())).audio(0, info.duration_seconds), codec


def assert_clicks(audio, wanted):
    assert click_times(audio) == pytest.approx(wanted, abs=NEAR)


# Channels: decoding these killed the process

# name: codec, layout of the samples, what the file says the channels are, their places in FFmpeg's
# order
ORDERS = {
    "7.1.mp4": ("aac", "7.1", None, range(8)),
    "8.mov": ("pcm_s16le", "8 channels", None, range(8)),
    "16.mov": ("pcm_s24le", "16 channels", None, range(16)),
    "9.mkv": ("pcm_s16le", "9 channels", None, range(9)),
    "12.mxf": ("pcm_s16le", "12 channels", None, range(12)),
    "RL.mov": ("pcm_s16le", "stereo", [RIGHT, LEFT], [1, 0]),
    "LCR.mov": ("pcm_f32le", "3.0", [LEFT, CENTRE, RIGHT], [0, 2, 1]),
    "51C.mov": (
        "pcm_s16le",
        "5.1",
        [LEFT, CENTRE, RIGHT, LEFT_BACK, RIGHT_BACK, LOW],
        [0, 2, 1, 5, 3, 4],
    ),
    "film.mp4": (
        "flac",
        "5.1",
        [LEFT, CENTRE, RIGHT, LEFT_BACK, RIGHT_BACK, LOW],
        [0, 2, 1, 5, 3, 4],
    ),
    "back.mov": ("pcm_s16le", "7.1", [8, 7, 6, 5, 4, 3, 2, 1], [7, 6, 5, 4, 3, 2, 1, 0]),
    "twice.mov": ("pcm_s16le", "stereo", [LEFT, LEFT], [0, 1]),
    "adpcm.mov": ("adpcm_ima_qt", "stereo", [RIGHT, LEFT], [1, 0]),
}


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What a process that reads and saves all of `ORDERS` says of each."""
    folder, paths = tmp_path_factory.mktemp("orders"), []
    for name, (codec, layout, labels, places) in ORDERS.items():
        path = write(
            folder / name,
            tones(len(places)),
            codec,
            layout,
            video="mpeg2video" if name.endswith("mxf") else "libx264",
        )
        paths.append(state_order(path, labels) if labels else path)
    worker = subprocess.run(
        [sys.executable, "-P", "-m", sound_worker.__name__, *paths],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    lines = [json.loads(line) for line in worker.stdout.splitlines()]
    assert worker.returncode == 0, f"died of {[*ORDERS][len(lines) :][:1]}: {worker.stderr[-500:]}"
    return dict(zip(ORDERS, lines, strict=True))


@pytest.mark.parametrize("name", ORDERS)
def test_many_channels_in_any_order_are_heard_in_ffmpegs_order(heard, name):
    """The server lives, and every channel is where it belongs; what is saved holds them the same
    way.
    """
    *_, places = ORDERS[name]
    lows = {3} if name == "7.1.mp4" else set()  # AAC keeps nothing but bass in LFE
    found = heard[name]
    assert found["shape"][:2] == [1, len(places)]
    assert [pitch for place, pitch in enumerate(found["pitches"]) if place not in lows] == [
        place for number, place in enumerate(places) if number not in lows
    ]
    if len(places) < 6:
        assert found["saved"] == found["pitches"]
    assert ("16 channels" in found["remark"]) is (name == "16.mov")


def test_seven_channels_are_told_before_sampling(tmp_path):
    _, info = read(write(tmp_path / "in.mkv", tones(7), "pcm_s16le", "6.1"))
    assert info.audio["waveform"].shape[1] == 7
    audio, remark = fitting_sound(info, info.audio)
    assert audio["waveform"].shape[1] == 2 and "7 channels" in remark and "stereo mix" in remark
    assert not info.sound_remark, "it is told once"
    _, copied = read(write(tmp_path / "flac.mkv", tones(7), "flac", "6.1"))
    assert not copied.sound_remark and fitting_sound(copied, copied.audio)[1] is None
    assert is_copied(copied, copied.audio)


# One clock


@pytest.mark.parametrize(
    "name, codec", [("in.mkv", "aac"), ("in.ts", "aac"), ("in.mkv", "pcm_s16le")]
)
def test_a_recording_that_starts_before_a_keyframe(tmp_path, name, codec):
    """Its first pictures cannot be decoded: the clip begins with the keyframe after 1 s, and so
    does its sound.
    """
    path = write(tmp_path / name, clicks(2, 3), codec, "stereo", skip=7)
    frames, info = read(path)
    assert info.frame_count == 48 and round(float(frames[0].mean()) * 51) == 24
    assert_clicks(info.audio, [0.25, 0.75, 1.25, 1.75])
    assert info.audio["waveform"].shape[-1] == 2 * RATE
    back, _ = saved(frames, info)
    assert_clicks(back, [0.25, 0.75, 1.25, 1.75])


@pytest.mark.parametrize("name", ["in.mp4", "in.mov", "in.mkv"])
def test_pictures_that_begin_late(tmp_path, name):
    """An mp4 says so with an edit list. What sounds before the first picture belongs to nothing
    that is shown.
    """
    frames, info = read(write(tmp_path / name, clicks(2, 2), "aac", "stereo", first_picture=12))
    assert_clicks(info.audio, [0.25, 0.75, 1.25])
    assert_clicks(saved(frames, info)[0], [0.25, 0.75, 1.25])
    frames, info = read(tmp_path / name, ClipRange(3, 18))
    assert_clicks(info.audio, [0.125, 0.625])
    assert_clicks(saved(frames, info)[0], [0.125, 0.625])


def test_an_avi_begins_with_its_first_packets(tmp_path):
    """It has no presentation times: FFmpeg guesses those of pictures some frames too late."""
    frames, info = read(write(tmp_path / "in.avi", clicks(2, 2), "pcm_s16le", "stereo"))
    assert_clicks(info.audio, [0.25, 0.75, 1.25, 1.75])
    assert_clicks(saved(frames, info)[0], [0.25, 0.75, 1.25, 1.75])


# Holes


@pytest.mark.parametrize(
    "name, codec",
    [
        ("in.mkv", "aac"),
        ("in.mkv", "pcm_s16le"),
        ("in.mp4", "aac"),
        ("in.webm", "libopus"),
        ("in.ts", "aac"),
    ],
)
def test_a_hole_is_silence(tmp_path, name, codec):
    """A second without packets: what comes after it is heard when it is due, in AUDIO and in the
    result.
    """
    video = "libvpx-vp9" if name == "in.webm" else "libx264"
    path = write(tmp_path / name, clicks(2, 4), codec, "stereo", silent=(1.1, 2.1), video=video)
    frames, info = read(path)
    wanted = [0.25, 0.75, 2.25, 2.75, 3.25, 3.75]
    assert_clicks(info.audio, wanted)
    assert not info.audio["waveform"][..., round(1.2 * RATE) : round(2 * RATE)].any()
    back, _ = saved(frames, info)
    assert_clicks(back, wanted)
    changed = {**info.audio, "waveform": info.audio["waveform"] * 0.9}
    buffer = io.BytesIO()
    save_restored(buffer, frames, info, changed)
    assert_clicks(FileSource(io.BytesIO(buffer.getvalue())).audio(0, 4), wanted)


def test_one_lost_packet_is_silence_and_jitter_is_not(tmp_path):
    path = write(
        tmp_path / "in.mkv", np.full((1, 2 * RATE), 0.5), "pcm_s16le", "mono", silent=(1, 1.02)
    )
    _, info = read(path)
    silent = np.flatnonzero(info.audio["waveform"][0, 0].numpy() == 0)
    assert 900 < len(silent) <= 1024 + 48 and abs(silent[0] / RATE - 1) < 0.025
    shaking = write(tmp_path / "shaking.mkv", np.full((1, RATE // 10), 0.5), "pcm_s16le", "mono")
    with av.open(shaking) as source, av.open(str(tmp_path / "out.mkv"), "w") as container:
        streams = {
            stream.index: container.add_stream_from_template(stream) for stream in source.streams
        }
        for packet in (packet for packet in source.demux() if packet.size):
            if packet.stream.type == "audio":
                packet.pts = packet.dts = packet.pts + 9 * (packet.pts // 21 % 2)
            packet.stream = streams[packet.stream.index]
            container.mux(packet)
    sound = FileSource(str(tmp_path / "out.mkv")).audio(0, 0.09)["waveform"]
    assert torch.equal(sound, torch.full_like(sound, 0.5)), "not a sample is missing or silent"


def test_damaged_packets_are_silence_and_told_once(tmp_path):
    path = write(tmp_path / "in.mkv", clicks(2, 3), "flac", "stereo")
    with av.open(path) as container:
        packets = [
            (bytes(packet), packet.pts / 1000) for packet in container.demux(audio=0) if packet.size
        ]
    data = Path(path).read_bytes()
    for content, time in packets:
        if 1 <= time < 2:
            assert data.count(content) == 1
            data = data.replace(content, bytes(len(content)))
    Path(path).write_bytes(data)
    _, info = read(path)
    assert info.frame_count == 72
    assert_clicks(info.audio, [0.25, 0.75, 2.25, 2.75])
    assert [remark for remark in info.remarks() if "damaged" in remark] == [info.sound_remark]


# Changes inside


def joined(folder, *parts):
    """MPEG-TS files of 2 s one behind the other, as a receiver stores what is sent: (channels,
    layout, rate, begin).
    """
    whole = b""
    for number, (codec, channels, layout, rate, begin) in enumerate(parts):
        path = folder / f"{number}.ts"
        whole += Path(
            write(path, clicks(channels, 2, rate), codec, layout, rate, begin=begin)
        ).read_bytes()
    (folder / "joined.ts").write_bytes(whole)
    return folder / "joined.ts"


@pytest.mark.parametrize(
    "first, second",
    [
        (("aac", 2, "stereo", 44100, 0), ("aac", 2, "stereo", 48000, 2)),
        (("aac", 1, "mono", 48000, 0), ("aac", 6, "5.1", 48000, 2)),
        (("aac", 6, "5.1", 48000, 0), ("aac", 1, "mono", 32000, 2)),
        (("ac3", 2, "stereo", 48000, 0), ("ac3", 6, "5.1", 48000, 2)),
        (("ac3", 2, "stereo", 44100, 0), ("ac3", 2, "stereo", 48000, 2)),
    ],
    ids=str,
)
def test_changes_of_rate_and_layout_are_resampled(tmp_path, first, second):
    """To what the file begins with; an mp4 describes a track once, so nothing of it is copied."""
    _, channels, _, rate, _ = first
    frames, info = read(joined(tmp_path, first, second))
    wanted = [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75]
    assert info.audio["sample_rate"] == rate and info.audio["waveform"].shape[1] == channels
    assert info.frame_count == 96
    shift = float(
        info.timing.starts[48] - 2
    )  # FFmpeg begins every file at the earliest of its streams
    assert_clicks(info.audio, [time + shift * (time > 2) for time in wanted])
    assert [remark for remark in info.remarks() if "changes its rate" in remark] == [
        info.sound_remark
    ]
    back, codec = saved(frames, info)
    assert codec == "aac" and not is_copied(info, info.audio)
    assert_clicks(back, [time + shift * (time > 2) for time in wanted])


def test_a_clock_that_is_set_back_goes_on(tmp_path):
    path = joined(tmp_path, ("aac", 2, "stereo", 48000, 0), ("aac", 2, "stereo", 48000, 0))
    sound = FileSource(str(path)).audio(0, 0)
    assert click_times(sound) == pytest.approx(
        [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75], abs=0.06
    )


# Several tracks


@pytest.mark.parametrize(
    "default, taken, words", [(None, 0, "default"), (1, 1, "default"), (-1, 0, "first")]
)
def test_the_default_track_is_taken_else_the_first(tmp_path, default, taken, words):
    """And that there are more is said, once. The copied packets are that track's, too."""
    path = write(
        tmp_path / ("in.mp4" if default is None else "in.mkv"),
        np.zeros((1, RATE)) + tones(1) * 0,
        "aac",
        "mono",
        more=(tones(1),),
        default=default,
    )
    frames, info = read(path)
    assert bool(info.audio["waveform"].abs().max() > 0.1) is (taken == 1)
    assert info.sound_remark == f"The clip has 2 sound tracks: the {words} one is taken."
    assert is_copied(info, info.audio)
    assert bool(saved(frames, info)[0]["waveform"].abs().max() > 0.1) is (taken == 1)


# The process that decodes


@pytest.fixture
def processes(monkeypatch):
    """Every process that is started for decoding."""
    started, original = [], subprocess.Popen

    def start(*arguments, **settings):
        started.append(original(*arguments, **settings))
        return started[-1]

    monkeypatch.setattr(apart.subprocess, "Popen", start)
    return started


def program(monkeypatch, folder, text):
    (folder / "program.py").write_text(text)
    monkeypatch.setattr(apart, "PROGRAM", folder / "program.py")


def test_usual_sound_needs_no_process(tmp_path, processes):
    for name, codec in (
        ("in.mp4", "aac"),
        ("in.mkv", "flac"),
        ("in.avi", "pcm_s16le"),
        ("in.mkv", "libopus"),
    ):
        assert read(write(tmp_path / name, tones(2, 0.5), codec, "stereo"))[1].audio is not None
    assert not processes


def test_sound_in_memory_is_decoded_apart_too(tmp_path, processes):
    path = state_order(write(tmp_path / "in.mov", tones(2), "pcm_s16le", "stereo"), [RIGHT, LEFT])
    here = FileSource(io.BytesIO(Path(path).read_bytes())).audio(0.25, 0.5)
    assert torch.equal(here["waveform"], FileSource(path).audio(0.25, 0.5)["waveform"])
    assert here["waveform"].shape == (1, 2, RATE // 2)
    assert len(processes) == 2 and None not in [process.poll() for process in processes]


@pytest.mark.parametrize(
    "text", ["import os; os.abort()", "raise SystemExit(3)", "print('nonsense' * 100)"]
)
def test_where_the_decoder_dies_sound_is_left_out_with_one_remark(tmp_path, monkeypatch, text):
    program(monkeypatch, tmp_path, text)
    frames, info = read(write(tmp_path / "in.mov", tones(2), "pcm_s16le", "stereo"))
    assert info.audio is None and info.frame_count == 24
    assert [remark for remark in info.remarks() if "sound" in remark] == [info.sound_remark]
    assert "(pcm_s16le) cannot be decoded: it is left out" in info.sound_remark
    save_restored(tmp_path / "out.mp4", frames, info, info.audio)
    assert not sound_tracks(tmp_path / "out.mp4")


def test_where_the_decoder_dies_packets_are_copied_all_the_same(tmp_path, monkeypatch):
    """FLAC in an mp4 that states a custom order: the result has the source's packets, though nobody
    heard them.
    """
    path = state_order(write(tmp_path / "in.mp4", tones(2), "flac", "stereo"), [RIGHT, LEFT])
    program(monkeypatch, tmp_path, "import os; os.abort()")
    frames, info = read(path)
    assert not info.audio["waveform"].any() and info.audio["waveform"].shape == (1, 2, RATE)
    assert "copies" in info.sound_remark and is_copied(info, info.audio)
    save_restored(tmp_path / "out.mp4", frames, info, info.audio)
    packets = []
    for name in ("in.mp4", "out.mp4"):
        with av.open(str(tmp_path / name)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]


def test_a_decoder_that_is_stuck_is_ended(tmp_path, monkeypatch, processes):
    program(monkeypatch, tmp_path, "import time; time.sleep(600)")
    monkeypatch.setattr(apart, "LONGEST_SILENCE", 0.1)
    _, info = read(write(tmp_path / "in.mov", tones(2), "pcm_s16le", "stereo"))
    assert info.audio is None and "cannot be decoded" in info.sound_remark
    assert processes[0].poll() is not None


def test_a_decoder_waits_for_whoever_takes_the_samples(tmp_path, monkeypatch):
    """An encoder behind it, on a slow disk, may take its time."""
    path = write(tmp_path / "in.mov", tones(2, 5), "pcm_s16le", "stereo")
    with av.open(str(path)) as container:
        track = container.streams.audio[0].index
    wanted = apart.Wanted(track, Fraction(0), Fraction(5))
    pieces = apart.read_samples_apart(path, wanted, apart.Found(), lambda: None)
    first = len(next(pieces))
    monkeypatch.setattr(apart, "LONGEST_SILENCE", -1)
    sleep(1.5)
    monkeypatch.undo()
    assert first + sum(map(len, pieces)) == 5 * RATE


def test_no_process_can_be_started(tmp_path, monkeypatch):
    """A frozen or embedded interpreter may not be a program."""
    path = write(tmp_path / "in.mov", tones(2), "pcm_s16le", "stereo")
    for executable in (None, "", str(tmp_path / "nowhere")):
        monkeypatch.setattr(sys, "executable", executable)
        assert "cannot be decoded" in read(path)[1].sound_remark


class Stop(Exception):
    pass


def test_an_interrupt_ends_the_process(tmp_path, processes):
    path = write(tmp_path / "in.mov", tones(2, 3), "pcm_s16le", "stereo")

    def interrupted():
        raise Stop

    with pytest.raises(Stop):
        FileSource(path).sound(0, 3, interrupted)
    with pytest.raises(Stop):
        FileSource(write(tmp_path / "in.mp4", tones(2), "aac", "stereo")).sound(0, 3, interrupted)
    assert len(processes) == 1 and processes[0].poll() is not None


def test_saving_asks_a_source_for_its_packets_once(tmp_path, monkeypatch):
    """Seven channels fit no AAC: whether they are copied decides on the mix, and is asked once."""
    frames, info = read(write(tmp_path / "in.mkv", tones(7), "flac", "6.1"))
    open_packets, names = file_source.open_packets, []
    monkeypatch.setattr(
        file_source,
        "open_packets",
        lambda stream, name, *rest: names.append(name) or open_packets(stream, name, *rest),
    )
    codec = saved(frames, info)[1]
    assert (codec, names) == ("flac", ["in.mkv"])


def test_packets_are_read_as_they_are_taken(tmp_path):
    """So those of many hours are not held: what goes while they are read is missing."""
    path = write(tmp_path / "in.mkv", tones(2, 20), "flac", "stereo")
    taken = []
    with FileSource(path).packets(Fraction(0), Fraction(20)) as packets:
        for _, begin, _ in packets.packets:
            if not taken:
                os.truncate(path, os.path.getsize(path) // 2)
            taken.append(begin)
    assert 5 * RATE < taken[-1] < 15 * RATE
