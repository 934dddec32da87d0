"""A node that grows when its result comes stays in its group."""

from .shipped import shipped

SHEET = 234
"""Pixels by which Nodes 2.0 makes a node of 420 pixels higher for a sheet of three frames."""


def test_the_sheet_of_single_frames_stays_in_its_group():
    workflow = shipped("anchor_preview")
    (preview,) = [node for node in workflow["nodes"] if node["type"] == "SAMAAnchorPreview"]
    (group,) = [group for group in workflow["groups"] if group["title"] == "3  Source above edit"]
    assert preview["size"][0] == 420
    bottom = preview["pos"][1] + preview["size"][1]
    assert bottom + SHEET <= group["bounding"][1] + group["bounding"][3]
