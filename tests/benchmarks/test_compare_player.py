"""The benchmark of SAMA Compare's player: what it makes of the pictures that a browser showed."""

import av
import numpy as np

from benchmarks.compare_player import BITS, COUNT, EDIT, RATE, SQUARE, judge, write_numbered


def test_pictures_are_judged_by_the_numbers_they_show():
    """32 pictures are due in two seconds: one is missing, one shows the edit a frame late, and one
    pair is a frame further than its name.
    """
    taken = [[number, number, number, EDIT + number] for number in range(33) if number != 7]
    taken[3][3] -= 1
    taken[20][2:] = [21 + 1, EDIT + 21 + 1]
    assert RATE == 16
    assert judge({"played": 2.0, "taken": taken, "dropped": 1}) == {
        "seconds": 2.0,
        "presented": round(31 / 32, 4),
        "apart": 1,
        "shown_late": 1,
        "dropped_by_the_browser": 1,
    }


def test_a_frame_late_is_one_across_the_end_of_the_loop():
    taken = [[0, COUNT - 1, 0, EDIT], [1, 0, 0, EDIT]]
    assert judge({"played": 1 / RATE, "taken": taken, "dropped": 0})["shown_late"] == 1


def test_every_frame_carries_its_number(tmp_path):
    write_numbered(tmp_path / "clip.mp4", EDIT)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        found = [
            sum(
                int(bit > 128) << place
                for place, bit in zip(
                    range(BITS - 1, -1, -1),
                    frame.to_ndarray(format="gray")[SQUARE // 2, SQUARE // 2 :: SQUARE],
                    strict=False,
                )
            )
            for frame in container.decode(video=0)
        ]
    assert np.array_equal(found, EDIT + np.arange(COUNT))
