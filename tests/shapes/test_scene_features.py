"""Exact features of the world: a point keeps its feature wherever its object goes."""

import torch

from sama_core.shapes.scene_features import WIDTH, scene_features
from sama_core.shapes.world import generator_for, sample_scenes
from sama_core.shapes.world.render import coverage
from sama_core.training.alignment import local_gram_flow


def draw(count=8):
    return sample_scenes(generator_for(0, "test", 0), count)


def test_features_have_length_one_and_the_saliency_is_the_objects_share():
    scenes = draw()
    features, saliency = scene_features(scenes, 5, 64, 64, 4)
    assert features.shape == (8, 5, 16, 16, WIDTH)
    assert torch.allclose(features.norm(dim=-1), torch.ones(8, 5, 16, 16), atol=1e-4)
    covers = coverage(scenes, 5, 64, 64)
    seen = 1 - (1 - covers[:, 0]) * (1 - covers[:, 1])
    expected = torch.nn.functional.avg_pool2d(seen, 4)
    assert torch.allclose(saliency, expected, atol=1e-5)


def test_unlike_points_have_products_near_zero():
    features = scene_features(draw(), 1, 64, 64, 4)[0].flatten(1, 3)
    products = (features @ features.mT).flatten()
    assert products.median().abs() < 0.1
    assert (products > 0.5).float().mean() < 0.02


def test_flow_follows_an_object_that_moves_by_whole_cells():
    """One object, two cells to the right and one down a frame; the background stays."""
    scenes = draw(64)
    scenes = scenes[(~scenes.present[:, 1]).nonzero()[:1, 0]]
    still = scenes.replace(
        velocity=torch.zeros(1, 2, 2), spin=torch.zeros(1, 2), pulse=torch.zeros(1, 2),
        radius=torch.full((1, 2), 0.2), place=torch.full((1, 2, 2), 0.2),
    )  # fmt: skip
    room = 1 - 2 * 1.3 * 0.2
    step = torch.tensor([8 / 64, 4 / 64]) / room
    moving = still.replace(velocity=step.expand(1, 2, 2))
    flow = local_gram_flow(scene_features(moving, 2, 64, 64, 4)[0])
    saliency = scene_features(moving, 2, 64, 64, 4)[1]
    inside = saliency[0, 0] > 0.99
    right = (1 + 3) * 7 + (2 + 3)
    assert inside.sum() > 5 and (flow[0, 0][inside].argmax(-1) == right).all()
    outside = (saliency[0].amax(0) == 0)[4:-4, 4:-4]
    assert (flow[0, 0, 4:-4, 4:-4][outside].argmax(-1) == 24).all()


def test_the_same_scene_has_the_same_features():
    one, other = (scene_features(draw(), 5, 64, 64, 4)[0] for _ in range(2))
    assert torch.equal(one, other)
