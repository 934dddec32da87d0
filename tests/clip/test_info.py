"""Times: variable rates keep every one, steady rates stay exact, seconds find their frames."""

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
    ImageSource,
    Seconds,
    fit_clip,
    in_frames,
    save_restored,
)
from sama_core.clip.info import measured_timing
from sama_core.errors import ClipError

NTSC = Fraction(24000, 1001)


def write(path, times, clock=90_000, end=None, codec="libx264", options=None, rate=24):
    """Grey frames shown at `times`, in ticks of `clock`."""
    ends = dict(zip(times, [*times[1:], end or times[-1] + clock // 24], strict=True))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=rate, options={"g": "5"} if options is None else options
        )
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base, stream.codec_context.max_b_frames = Fraction(1, clock), 0
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(
                np.full((32, 32, 3), 5 * (number % 50), np.uint8), format="rgb24"
            )
            picture.pts, picture.time_base = time, Fraction(1, clock)
            for packet in stream.encode(picture):
                packet.duration = ends[packet.pts] - packet.pts
                container.mux(packet)
        for packet in stream.encode(None):
            packet.duration = ends[packet.pts] - packet.pts
            container.mux(packet)
    return FileSource(str(path))


def shown(path):
    """Times of a file's frames in seconds, and when it ends."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base for frame in container.decode(stream)]
        return times, (stream.start_time + stream.duration) * stream.time_base


def round_trip(source, target, clip_range=None):
    frames, info = fit_clip(source, clip_range or ClipRange(), area=1024)
    save_restored(target, frames, info)
    return info


VARYING = [0, 3003, 6006, 15_000, 15_300, 40_000, 43_750, 44_000]


@pytest.mark.parametrize("name", ["in.mp4", "in.mov"])
def test_a_variable_rate_keeps_every_time(tmp_path, name):
    source = write(tmp_path / name, VARYING, end=50_000)
    info = round_trip(source, tmp_path / "out.mp4")
    assert not info.timing.steady
    assert info.timing.starts == tuple(Fraction(time, 90_000) for time in VARYING)
    assert info.duration_seconds == Fraction(5, 9) and info.fps == 8 / Fraction(5, 9)
    assert shown(tmp_path / "out.mp4") == shown(tmp_path / name)
    assert any("rate varies" in remark for remark in info.remarks())


def test_an_hour_between_two_frames(tmp_path):
    info = round_trip(
        write(tmp_path / "in.mp4", [0, 90_000, 90_000 * 3600, 90_000 * 7300]), tmp_path / "out.mp4"
    )
    assert info.timing.starts == (0, 1, 3600, 7300)
    assert shown(tmp_path / "out.mp4") == shown(tmp_path / "in.mp4")


def test_a_part_of_a_variable_rate_begins_at_its_own_time(tmp_path):
    info = round_trip(write(tmp_path / "in.mp4", VARYING), tmp_path / "out.mp4", ClipRange(2, 4))
    assert info.start_seconds == Fraction(6006, 90_000)
    times, _ = shown(tmp_path / "out.mp4")
    assert times == [Fraction(time - 6006, 90_000) for time in VARYING[2:6]]


def test_a_stride_keeps_the_times_of_the_frames_it_takes(tmp_path):
    info = round_trip(write(tmp_path / "in.mp4", VARYING), tmp_path / "out.mp4", ClipRange(1, 0, 3))
    assert info.timing.starts == tuple(
        Fraction(VARYING[number] - VARYING[1], 90_000) for number in (1, 4, 7)
    )


@pytest.mark.parametrize(
    "rate", [NTSC, Fraction(30000, 1001), Fraction(25), Fraction(240), Fraction(25, 2)]
)
@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.avi"])
def test_a_steady_rate_is_exact_whatever_the_files_clock(tmp_path, name, rate):
    """Matroska counts milliseconds, and has 24000/1001 only nearly: the result has it exactly."""
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "5"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(13):
            frame = av.VideoFrame.from_ndarray(
                np.full((32, 32, 3), 9 * number, np.uint8), format="rgb24"
            )
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = round_trip(FileSource(str(tmp_path / name)), tmp_path / "out.mp4")
    assert info.timing.steady and info.fps == rate
    times, end = shown(tmp_path / "out.mp4")
    assert times == [number / rate for number in range(13)] and end == 13 / rate
    assert FileSource(str(tmp_path / "out.mp4")).facts().fps == rate


def test_no_times_at_all_means_one_rate(tmp_path):
    info = round_trip(
        write(tmp_path / "in.h264", [number * 3750 for number in range(6)]), tmp_path / "out.mp4"
    )
    assert info.timing.steady and info.frame_count == 6


@settings(max_examples=10, deadline=None)
@given(gaps=st.lists(st.integers(1, 30_000), min_size=1, max_size=9), last=st.integers(1, 9000))
def test_any_times_come_back(tmp_path_factory, gaps, last):
    folder = tmp_path_factory.mktemp("any")
    times = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    round_trip(write(folder / "in.mp4", times, end=times[-1] + last), folder / "out.mp4")
    got, wanted = shown(folder / "out.mp4"), shown(folder / "in.mp4")
    # What lies nearer to one rate than the coarsest clock can tell is given that rate.
    assert all(
        abs(one - other) <= Fraction(1, 1000) for one, other in zip(got[0], wanted[0], strict=True)
    )
    if len(set(gaps)) > 1 and max(gaps) - min(gaps) > 200:
        assert got == wanted


# The rules, without files


def test_a_dropped_frame_is_no_steady_rate():
    times = [Fraction(number, 30) for number in (0, 1, 2, 4, 5)]
    timing = measured_timing(times, Fraction(1, 30), Fraction(25))
    assert not timing.steady and timing.duration == Fraction(6, 30)


def test_equal_steps_are_a_rate_even_if_the_file_states_another():
    timing = measured_timing([Fraction(number, 30) for number in range(5)], None, Fraction(90_000))
    assert timing.steady and timing.fps == 30


def test_a_part_of_a_timing():
    timing = measured_timing(
        [Fraction(time, 10) for time in (5, 6, 9, 12)], Fraction(2, 10), Fraction(4)
    )
    part = timing.part(1, 2)
    assert (part.start, part.starts, part.duration) == (
        Fraction(6, 10),
        (0, Fraction(3, 10)),
        Fraction(6, 10),
    )
    assert timing.part(0, 4) == timing


@given(
    times=st.lists(st.fractions(0, 100, max_denominator=10**9), min_size=2, max_size=8, unique=True)
)
def test_ticks_rise_and_fit_an_mp4(times):
    times = sorted(times)
    tick, ticks = measured_timing(times, None, Fraction(24)).ticks()
    assert tick.denominator <= 10_000_000 and ticks[0] == 0 and len(ticks) == len(times) + 1
    assert all(later > earlier for earlier, later in pairwise(ticks))


# Seconds

GREY = torch.zeros(100, 16, 16, 3)


@pytest.mark.parametrize(
    "seconds, expected",
    [
        (Seconds(), ClipRange(0, 81)),
        (Seconds(start=1), ClipRange(25, 81)),
        (Seconds(start=0.039), ClipRange(1, 81)),  # typed by hand: the nearest frame
        (Seconds(duration=2), ClipRange(0, 50)),
        (Seconds(start=1, duration=0.4), ClipRange(25, 10)),
        (Seconds(duration=0.001), ClipRange(0, 1)),
        (Seconds(every=0.2), ClipRange(0, 81, 5)),
        (Seconds(every=0.001), ClipRange(0, 81, 1)),
        (Seconds(duration=1, every=0.08), ClipRange(0, 13, 2)),
    ],
)
def test_seconds_become_frames(seconds, expected):
    assert in_frames(ImageSource(GREY, Fraction(25)), ClipRange(0, 81), seconds) == expected


def test_seconds_and_frames_mix():
    source = ImageSource(GREY, Fraction(25))
    assert in_frames(source, ClipRange(10, 81, 2), Seconds(duration=1)) == ClipRange(10, 13, 2)
    assert in_frames(source, ClipRange(3, 81), Seconds(), first=20) == ClipRange(23, 81)
    assert in_frames(source, ClipRange(0, 81), Seconds(start=1), first=20) == ClipRange(45, 81)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.avi"])
def test_seconds_follow_the_files_own_times(tmp_path, name):
    """0.5 s into a clip that speeds up is not frame 12 of 24 fps."""
    times = [number * 45 for number in range(10)] + [450 + number * 9 for number in range(30)]
    steady = name == "in.avi"  # which has no times
    times = [number * 45 for number in range(40)] if steady else times
    source = write(tmp_path / name, times, clock=900, rate=20)
    assert in_frames(source, ClipRange(0, 81), Seconds(start=0.55, duration=0.1)) == (
        ClipRange(11, 2) if steady else ClipRange(15, 10)
    )
    assert source.time_of(15) == (Fraction(15, 20) if steady else Fraction(55, 100))
    for number in (0, 1, 9, 10, 14, 15, 38, 39):
        assert source.frame_at(source.time_of(number)) == number


def test_a_start_in_seconds_finds_the_frame_without_decoding(tmp_path, monkeypatch):
    from sama_core.clip import seek

    source = write(tmp_path / "in.mp4", [number * 3750 for number in range(200)])
    source.facts()
    monkeypatch.setattr(seek, "_pictures", lambda *_: pytest.fail("decoded"))
    assert source.frame_at(Fraction(5)) == 120
    assert source.frame_at(Fraction(1000)) == 200


@pytest.mark.parametrize(
    "values, text",
    [
        ({"start": -1.5}, "start in seconds: got -1.5, needs 0 or more. Set it to 0."),
        ({"duration": float("nan")}, "duration in seconds: got nan, needs 0 or more. Set it to 0."),
        ({"every": float("inf")}, "interval in seconds: got inf, needs 0 or more. Set it to 0."),
        (
            {"start": 2**70},
            "start in seconds: got 1.18059e+21, needs at most 35791394. Set it to 0.",
        ),
        (
            {"duration": 10**400},
            (
                "duration in seconds: got a number of more than 300 digits, needs at most "
                "35791394. Set it to 0."
            ),
        ),
        ({"every": "x"}, "interval in seconds: got 'x', needs 0 or more. Set it to 0."),
    ],
)
def test_impossible_seconds(values, text):
    with pytest.raises(ClipError) as caught:
        Seconds(**values)
    assert str(caught.value) == text


def test_an_interval_beyond_every_clip_is_refused_by_name():
    with pytest.raises(ClipError, match=r"frame stride: got 3.57914e\+10, needs at most"):
        in_frames(ImageSource(GREY, Fraction(1000)), ClipRange(), Seconds(every=35_791_394))


def test_a_rate_typed_by_hand_is_the_usual_one():
    assert ImageSource(GREY, 23.976023976023978).facts().fps == NTSC
    assert ImageSource(GREY, 29.97).facts().fps == Fraction(2997, 100)


def test_two_starts_are_refused():
    with pytest.raises(
        ClipError,
        match="start: got frame 3 and 2 s, needs one of the two. Set start or start_seconds",
    ):
        in_frames(ImageSource(GREY, Fraction(25)), ClipRange(3), Seconds(start=2))
