"""Time stamps as files have them: good ones are kept, equal, missing and falling ones get a time of
their own.
"""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sama_core.clip import ClipRange, FileSource, Seconds, fit_clip, in_frames, seek
from sama_core.clip.stamps import LOOK_AHEAD, Clock, longest_rise, origin_of
from sama_core.errors import ClipError

from ..harness.numbered_clips import number_in, restamp_matroska, write_numbered

STEP, TICK = Fraction(40, 1000), Fraction(1, 1000)


def mended(milliseconds, tick=TICK, step=STEP):
    """Times in milliseconds, and the numbers of those that were moved."""
    stamps = [None if one is None else Fraction(one, 1000) for one in milliseconds]
    clock = Clock(origin_of(stamps, step), tick, step)
    found = list(clock.times(enumerate(stamps)))
    return [float(1000 * time) for _, time, _ in found], [
        number for number, _, moved in found if moved
    ]


@pytest.mark.parametrize(
    "stamps, times, moved",
    [
        ([0, 40, 80, 120], [0, 40, 80, 120], []),
        ([0, 40, 80, 80, 200], [0, 40, 80, 140, 200], [3]),  # equal
        ([0, 40, None, 120], [0, 40, 80, 120], [2]),  # missing
        ([0, 40, 20, 120], [0, 40, 80, 120], [2]),  # falling
        ([0, 40, 9000, 120, 160], [0, 40, 80, 120, 160], [2]),  # far ahead
        ([0, 40, 40, 40, 160], [0, 40, 80, 120, 160], [2, 3]),
        ([0, 40, 40, 41, 80], [0, 40, 40.5, 41, 80], [2]),  # no tick between
        ([0, 40, 80, 80], [0, 40, 80, 120], [3]),  # at the end: by the rate
        ([0, 40, None, None], [0, 40, 80, 120], [2, 3]),
        ([0, 40, 5000, 5040, 5080], [0, 40, 5000, 5040, 5080], []),  # a long still picture
        ([None, 40, 80], [0, 40, 80], [0]),
        ([None, None, 500, 540], [0, 40, 80, 120], [0, 1]),
        ([9000, 40, 80, 120], [0, 40, 80, 120], [0]),
        ([-80, -40, 0, 40], [0, 40, 80, 120], []),  # negative
        ([1000, 1040, 1040, 1120], [0, 40, 80, 120], [2]),
        ([7], [0], []),
        ([None], [0], []),
    ],
)
def test_good_stamps_are_kept_and_the_others_placed_between(stamps, times, moved):
    assert mended(stamps) == (times, moved)


def test_a_clock_that_is_set_back_goes_on():
    stamps = [*range(0, 2000, 40), *range(0, 1500, 50)]
    times, moved = mended(stamps)
    assert times == [*range(0, 2000, 40), *range(2000, 3500, 50)] and moved == []


def test_no_stamps_at_all_are_one_rate_without_remark():
    times, moved = mended([None] * 30, step=Fraction(1001, 24000))
    assert times == [pytest.approx(number * 1001 / 24) for number in range(30)] and moved == []


def test_a_rate_does_not_drift_with_the_ticks():
    """24 fps on a clock of milliseconds: 41, 42, 42 … and never 42 each time."""
    times, moved = mended([0, 42, 83, *[None] * 27], step=Fraction(1, 24))
    assert moved == list(range(3, 30)) and times[-1] == pytest.approx(1000 * 29 / 24, abs=1)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(10**6), 10**6), st.integers(0, 300)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([Fraction(1, 24), Fraction(1, 1000), Fraction(2)]),
    st.sampled_from([TICK, Fraction(1, 25)]),
)
def test_any_stamps_give_times_that_rise(stamps, step, tick):
    times, moved = mended(stamps, tick, step)
    assert len(times) == len(stamps) and times[0] == 0
    assert all(later > earlier for earlier, later in pairwise(times))
    assert len(moved) <= len(stamps)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_rising_stamps_are_never_touched(gaps):
    stamps = [sum(gaps[:number]) for number in range(len(gaps) + 1)]
    assert mended(stamps) == (stamps, [])


def test_only_as_much_is_read_as_the_stamps_need():
    taken = []

    def stamps():
        for number in range(100):
            taken.append(number)
            yield number, None if number == 50 else Fraction(number, 25)

    times = Clock(Fraction(0), TICK, STEP).times(stamps())
    for number in range(50):
        assert next(times)[0] == number and len(taken) == number + 1
    next(times)
    assert len(taken) == 51 + LOOK_AHEAD


