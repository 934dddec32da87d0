"""Batches by seed and step, and splits that share nothing."""

from pathlib import Path

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.shapes.config import ShapesConfig, load_config
from sama_core.shapes.world import (
    KINDS,
    TAUGHT,
    EditSampler,
    Scenes,
    apply,
    generator_for,
    sample_scenes,
)
from sama_core.shapes.world.draw import HELD_OUT_PAIRS, held_out_pairs
from sama_core.shapes.world.scene import (
    SHAPES,
)


def pairs_of(scenes: Scenes) -> torch.Tensor:
    """The colour-shape pairs (as in worlds.py) of all objects of all scenes."""
    return (scenes.colour * len(SHAPES) + scenes.shape)[scenes.present]


def test_training_never_shows_a_held_out_pair():
    assert len(set(HELD_OUT_PAIRS)) == 8 == int(held_out_pairs().sum())
    shown = [pairs_of(sample_scenes(generator_for(0, "train", 0), 4000))]
    for step in range(4):
        source, edits, _ = EditSampler(0).plan(step, 2000)
        shown += [pairs_of(source), pairs_of(apply(source, edits))]
    counts = torch.cat(shown).bincount(minlength=48)
    assert torch.equal(counts == 0, held_out_pairs())  # and it shows every other pair


def test_every_test_edit_is_about_a_held_out_pair():
    for kind in KINDS:
        source, edits, _ = EditSampler(0, "test", [kind]).plan(0, 500)
        shown = source if kind == "remove" else apply(source, edits)
        rows, slot = torch.arange(500), edits.slot.clamp(min=0)
        if kind in (
            "background",
            "style",
        ):  # about the whole clip: its first or second object is held out
            about = (
                held_out_pairs()[shown.colour * len(SHAPES) + shown.shape.clamp(min=0)]
                & shown.present
            ).any(1)
        else:
            about = held_out_pairs()[
                shown.colour[rows, slot] * len(SHAPES) + shown.shape[rows, slot]
            ]
        assert about.all(), kind


def test_random_streams_of_the_splits_never_meet():
    seeds = {
        split: {
            generator_for(seed, split, step).initial_seed()
            for seed in range(20)
            for step in range(500)
        }
        for split in ("train", "test")
    }
    assert not seeds["train"] & seeds["test"]
    # The CPU generator keeps the low 32 bits only: they must already tell the streams apart.
    assert max(seeds["test"]) < 2**32 and min(seeds["test"]) >= 2**31 > max(seeds["train"])
    assert len(seeds["train"]) > 9990


def test_a_batch_is_a_function_of_seed_and_step():
    sampler = EditSampler(4, frames=2)
    later = sampler.batch(9, 12)
    sampler.batch(2, 5)
    torch.manual_seed(123)
    again = EditSampler(4, frames=2).batch(9, 12)
    assert again.instructions == later.instructions and again.kinds == later.kinds
    assert torch.equal(again.source, later.source) and torch.equal(again.target, later.target)
    for other, step in (
        (sampler, 10),
        (EditSampler(5, frames=2), 9),
        (EditSampler(4, "test", frames=2), 9),
    ):
        assert not torch.equal(other.batch(step, 12).source, later.source)


def test_kinds_are_drawn_equally_often():
    _, edits, _ = EditSampler(6, edits=KINDS).plan(0, 6000)
    assert edits.kind.bincount().tolist() == pytest.approx([1000] * 6, abs=150)


RECIPES = Path(__file__).parents[2] / "sama_core" / "shapes" / "recipes"


def test_what_is_drawn_unless_asked_is_what_the_recipes_train():
    trained = {
        kind
        for path in RECIPES.glob("shapes_stage*.toml")
        for kind in load_config(path).edits.split()
    }
    drawn = {KINDS[kind] for kind in EditSampler(6).plan(0, 500)[1].kind.tolist()}
    assert (
        trained == drawn == set(TAUGHT) == set(KINDS) - {"add"} == set(ShapesConfig.edits.split())
    )


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"split": "validation"}, "train or test"),
        ({"edits": ["recolour", "melt"]}, r"\['melt'\]"),
        ({"edits": []}, "none"),
    ],
)
def test_unknown_split_or_edit(wrong, message):
    with pytest.raises(SamaError, match=message):
        EditSampler(0, **wrong)
