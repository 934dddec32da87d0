"""Random scenes: repeatable, in range, with visible objects."""

import math

import pytest
import torch

from sama_core.shapes.world import draw as worlds
from sama_core.shapes.world import (
    render,
    sample_scenes,
    world_fingerprint,
)
from sama_core.shapes.world.render import DISTANCES
from sama_core.shapes.world.scene import (
    COLOURS,
    CONTRAST,
    GROUND_COLOURS,
    GROUNDS,
    OBJECT_FIELDS,
    STYLES,
    angles,
    intrusion,
    palette,
    swap,
)
from sama_core.shapes.world.wordings import TRAINING

from .conftest import same


def test_random_scenes_repeat_and_stay_in_range():
    first, again = (sample_scenes(torch.Generator().manual_seed(5), 64) for _ in range(2))
    assert same(first, again)
    assert not same(first, sample_scenes(torch.Generator().manual_seed(6), 64))
    clips = render(first)
    assert 0 <= clips.min() and clips.max() <= 1
    many = sample_scenes(torch.Generator().manual_seed(5), 500)
    assert set(many.style.tolist()) == set(range(len(STYLES))) and set(many.ground.tolist()) == set(
        range(len(GROUNDS))
    )


def test_objects_are_large_visible_and_apart():
    scenes = sample_scenes(torch.Generator().manual_seed(7), 2000)
    assert scenes.radius.min() >= 0.165 and scenes.radius.max() <= 0.24
    seen = torch.cdist(palette(COLOURS), palette(GROUND_COLOURS))[
        scenes.colour, scenes.ground_colour[:, None]
    ]
    assert seen[scenes.present].min() >= CONTRAST
    assert (intrusion(scenes, 17) > 0).float().mean() < 0.02


def test_no_object_turns_beyond_half_a_stars_symmetry():
    """Else a frame would not tell how what replaces a star has to stand."""
    scenes = sample_scenes(torch.Generator().manual_seed(7), 2000)
    most = angles(scenes, 17).abs().amax()
    assert math.radians(33) < most <= math.radians(36)


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(worlds, "ASKEW", 0.3),
        lambda patch: patch.setitem(DISTANCES, "star", DISTANCES["circle"]),
        lambda patch: patch.setitem(TRAINING, "add", ("add {a thing}",)),
    ],
    ids=["motion", "drawing", "wording"],
)
def test_the_worlds_fingerprint_tells_another_world(monkeypatch, change):
    first = world_fingerprint()
    assert first == world_fingerprint()
    change(monkeypatch)
    assert world_fingerprint() != first


def test_swap_changes_only_the_objects():
    scenes = sample_scenes(torch.Generator().manual_seed(8), 6)
    swapped = swap(scenes, torch.tensor([True, False] * 3))
    assert torch.equal(swapped.colour[0], scenes.colour[0].flip(0)) and torch.equal(
        swapped.colour[1], scenes.colour[1]
    )
    assert all(
        torch.equal(value, swapped.tensors()[name])
        for name, value in scenes.tensors().items()
        if name not in OBJECT_FIELDS
    )