def test_an_error_met_while_looking_ahead_comes_in_its_turn():
    def stamps():
        yield from [(0, Fraction(0)), (1, Fraction(0)), (2, Fraction(1, 10))]
        raise ClipError("broken")

    times = Clock(Fraction(0), TICK, STEP).times(stamps())
    assert [next(times)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ClipError, match="broken"):
        next(times)


def test_longest_rise():
    assert longest_rise([5, 1, 2, None, 3, 3, 0]) == [1, 2, 4]
    assert longest_rise([5, 1, 2], above=2) == [0]
    assert longest_rise([200, 120], above=80) == [1] and longest_rise([None, 1], above=1) == []


# Files

PHONE = [
    sum((33, 66, 33, 34, 33, 50)[number % 6] for number in range(count)) for count in range(60)
]
DUPLICATE = [*PHONE[:30], PHONE[29], *PHONE[31:]]


def read(source, clip_range=None):
    _, info = fit_clip(source, clip_range or ClipRange(), area=1024)
    return [number_in(frame) for frame in source.frames(clip_range or ClipRange())], info


def test_one_equal_stamp_costs_one_stamp(tmp_path):
    """Once 2.6 s became 2.5 s, and every time was lost."""
    source = FileSource(write_numbered(tmp_path / "phone.mkv", DUPLICATE))
    numbers, info = read(source)
    between = Fraction(PHONE[29] + PHONE[31], 2000)
    expected = [Fraction(time, 1000) for time in DUPLICATE]
    expected[30] = round(between * 1000) * TICK
    assert numbers == list(range(60)) and list(info.timing.starts) == expected
    assert info.duration_seconds > Fraction(DUPLICATE[-1], 1000) and info.moved == 1
    assert [
        remark
        for remark in info.remarks()
        if "1 of 60 frames have no time stamp of their own" in remark
    ]


@pytest.mark.parametrize("wrong", [DUPLICATE[20] - 100, 30_000, DUPLICATE[18]])
def test_a_falling_or_far_stamp_moves_that_frame_alone(tmp_path, wrong):
    path = write_numbered(tmp_path / "one.mkv", PHONE)
    restamp_matroska(path, PHONE[20], wrong)
    numbers, info = read(FileSource(path))
    assert numbers == list(range(60)) and info.moved == 1
    starts = [1000 * time for time in info.timing.starts]
    assert [starts[number] for number in range(60) if number != 20] == [*PHONE[:20], *PHONE[21:]]
    assert PHONE[19] < starts[20] < PHONE[21]


@pytest.mark.parametrize("name, codec", [("clip.mkv", "libx264"), ("clip.webm", "libvpx")])
def test_parts_and_seconds_agree_with_the_whole(tmp_path, name, codec):
    """Whatever a range begins with, its frames and times are those of the whole clip."""
    options = {"g": "12", "bf": "0"} if codec == "libx264" else {"crf": "4", "b": "2M"}
    source = FileSource(write_numbered(tmp_path / name, DUPLICATE, codec=codec, options=options))
    _, whole = read(source)
    for start in (0, 1, 29, 30, 31, 45):
        numbers, part = read(source, ClipRange(start, 5))
        assert numbers == list(range(start, start + 5))
        assert part.start_seconds == whole.timing.starts[start] == source.time_of(start)
        assert [time + part.start_seconds for time in part.timing.starts] == list(
            whole.timing.starts[start : start + 5]
        )
        assert source.frame_at(source.time_of(start)) == start
    assert in_frames(source, ClipRange(), Seconds(start=float(whole.timing.starts[30]))).start == 30


def test_an_equal_stamp_costs_no_decoding(tmp_path, monkeypatch):
    """A jump goes to the keyframe before the start, and seconds are found in the packets."""
    source, decoded = FileSource(write_numbered(tmp_path / "phone.mkv", DUPLICATE)), []
    original = seek._pictures
    monkeypatch.setattr(
        seek, "_pictures", lambda *given: (decoded.append(1) or one for one in original(*given))
    )
    source.facts()
    decoded.clear()
    assert source.frame_at(Fraction(DUPLICATE[50], 1000)) == 50 and decoded == []
    assert [number_in(frame) for frame in source.frames(ClipRange(50, 2))] == [50, 51] and len(
        decoded
    ) <= 12


