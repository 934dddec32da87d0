"""A long clip is planned in the segments in which it is edited."""

import pytest

from sama_core.geometry import WAN_21, ClipShape, pad_frame_count
from sama_core.long import plan_segments
from sama_core.plan.whole_clip import ask_at_once, ask_in_segments, count_segments


@pytest.mark.parametrize(
    ("frames", "segments"), [(1, 1), (81, 1), (82, 2), (145, 2), (149, 3), (600, 10), (14_400, 225)]
)
def test_segments_of_81_frames(frames, segments):
    assert count_segments(frames, WAN_21) == segments


@pytest.mark.parametrize("length", [33, 49, 65, 81])
def test_they_are_as_many_as_are_sampled(length):
    """Every length of a clip up to 400 frames."""
    for latents in range(1, 101):
        cut = plan_segments(latents, WAN_21.latents_of(length), 4)
        assert count_segments(WAN_21.frames_of(latents), WAN_21, length) == len(cut)


def test_a_long_clip_is_planned_by_one_of_its_segments():
    asked = ask_in_segments(600, (1920, 1080), area=832 * 480)
    assert asked.clip == ClipShape(81, 480, 832)
    assert (asked.frames, asked.size) == (600, (1920, 1080))
    assert asked.remarks[-1] == "SAMA Edit Whole Video edits 600 frames in 10 segments of 81."
    assert ask_at_once(600, (832, 480)).clip.frames == pad_frame_count(600) == 601
    assert ask_in_segments(80, (832, 480)) == ask_at_once(80, (832, 480))
