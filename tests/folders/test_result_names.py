"""What the results of clips are called."""

import pytest

from sama_core.folders import name_results
from sama_core.folders.result_names import LONGEST


@pytest.mark.parametrize(
    "clip, name",
    [
        ("clip.mp4", "clip"),
        ("day 2/shot.v3.mov", "day 2/shot.v3"),
        ('it\'s "new".mkv', "it's _new_"),
        ("two\nlines\t.mp4", "two_lines_"),
        ("👩‍🚀 käse.webm", "👩‍🚀 käse"),
        ("100%width%.gif", "100_width_"),
        ("<a>:b|c?*\\.mp4", "_a__b_c___"),
        (" spaces .mp4", "spaces"),
        ("dots....mp4", "dots"),
        ("con/nul.mp4", "_con/_nul"),
        ("CON.old.mp4", "_CON.old"),
        ("lines\u2028ends.mp4", "lines_ends"),
        ("bytes\udcff.mp4", "bytes_"),
        (" /\u00a0.mp4", "clip/\u00a0"),
        (" ..mp4", "clip"),
    ],
)
def test_a_name_that_every_file_system_takes(clip, name):
    assert name_results([clip]) == [name]


def test_a_long_name_ends_at_a_whole_letter():
    (name,) = name_results(["ä" * 120 + ".mp4"])
    assert name == "ä" * (LONGEST // 2)


def test_no_two_results_have_one_name():
    clips = ["a.mp4", "a.mov", "A.MP4", "a_mov.mp4", "b.mp4", "x?.mp4", "x*.mp4"]
    clips += ["\u00e9.mp4", "e\u0301.mp4"]
    assert name_results(clips) == [
        "a_mp4",
        "a_mov_2",
        "A_mp4_2",
        "a_mov",
        "b",
        "x__mp4",
        "x__mp4_2",
        "\u00e9_mp4",
        "e\u0301_mp4_2",
    ]


def test_long_names_that_begin_alike():
    clips = [f"{'x' * 200}{number}.mp4" for number in range(3)]
    names = name_results(clips)
    assert names == ["x" * 150 + "_mp4", "x" * 150 + "_mp4_2", "x" * 150 + "_mp4_3"]
