"""Scores of hidden frames on scenes with known answers."""

import math

import pytest
import torch
from torch import Tensor

from sama_core.shapes.gate.hidden_frames import (
    compare_flows,
    find_identities,
    measure_dynamic,
    measure_smoothness,
    score_hidden,
    vary_pair,
)
from sama_core.shapes.world import Movement, Scenes, generator_for, render, sample_scenes
from sama_core.shapes.world.scene import COLOURS, SHAPES, STYLES

from .conftest import one_scene, only

FRAMES, FIRST, LAST = 17, 6, 11
HIDDEN = torch.zeros(1, FRAMES, dtype=torch.bool)
HIDDEN[:, FIRST:LAST] = True
NOTHING_OR = [(value, pytest.approx(math.nan, nan_ok=True)) for value in (0, 1)]
PIXELS = (1 - 2 * 1.3 * 0.2) * 64
"""Pixels of a whole `place` of `one_scene`."""


def moving(pixels: float, **changes) -> Scenes:
    """A red circle from the left third, going right by so many pixels per frame."""
    velocity = torch.tensor([[[pixels / PIXELS, 0.0]] * 2])
    place = torch.tensor([[[0.1, 0.5]] * 2])
    return one_scene("circle", velocity=velocity, place=place, **changes)


def with_hidden(truth: Tensor, others: Tensor) -> Tensor:
    """The truth, its hidden frames from another clip."""
    clip = truth.clone()
    clip[:, FIRST:LAST] = others[:, FIRST:LAST]
    return clip


def test_the_truth_scores_perfectly():
    scenes = moving(1.0)
    truth = render(scenes)
    (scores,) = score_hidden(truth, truth, scenes, HIDDEN)
    assert (scores.track, scores.smoothness) == (0, 0)
    assert scores.background < 0.05  # soft edges, below STATIC
    assert (scores.identity, scores.dynamic) == (1, 1) and scores.subject == 60


def test_a_crossing_clip_scores_perfectly_too():
    """Both objects are followed, also where one is covered; styles included."""
    scenes = sample_scenes(generator_for(1, "test", 0), 10, movement=Movement(3.0, True))
    scenes = scenes[scenes.present.any(1)]
    truth = render(scenes)
    for scores in score_hidden(truth, truth, scenes, HIDDEN.expand(len(scenes), -1)):
        # NaN where the one object is covered in all hidden frames
        assert scores.track in NOTHING_OR[0] and scores.smoothness in NOTHING_OR[0]
        assert scores.identity in NOTHING_OR[1] and scores.dynamic in NOTHING_OR[1]
        assert scores.background < 0.4


def test_an_object_beside_its_place():
    """All hidden frames 3 pixels to the right. Bends by 3 pixels where it leaves and comes back."""
    scenes = moving(1.0)
    truth = render(scenes)
    (scores,) = score_hidden(truth, with_hidden(truth, truth.roll(3, 3)), scenes, HIDDEN)
    assert scores.track == pytest.approx(3.0, abs=0.05)
    assert scores.smoothness == pytest.approx(2 * 3 / 5, abs=0.05)
    assert scores.dynamic == pytest.approx(1.0, abs=0.02)
    assert scores.identity == 1 and scores.background == pytest.approx(0, abs=0.01)


def test_an_object_that_stands_still():
    """It is 1, 2, 3, 4, 5 pixels behind, and has no path."""
    scenes = moving(1.0)
    truth = render(scenes)
    frozen = truth[:, FIRST - 1 : FIRST].expand_as(truth)
    (scores,) = score_hidden(truth, with_hidden(truth, frozen), scenes, HIDDEN)
    assert scores.dynamic == 0 and scores.track == pytest.approx(3.0, abs=0.03)


def test_a_missing_object():
    """Lost: as far away as its neighbourhood reaches, 2 · 1.3 · 0.2 · 64; nothing else to say."""
    scenes = moving(1.0)
    truth = render(scenes)
    empty = render(scenes.replace(shape=torch.full((1, 2), -1)))
    (scores,) = score_hidden(truth, with_hidden(truth, empty), scenes, HIDDEN)
    assert scores.track == pytest.approx(33.28, abs=0.01) and math.isnan(scores.dynamic)
    assert math.isnan(scores.smoothness)


