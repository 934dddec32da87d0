"""Faster and crossing objects: settings of the world that leave the usual one as it is."""

import pytest
import torch
from torch import Tensor

from sama_core.shapes.config import load_config
from sama_core.shapes.world import (
    KINDS,
    USUAL,
    EditSampler,
    Movement,
    Scenes,
    generator_for,
    sample_scenes,
    world_fingerprint,
)
from sama_core.shapes.world.render import coverage
from sama_core.shapes.world.scene import centres
from sama_core.training.recipe import ConfigError

from .conftest import same
from .test_sampling import RECIPES

FRAMES = 17
STAGE0 = RECIPES / "shapes_stage0.toml"


def draw(count: int, movement: Movement = USUAL) -> Scenes:
    return sample_scenes(generator_for(0, "train", 0), count, FRAMES, movement=movement)


def path_lengths(scenes: Scenes) -> Tensor:
    """(B, N) way of every object's centre in parts of the shorter side."""
    places = centres(scenes, FRAMES, 64, 64)
    return (places[:, :, 1:] - places[:, :, :-1]).norm(dim=-1).sum(-1)


def hidden(scenes: Scenes) -> Tensor:
    """(B, F) share of the lower object that the upper one covers."""
    lower, upper = coverage(scenes, FRAMES, 64, 64).unbind(1)
    return (lower * upper).sum((-1, -2)) / lower.sum((-1, -2))


def test_the_usual_world_is_unchanged():
    """The fingerprint of every pool that was made before the settings existed."""
    assert world_fingerprint() == world_fingerprint(Movement()) == "41c525bf0e55e4f1"
    assert same(draw(40), draw(40, Movement(1.0, False)))
    config = load_config(STAGE0)
    assert config.movement == USUAL and (config.speed, config.crossing) == (1.0, False)


def test_each_setting_makes_another_world():
    movements = (USUAL, Movement(3.0), Movement(1.0, True), Movement(3.0, True), Movement(1.0001))
    assert len({world_fingerprint(movement) for movement in movements}) == len(movements)


def test_speed_makes_the_path_three_times_as_long():
    """Rule: one object (whose motion nothing else chooses), and no wall within the clip."""
    slow, fast = draw(1600), draw(1600, Movement(3.0))
    alone = slow.present.sum(1) == 1
    assert alone.sum() > 500
    slow, fast = slow[alone], fast[alone]
    assert same(slow.replace(velocity=fast.velocity), fast)
    assert torch.equal(fast.velocity, 3 * slow.velocity)
    end = fast.place + fast.velocity * (FRAMES - 1)
    free = ((end >= 0) & (end <= 1)).all(-1) & fast.present & (slow.velocity.norm(dim=-1) > 0)
    assert free.sum() > 50
    ratio = path_lengths(fast)[free] / path_lengths(slow)[free]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 3.0), rtol=1e-4, atol=0)


def test_pixels_per_frame():
    """In the median of objects. At speed 3 it is less than 3 times 0.54: walls turn objects round,
    and of two objects the slow ones keep apart. Crossing objects are the fast ones."""
    movements = (USUAL, Movement(3.0), Movement(3.0, True))
    lengths = [
        path_lengths(scenes)[scenes.present] for scenes in (draw(1000, m) for m in movements)
    ]
    medians = [float(length.median()) * 64 / (FRAMES - 1) for length in lengths]
    assert medians == pytest.approx([0.54, 1.35, 2.08], abs=0.06)


def test_crossing_objects_cover_each_other_for_a_part_of_the_clip():
    """Measured on 337 clips with two objects: some pixels overlap in 3 % of the usual clips and in
    all crossing ones; 60 % of these hide most of the lower object and show it whole at other times.
    """
    usual, crossing = draw(600), draw(600, Movement(3.0, True))
    assert torch.equal(usual.present, crossing.present)
    two = usual.present.all(1)
    before, after = hidden(usual[two]), hidden(crossing[two])
    assert (before.amax(1) > 0.01).float().mean() < 0.08
    assert (after.amax(1) > 0.01).float().mean() > 0.98
    assert (after.amin(1) < 0.05).float().mean() > 0.95
    assert (after.amax(1) > 0.7).float().mean() > 0.5


def test_paired_edits_move_as_asked():
    fast = EditSampler(3, edits=KINDS, frames=5, movement=Movement(3.0, True)).plan(0, 300)[0]
    usual = EditSampler(3, edits=KINDS, frames=5).plan(0, 300)[0]
    assert fast.velocity.norm(dim=-1).max() > 2.5 * usual.velocity.norm(dim=-1).max()
    assert hidden(fast[fast.present.all(1)]).amax(1).mean() > 0.3


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_that_cannot_be(speed):
    with pytest.raises(ConfigError, match="speed"):
        load_config(STAGE0, speed=speed)


def test_settings_come_from_a_recipe():
    config = load_config(STAGE0, speed=3.0, crossing=True)
    assert config.movement == Movement(3.0, True)
