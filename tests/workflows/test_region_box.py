"""The mask of `region_edit`: a box that holds the circle of the pack's clip in every frame."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from sama_core import embedded
from sama_core.clip import ClipRange, FileSource
from sama_core.region import fit_mask
from sama_core.shapes.demo_clip import FRAMES, SHOWN, SIDE, demo_scene
from sama_core.shapes.world.render import coverage

from ..harness.imports import REPO_ROOT

BLUE_OVER_GREEN = 10  # the ground has more green than blue, the triangle far more


@pytest.fixture(scope="module")
def graph() -> dict:
    """The inputs of the graph's nodes by class."""
    path = REPO_ROOT / "workflows" / "api" / "region_edit.json"
    nodes = json.loads(path.read_text(encoding="utf-8"))
    inputs: dict = {}
    for node in nodes.values():
        inputs.setdefault(node["class_type"], []).append(node["inputs"])
    return inputs


@pytest.fixture(scope="module")
def box(graph) -> Tensor:
    """(256, 256) what Combine Masks gives: the white mask added to the black one at x, y."""
    black, white = graph["SolidMask"]
    (place,) = graph["MaskComposite"]
    assert (black["value"], white["value"], place["operation"]) == (0, 1, "add")
    mask = torch.zeros(black["height"], black["width"])
    x, y = place["x"], place["y"]
    mask[y : y + white["height"], x : x + white["width"]] = 1
    assert mask.sum() == white["height"] * white["width"], "the white mask lies inside"
    return mask


def test_the_mask_has_the_clips_size_and_holds_the_circle_of_every_frame(box):
    frames = np.stack(list(FileSource(str(embedded.CLIP)).frames(ClipRange()))).astype(int)
    assert box.shape == frames.shape[1:3] == (SHOWN, SHOWN)
    circle = torch.from_numpy(frames[..., 2] - frames[..., 1] > BLUE_OVER_GREEN)
    assert len(circle) == FRAMES and (circle.sum((1, 2)) > 6000).all()
    assert box[circle.any(0)].all()


def test_fitted_to_the_model_the_mask_is_white_over_the_whole_circle(graph, box):
    """Also at its soft edge; most of the picture stays as it is."""
    (region,) = graph["SAMARegionMask"]
    fitted = fit_mask(box, FRAMES, SIDE, SIDE, None, region["grow"], region["feather"])
    circle, _triangle = coverage(demo_scene(), FRAMES, SIDE, SIDE)[0]
    assert (fitted[circle > 0] == 1).all()
    assert (fitted == 1).float().mean() < 0.4
