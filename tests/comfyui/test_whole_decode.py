"""Decoding a whole video into pieces of its result."""

from . import test_whole_video as whole
from .graphs import spoken
from .test_whole_video import whole_graph

clip, jobs = whole.clip, whole.jobs


def test_it_says_which_frame_it_has_reached(comfyui, small, clip, jobs, monkeypatch):
    """The pieces begin at frames 0, 17 and 41; the last of the 46 frames is followed by padding."""
    from sama_core.comfyui import node_progress

    monkeypatch.setattr(node_progress, "COUNTED_EVERY", 0)
    edit, link = whole_graph(comfyui, small)
    said = spoken(comfyui.run(edit.nodes, keep=[link[0]]).check())
    counts = [text.rpartition("decoding, frame ")[2] for text in said if "decoding" in text]
    begins = ([0, *range(1, 18)], range(17, 42), range(41, 47))  # a stage says where it begins
    assert counts == [f"{frame} of 46" for frames in begins for frame in frames]
    assert "left, decoding, frame 17 of 46" in " ".join(said)