def test_a_recording_that_states_no_rate_gets_the_measured_one(tmp_path):
    """FFmpeg guesses 59.94 for such files, and a length of 16 ms for the last frame."""
    path = tmp_path / "recorder.webm"
    write_numbered(path, [time * 2 for time in PHONE], codec="libvpx", options={"b": "2M"})
    data = bytearray(path.read_bytes())
    place = data.index(
        b"\x23\xe3\x83"
    )  # DefaultDuration and its length, made an element that means nothing
    data[place : place + 3] = bytes([0xEC, data[place + 3] + 2, 0])
    path.write_bytes(data)
    source = FileSource(str(path))
    average = Fraction(59 * 1000, 2 * PHONE[-1])
    assert abs(source.facts().fps / average - 1) < Fraction(1, 10)
    _, info = read(source)
    assert info.duration_seconds == Fraction(2 * PHONE[-1] + 2 * (PHONE[-1] - PHONE[-2]), 1000)


def test_a_recording_that_starts_between_keyframes(tmp_path):
    """The first 8 frames cannot be decoded: frame 0 is the 12th, and the clock begins there."""
    path = write_numbered(
        tmp_path / "dvr.mkv", [500 + 40 * number for number in range(36)], dropped=range(4)
    )
    source = FileSource(path)
    numbers, info = read(source)
    assert numbers == list(range(12, 36)) and info.start_seconds == 0
    assert source.origin == Fraction(500 + 40 * 12, 1000)
    assert [number_in(frame) for frame in source.frames(ClipRange(5, 3))] == [17, 18, 19]


# ComfyUI's Trim Video


@pytest.mark.parametrize(
    "name, first, dropped, start, length, expected",
    [
        (
            "late.mp4",
            500,
            (),
            1.0,
            0.5,
            range(13, 25),
        ),  # the clock starts at 0.5 s: 1.0 s is frame 12.5
        ("late.mp4", 500, (), 0, 0.75, range(7)),
        ("late.mp4", 500, (), 0.2, 0, range(36)),
        ("dvr.mkv", 500, range(4), 1.1, 0.4, range(15, 25)),
        ("dvr.mkv", 500, range(4), 0, 1.0, range(12, 13)),
        ("dvr.mkv", 0, (), 0.4, 0.2, range(10, 15)),
    ],
)
def test_a_trim_counts_on_the_files_own_clock(
    tmp_path, name, first, dropped, start, length, expected
):
    source = FileSource(
        write_numbered(
            tmp_path / name, [first + 40 * number for number in range(36)], dropped=dropped
        )
    )
    begin, behind = source.find_trim(start, length)
    shown = [
        number_in(frame)
        for frame in source.frames(ClipRange(begin, 0 if behind is None else behind - begin))
    ]
    assert shown == list(expected)


@pytest.mark.parametrize(
    "start, length",
    [
        (5.0, 0),
        (0, 0.2),
        (0.9, 1e-9),
        (2.0**70, 0),
        (float("nan"), 0),
        (0, float("inf")),
        (10**400, 1),
    ],
)
def test_a_trim_without_frames_says_so(tmp_path, start, length):
    source = FileSource(
        write_numbered(tmp_path / "late.mkv", [500 + 40 * number for number in range(36)])
    )
    with pytest.raises(
        ClipError, match="got trimmed to a part without frames .*earlier start or a longer duration"
    ):
        source.find_trim(start, length)


def test_a_stream_whose_clock_is_set_back_plays_on(tmp_path):
    """Two recordings in one file, as `cat` makes them: 2 x 36 frames, 2.88 s."""
    part = tmp_path / "part.ts"
    write_numbered(part, [900_000 + 3600 * number for number in range(36)], clock=90_000, rate=25)
    path = tmp_path / "twice.ts"
    path.write_bytes(part.read_bytes() * 2)
    numbers, info = read(FileSource(str(path)))
    assert (
        numbers == [*range(36), *range(36)]
        and info.duration_seconds == Fraction(72, 25)
        and info.moved == 0
    )


def test_a_clock_that_wraps_round(tmp_path):
    """The 33 bits of MPEG-TS: FFmpeg gives times below 0 up to the wrap."""
    path = write_numbered(
        tmp_path / "wrap.ts",
        [2**33 + 3600 * (number - 10) for number in range(30)],
        clock=90_000,
        rate=25,
    )
    source = FileSource(path)
    numbers, info = read(source)
    assert (
        numbers == list(range(30)) and info.duration_seconds == Fraction(30, 25) and info.moved == 0
    )
    assert source.origin < 0 and source.frame_at(Fraction(1, 2)) == 12