def test_another_colour():
    """Red to blue: a mean square of 0.38607, 4.13 dB against frame 0 (points at the rim are up to
    5 % background); and another identity."""
    scenes = moving(1.0)
    truth = render(scenes)
    blue = render(moving(1.0, colour=torch.full((1, 2), list(COLOURS).index("blue"))))
    (scores,) = score_hidden(truth, with_hidden(truth, blue), scenes, HIDDEN)
    assert scores.subject == pytest.approx(4.133, abs=0.03) and scores.identity == 0
    assert scores.track == pytest.approx(0.0, abs=0.05)


def test_a_brighter_background():
    """White 0.1 darker in 5 of 17 frames deviates by 0.1 · √(5 · 12) / 17 = 11.62 grey levels."""
    scenes = moving(1.0)
    truth = render(scenes)
    (scores,) = score_hidden(truth, with_hidden(truth, truth - 0.1), scenes, HIDDEN)
    assert scores.background == pytest.approx(11.619, abs=0.01)


def test_identity_among_48():
    """Only the own pair is right; a tint belongs to it alone."""
    scene = moving(1.0, tint=torch.full((1, 2, 3), 0.03), ground_colour=torch.tensor([1]))
    many = vary_pair(scene, 0)
    assert len(many) == 48 and int((many.tint[:, 0].abs().sum(1) > 0).sum()) == 1
    clips = render(many)
    own = SHAPES.index("circle")  # red is colour 0
    for pair in (own, *range(1, 48, 6), 47):
        (right,) = find_identities(clips[pair : pair + 1], scene, HIDDEN, 0).tolist()
        assert right == float(pair == own)
    assert math.isnan(float(find_identities(clips[:1], scene, HIDDEN & False, 0)))


def test_a_clip_without_objects_has_a_background_only():
    scenes = one_scene(style=only(STYLES, "sepia"))
    scenes = scenes.replace(shape=torch.full((1, 2), -1))
    truth = render(scenes)
    (scores,) = score_hidden(truth, truth, scenes, HIDDEN)
    assert scores.background < 1e-3 and math.isnan(scores.track) and math.isnan(scores.identity)


def test_smoothness_of_places():
    """One frame 1 pixel aside bends by 1, 2, 1: 4 over 5 hidden frames. Unseen frames are left
    out with their neighbours."""
    true = torch.stack([torch.arange(9.0), torch.zeros(9)], -1)[None]
    found = true.clone()
    found[0, 4, 1] = 1.0
    hidden = torch.zeros(1, 9, dtype=torch.bool)
    hidden[0, 2:7] = True
    seen = torch.ones_like(hidden)
    assert measure_smoothness(found, true, seen, hidden).item() == pytest.approx(0.8)
    seen[0, 4] = False
    assert measure_smoothness(found, true, seen, hidden).item() == 0.0


def test_dynamic_degree_of_places():
    """Half the speed 0.5; a zigzag of the same step 1; less than a pixel of truth: no answer."""
    true = torch.stack([torch.arange(6.0), torch.zeros(6)], -1)[None]
    counted = torch.tensor([[False, True, True, True, True, False]])
    zigzag = torch.stack([torch.arange(6) % 2, torch.zeros(6)], -1)[None]
    assert measure_dynamic(true / 2, true, counted).item() == pytest.approx(0.5)
    assert measure_dynamic(zigzag, true, counted).item() == pytest.approx(1.0)
    assert math.isnan(measure_dynamic(true, true / 4, counted).item())


def test_agreement_of_flows_on_moving_object_cells():
    """Four object cells, one stays; of three that move the student points alike in one."""
    teacher, student = (torch.zeros(1, 1, 2, 3, 49) for _ in range(2))
    goals, answers = [[33, 33, 24], [0, 7, 7]], [[33, 24, 24], [1, 7, 7]]
    for row in range(2):
        for column in range(3):
            teacher[0, 0, row, column, goals[row][column]] = 1
            student[0, 0, row, column, answers[row][column]] = 1
    on_object = torch.tensor([[[[True, True, True], [True, False, False]]]])
    share, cells = compare_flows(student, teacher, on_object)
    assert cells.tolist() == [3] and share.item() == pytest.approx(1 / 3)
    assert compare_flows(student, teacher, on_object & False).share.isnan().all()
