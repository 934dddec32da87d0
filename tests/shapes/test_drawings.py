"""Drawings: they lie where the object is, move with it, and are given in the first frame."""

import pytest
import torch

from sama_core.shapes.config import load_config
from sama_core.shapes.training.shapes_run import ShapesRun
from sama_core.shapes.world import EditSampler, render, unknown_words
from sama_core.shapes.world.drawings import draw, picture, place_drawings, plane, render_drawn
from sama_core.shapes.world.edits import remove
from sama_core.shapes.world.scene import centres
from sama_core.shapes.world.wordings import DRAWN, drawn_instructions
from sama_core.training.recipe import ConfigError

SIZE = (17, 64, 64)
RECIPE = "shapes_lora_anchor.toml"


@pytest.fixture(scope="module")
def plan():
    return EditSampler(3, "test", ["replace"]).plan(0, 4)


def disc():
    x, y = plane()
    return picture(torch.hypot(x, y) - 1, torch.tensor([1.0, 0.0, 0.5])[:, None, None])


def test_a_drawing_lies_where_its_object_is_in_every_frame(plan):
    scenes, edits, _ = plan
    painted = place_drawings(scenes, edits.slot, disc().expand(4, -1, -1, -1), *SIZE)
    alpha, line = painted[:, 3], torch.arange(64) + 0.5
    mass = alpha.sum((2, 3))
    found = torch.stack([(alpha.sum(2) * line).sum(-1), (alpha.sum(3) * line).sum(-1)], -1)
    true = centres(scenes, *SIZE)[torch.arange(4), edits.slot] * 64
    assert (found / mass[..., None] - true).abs().max() < 0.15
    assert painted[0, :3, 0][:, alpha[0, 0] > 0.99].mean(1).tolist() == pytest.approx([1, 0, 0.5])


def test_everything_else_is_the_scene_without_the_object(plan):
    scenes, edits, _ = plan
    drawn = render_drawn(scenes, edits.slot, disc().expand(4, -1, -1, -1), *SIZE)
    without = render(remove(scenes, edits), *SIZE)
    alpha = place_drawings(scenes, edits.slot, disc().expand(4, -1, -1, -1), *SIZE)[:, 3]
    far = alpha == 0
    torch.testing.assert_close(drawn[far], without[far])
    assert (drawn - without).abs().amax(-1)[alpha > 0.99].mean() > 0.2


def test_drawings_differ_and_depend_on_the_generator_alone():
    first, again = (draw(torch.Generator().manual_seed(1), 24) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (24, 4, 48, 48)
    assert first.min() >= 0 and first.max() <= 1 and (first[:, :3] <= first[:, 3:] + 1e-5).all()
    apart = torch.cdist(first.flatten(1), first.flatten(1)) + 99 * torch.eye(24)
    assert apart.min() > 2


def test_the_model_knows_every_word(plan):
    scenes, edits, _ = plan
    for split in DRAWN:
        for text in drawn_instructions(scenes, edits, split, torch.Generator().manual_seed(0)):
            assert "a new shape" in text and unknown_words(text) == []


def test_clips_with_a_drawing_are_anchored_and_so_is_a_share_of_the_others(tmp_path):
    config = load_config(
        RECIPE,
        batch_size=8,
        clip_pairs=0,
        drawing_pairs=0,
        drawings=0.5,
        frames=5,
        output=str(tmp_path),
    )
    data = ShapesRun.of(config).data
    batch = data.batch(0, slice(0, 8))
    assert 0 < batch.anchored.sum() < 8
    plain = ShapesRun.of(
        load_config(
            RECIPE, batch_size=8, clip_pairs=0, drawings=0.0, frames=5, output=str(tmp_path)
        )
    ).data.batch(0, slice(0, 8))
    assert plain.anchored is None
    same = (batch.target_latents == plain.target_latents).flatten(1).all(1)
    assert torch.equal(same, ~batch.anchored)
    part = data.batch(0, slice(2, 5))
    assert torch.equal(part.anchored, batch.anchored[2:5])
    assert torch.equal(part.target_latents, batch.target_latents[2:5])


@pytest.mark.parametrize("setting", [{"stage": 0}, {"reading_weight": 1.0}])
def test_drawings_are_refused_where_they_say_nothing(setting):
    with pytest.raises(ConfigError, match="drawings"):
        load_config(RECIPE, **setting)
