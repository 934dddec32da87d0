"""Edits, wrong edits and shades on literal scenes and on drawn batches."""

import pytest
import torch

from sama_core.shapes.world import (
    KINDS,
    EditSampler,
    apply,
    edit_mask,
    join,
    render,
    wrong_scenes,
)
from sama_core.shapes.world.draw import TINT
from sama_core.shapes.world.edits import ask
from sama_core.shapes.world.scene import (
    COLOURS,
    CONTRAST,
    EMPTY,
    GROUND_COLOURS,
    GROUNDS,
    OBJECT_FIELDS,
    ROUND_SHAPES,
    SHAPES,
    STYLES,
    palette,
)

from .conftest import one_scene, only, same


def test_each_edit_on_the_red_circle():
    source, slot = one_scene(), torch.tensor([0])
    edits = join(
        [
            ask("recolour", 1, slot=slot, colour=only(COLOURS, "blue")),
            ask("remove", 1, slot=slot),
            ask("replace", 1, slot=slot, shape=only(SHAPES, "ring")),
            ask(
                "background",
                1,
                ground=only(GROUNDS, "plain"),
                ground_colour=only(GROUND_COLOURS, "navy"),
            ),
            ask("style", 1, style=only(STYLES, "negative")),
            ask(
                "add",
                1,
                slot=torch.tensor([1]),
                colour=only(COLOURS, "green"),
                shape=only(SHAPES, "square"),
                position=torch.tensor([0]),
            ),
        ]
    )
    clips = render(apply(source.repeat(6), edits), frames=1)[:, 0]
    red, white = (0.87, 0.13, 0.15), (0.95, 0.95, 0.95)
    assert clips[:, 32, 32].tolist() == [
        pytest.approx(colour, abs=1e-5)
        for colour in ((0.14, 0.31, 0.92), white, white, red, (0.13, 0.87, 0.85), red)
    ]
    assert clips[:, 2, 2].tolist() == [
        pytest.approx(colour, abs=1e-5)
        for colour in (white, white, white, (0.10, 0.15, 0.38), (0.05, 0.05, 0.05), white)
    ]
    assert clips[5, 32, 14].tolist() == pytest.approx((0.13, 0.62, 0.22), abs=1e-5)


def test_order_of_mixed_edits_is_kept():
    batch = EditSampler(1, edits=KINDS).batch(0, 40)
    alone = join(apply(batch.source_scenes[row], batch.edits[row]) for row in range(40))
    assert len(set(batch.kinds)) == 6 and same(alone, batch.target_scenes)


def test_targets_differ_from_sources_and_only_in_the_mask(batches):
    for kind, batch in batches.items():
        mask = edit_mask(batch.source, batch.target)
        share = mask.float().mean((1, 2, 3))
        assert share.min() > 0.02, kind  # every edit is visible
        kept = (batch.source - batch.target).abs()[~mask]
        assert not len(kept) or kept.max() <= 0.01
        if kind in ("recolour", "remove", "replace", "add"):
            assert share.max() < 0.25, kind
            untouched = [
                name for name in batch.source_scenes.tensors() if name not in OBJECT_FIELDS
            ]
            assert all(
                torch.equal(getattr(batch.source_scenes, name), getattr(batch.target_scenes, name))
                for name in untouched
            )


def test_wrong_edits_differ_from_the_truth_and_the_source(batches):
    for kind, batch in batches.items():
        for row in range(8):
            wrong = render(batch.wrong(row), frames=5)
            assert len(wrong) >= 3, kind
            for reference in (batch.source[row], batch.target[row]):
                assert (wrong - reference).square().mean((1, 2, 3, 4)).min() > 2e-4, (
                    kind,
                    batch.instructions[row],
                )


def test_wrong_edits_include_the_other_object():
    two = join([one_scene()]).replace(
        shape=torch.tensor([[0, 1]]),
        colour=torch.tensor([[0, 5]]),
        place=torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]),
    )
    edit = ask("remove", 1, slot=torch.tensor([0]))
    gone = [tuple(row) for row in wrong_scenes(two, edit).present.tolist()]
    assert (True, False) in gone and (False, False) in gone and (False, True) not in gone


def test_what_the_source_hides_the_edit_does_not_need():
    """A round shape shows no angle: what replaces it stands upright. New things are as usual."""
    batch = EditSampler(2, edits=["replace"]).batch(0, 200)
    rows, slot = torch.arange(200), batch.edits.slot
    was_round = torch.isin(batch.source_scenes.shape[rows, slot], torch.tensor(ROUND_SHAPES))
    assert was_round.any()
    assert (batch.target_scenes.angle[rows, slot][was_round] == 0).all()
    assert (batch.target_scenes.spin[rows, slot][was_round] == 0).all()
    target = EditSampler(2, edits=["background"]).batch(0, 50).target_scenes
    assert (target.ground_tint == 0).all() and (target.ground_phase == 0).all()
    added = EditSampler(2, edits=["add"]).batch(0, 50).target_scenes
    assert (
        (added.velocity[:, 1] == 0).all()
        and (added.angle[:, 1] == 0).all()
        and (added.radius[:, 1] == 0.17).all()
    )


def test_shades_keep_their_names_and_stand_out():
    plain = EditSampler(3, edits=["replace", "recolour"]).plan(0, 2000)[0]
    source, edits, _ = EditSampler(3, edits=["replace", "recolour"], shades=1.0).plan(0, 2000)
    shown = palette(COLOURS)[source.colour] + source.tint
    order = torch.cdist(shown, palette(COLOURS)).argsort(-1)
    ground = palette(GROUND_COLOURS)[source.ground_colour][:, None]
    moved = source.tint.norm(dim=-1) > 3 * TINT
    assert torch.equal(order[..., 0], source.colour)
    assert (shown - ground).norm(dim=-1)[source.present & moved].min() >= CONTRAST
    assert moved[source.present].float().mean() > 0.95 and (plain.tint.abs() <= TINT).all()
    assert shown[moved].min() >= 0 and shown[moved].max() <= 1
    saturation = 1 - shown[moved].amin(-1) / shown[moved].amax(-1)
    assert 0.44 < saturation.min() < 0.5 and saturation.max() > 0.95
    shared = source.colour[source.present] * len(COLOURS) + order[..., 1][source.present]
    assert len(shared.unique()) > 3 * len(COLOURS), (
        "a colour shades off into four others on average"
    )
    target = apply(source, edits)
    rows = torch.arange(2000)
    before, after = source.tint[rows, edits.slot], target.tint[rows, edits.slot]
    recoloured = edits.kind == KINDS.index("recolour")
    assert torch.equal(after[~recoloured], before[~recoloured]) and not after[recoloured].any()


def test_a_share_of_the_objects_is_shaded():
    source = EditSampler(3, edits=["replace"], shades=0.3).plan(0, 2000)[0]
    assert 0.27 < (source.tint.norm(dim=-1) > 3 * TINT)[source.present].float().mean() < 0.33


def test_without_shades_the_pairs_are_what_they_were():
    """As seed 7 gave before shades existed: shades take nothing from the other draws' stream."""
    source, _, instructions = EditSampler(7, edits=KINDS).plan(2, 6)
    assert source.colour.tolist() == [[7, 0], [7, 7], [1, 1], [3, 4], [6, 3], [6, 4]]
    assert source.shape.tolist() == [[5, 4], [1, EMPTY], [1, EMPTY], [5, EMPTY], [5, 4], [1, EMPTY]]
    assert list(instructions) == [
        "replace the red cross with a ring",
        "the shape's colour should be purple",
        "add an orange ring on the right",
        "turn the green shape into a square",
        "change it to sepia",
        "make the colour of the purple shape red",
    ]
    plain, shaded = (
        EditSampler(7, edits=KINDS, shades=shades).batch(2, 6) for shades in (0.0, 1.0)
    )
    assert not torch.equal(plain.source, shaded.source)
