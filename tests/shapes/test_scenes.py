"""Procedural scenes, their edits, wordings and batches."""

import math
import re
from pathlib import Path

import pytest
import torch

from sama_core.errors import SamaError
from sama_core.shapes.world import (
    KINDS,
    TAUGHT,
    EditSampler,
    Scenes,
    apply,
    corpus,
    edit_mask,
    generator_for,
    join,
    render,
    sample_scenes,
    vocabulary,
    world_fingerprint,
    wrong_scenes,
)
from sama_core.shapes.world import draw as worlds
from sama_core.shapes.world.draw import HELD_OUT_PAIRS, TINT, held_out
from sama_core.shapes.world.edits import ask
from sama_core.shapes.world.render import DISTANCES
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
    angles,
    intrusion,
    palette,
    swap,
)
from sama_core.shapes.world.wordings import HELD_OUT, TRAINING, describe, name_object
from sama_core.training.config import TrainConfig, load_config

PAIRS_PER_KIND = 24


def one_scene(shape: str = "circle", **changes) -> Scenes:
    """A red shape of radius 12.8 of 64 pixels, standing upright in the middle of plain white."""
    blank, still = torch.zeros(1, 2), torch.zeros(1)
    scene = Scenes(
        shape=torch.tensor([[SHAPES.index(shape), EMPTY]]),
        colour=torch.zeros(1, 2, dtype=torch.long),
        tint=torch.zeros(1, 2, 3),
        radius=blank + 0.2,
        place=torch.full((1, 2, 2), 0.5),
        velocity=torch.zeros(1, 2, 2),
        angle=blank,
        spin=blank,
        pulse=blank,
        pulse_rate=blank,
        ground=still.long(),
        ground_colour=still.long(),
        ground_tint=torch.zeros(1, 3),
        ground_angle=still,
        ground_period=still + 0.25,
        ground_phase=torch.zeros(1, 2),
        style=still.long(),
    )
    return scene.replace(**changes)


def only(names: dict | tuple, name: str) -> torch.Tensor:
    return torch.tensor([list(names).index(name)])


def same(first: Scenes, second: Scenes) -> bool:
    return all(
        torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items()
    )


def colour_at(clip: torch.Tensor, frame: int, x: int, y: int) -> list[float]:
    return clip[0, frame, y, x].tolist()


@pytest.fixture(scope="module", params=["train", "test"])
def batches(request) -> dict[str, object]:
    """A rendered batch of every kind, in both splits."""
    return {
        kind: EditSampler(11, request.param, [kind], frames=5).batch(3, PAIRS_PER_KIND)
        for kind in KINDS
    }


# --- rendering -------------------------------------------------------------------------------------------------------


def test_a_circle_has_its_colour_inside_and_the_background_outside():
    clip = render(one_scene(), frames=2)
    assert clip.shape == (1, 2, 64, 64, 3) and clip.dtype == torch.float32
    red, white = (
        pytest.approx([0.87, 0.13, 0.15], abs=1e-6),
        pytest.approx([0.95, 0.95, 0.95], abs=1e-6),
    )
    for x, y, expected in (
        (32, 32, red),
        (42, 32, red),
        (46, 32, white),
        (32, 46, white),
        (2, 2, white),
    ):
        assert colour_at(clip, 0, x, y) == expected
    # The circle's edge is 2 pixels wide: its area is that of a circle of 12.8 pixels.
    covered = (0.95 - clip[0, 0, ..., 1]).sum() / (0.95 - 0.13)
    assert covered == pytest.approx(torch.pi * 12.8**2, rel=0.01)


# x, y relative to the middle, radius 12.8: places that tell each shape from the others.
@pytest.mark.parametrize(
    "shape, inside, outside",
    [
        ("circle", [(0, 0), (7, 7), (0, -11)], [(10, 10), (0, 14)]),
        ("square", [(0, 0), (9, 9), (-10, 9)], [(13, 0), (0, -14)]),
        ("triangle", [(0, 0), (0, -12), (11, 6)], [(9, -8), (0, 11)]),
        ("star", [(0, 0), (0, -12), (11, -4), (-8, 10)], [(7, -10), (0, 12)]),
        ("cross", [(0, 0), (0, 13), (13, 0)], [(9, 9), (-9, 9)]),
        ("ring", [(10, 0), (0, -10), (7, 7)], [(0, 0), (3, 3), (12, 12)]),
    ],
)
def test_every_shape_covers_what_it_should(shape, inside, outside):
    clip = render(one_scene(shape), frames=1)
    for places, green in ((inside, 0.13), (outside, 0.95)):
        for x, y in places:
            assert clip[0, 0, 32 + y, 32 + x, 1] == pytest.approx(green, abs=0.02), (x, y)


def test_motion_turning_and_bouncing():
    # The room of a radius of 12.8 is 64 - 2 * 1.3 * 12.8 = 30.72 pixels.
    moving = one_scene(velocity=torch.tensor([[[0.25, 0.0], [0.0, 0.0]]]))
    clip = render(moving, frames=6)
    green = 0.95 - clip[0, ..., 1]
    columns = (green.sum(1) * torch.arange(64)).sum(-1) / green.sum((1, 2)) + 0.5
    assert columns.tolist() == pytest.approx([32, 39.68, 47.36, 39.68, 32, 24.32], abs=0.05)
    turned = render(one_scene("square", spin=torch.full((1, 2), torch.pi / 4)), frames=3)
    assert turned[0, 0, 42, 42, 1] < 0.2 and turned[0, 1, 42, 42, 1] > 0.9  # corner out, then side
    assert torch.allclose(turned[0, 0], turned[0, 2], atol=1e-4)


def test_backgrounds_have_the_named_colour_and_two_tones():
    white, dark = [0.95] * 3, pytest.approx([0.73] * 3, abs=0.02)
    empty = one_scene().replace(shape=torch.full((1, 2), EMPTY))
    stripes = render(empty.replace(ground=only(GROUNDS, "stripes")), frames=1)
    assert colour_at(stripes, 0, 4, 10) == pytest.approx([0.74] * 3, abs=0.02)
    assert colour_at(stripes, 0, 12, 10) == pytest.approx([0.94] * 3, abs=0.02)
    assert torch.equal(stripes[0, 0, 0], stripes[0, 0, 63])
    gradient = render(
        empty.replace(ground=only(GROUNDS, "gradient"), ground_angle=torch.tensor([torch.pi / 2])),
        1,
    )
    assert colour_at(gradient, 0, 30, 0) == pytest.approx(white, abs=1e-4)
    assert colour_at(gradient, 0, 30, 63) == dark
    checks = render(
        empty.replace(ground=only(GROUNDS, "checks"), ground_period=torch.tensor([0.5])), 1
    )
    assert (
        checks[0, 0, 8, 8, 0] < 0.76
        and checks[0, 0, 8, 24, 0] > 0.92
        and checks[0, 0, 24, 24, 0] < 0.76
    )
    dots = render(empty.replace(ground=only(GROUNDS, "dots")), 1)
    assert dots[0, 0, 16, 16, 0] < 0.76 and dots[0, 0, 8, 8, 0] > 0.94


def test_styles_are_functions_of_the_frames():
    clips = {name: render(one_scene(style=only(STYLES, name)), frames=1) for name in STYLES}
    luma = 0.299 * 0.87 + 0.587 * 0.13 + 0.114 * 0.15
    assert colour_at(clips["greyscale"], 0, 32, 32) == pytest.approx([luma] * 3, abs=1e-5)
    assert torch.allclose(clips["negative"], 1 - clips["normal"])
    assert colour_at(clips["sepia"], 0, 2, 2) == pytest.approx([0.96, 0.8405, 0.609], abs=1e-4)
    assert colour_at(clips["sketch"], 0, 32, 32) == pytest.approx([0.96] * 3, abs=1e-5)  # paper
    assert (
        clips["sketch"][0, 0, 32, 44].max() < 0.4
    )  # pencil at the edge, 12.8 pixels from the middle


def test_any_size_and_frame_count():
    wide = render(one_scene(), frames=1, height=48, width=96)
    assert wide.shape == (1, 1, 48, 96, 3)
    assert colour_at(wide, 0, 48, 24) == pytest.approx([0.87, 0.13, 0.15], abs=1e-6)
    scenes = sample_scenes(torch.Generator().manual_seed(0), 10)
    assert torch.equal(render(scenes, 9), render(scenes, 17)[:, :9])
    assert torch.allclose(render(scenes[7], 3), render(scenes, 3)[7:8])
    assert render(scenes, 2).movedim(-1, 1).is_contiguous()


# --- random scenes ---------------------------------------------------------------------------------------------------


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


# --- edits -----------------------------------------------------------------------------------------------------------


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
    """A round shape shows no angle, so what replaces it must stand upright; a new object and background are usual."""
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
    """What seed 7 gave before there were shades: drawing them must take nothing from the other draws' stream."""
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


# --- words -----------------------------------------------------------------------------------------------------------


def test_naming_by_shape_or_colour_only_where_that_identifies():
    circle, square = ("red", "circle"), ("blue", "square")
    assert name_object([circle], 0) == (
        "the red circle",
        "the circle",
        "the red shape",
        "the shape",
    )
    assert name_object([circle, square], 1) == ("the blue square", "the square", "the blue shape")
    assert name_object([circle, ("blue", "circle")], 0) == ("the red circle", "the red shape")
    assert name_object([circle, ("red", "square")], 0) == ("the red circle", "the circle")


def test_instructions_identify_their_object():
    for split in ("train", "test"):
        source, edits, instructions = EditSampler(3, split, ["recolour", "remove", "replace"]).plan(
            0, 400
        )
        for row, (words, (_, blanks)) in enumerate(
            zip(instructions, describe(source, edits), strict=True)
        ):
            objects = [
                (list(COLOURS)[colour], SHAPES[shape])
                for colour, shape in zip(
                    source.colour[row].tolist(), source.shape[row].tolist(), strict=True
                )
                if shape != EMPTY
            ]
            phrase = max((it for it in blanks["it"] if re.search(rf"\b{it}\b", words)), key=len)
            said = phrase.split()[1:]
            fits = [
                slot
                for slot, (colour, shape) in enumerate(objects)
                if said[-1] in (shape, "shape") and (len(said) == 1 or said[0] == colour)
            ]
            assert fits == [int(edits.slot[row])], words


def test_wordings_are_enough_disjoint_and_of_few_words():
    for kind in KINDS:
        assert len(TRAINING[kind]) >= 6 and len(HELD_OUT[kind]) >= 2
    train, test = set(corpus("train")), set(corpus("test"))
    assert not train & test
    known, said = ({word for line in lines for word in line.split()} for lines in (train, test))
    assert said <= known  # nothing in a test is a word that training never saw
    assert len(vocabulary()) < 120
    for phrase in (
        "make the circle red",
        "turn the blue circle red",
        "add an orange square on the left",
        "change the circle's colour to red",
        "change the background to navy stripes",
    ):
        assert phrase in train


def test_every_instruction_is_in_the_corpus(batches):
    train, test = set(corpus("train")), set(corpus("test"))
    for batch in batches.values():
        said = set(batch.instructions)
        assert said <= train or said <= test


# --- splits and batches ----------------------------------------------------------------------------------------------


def pairs_of(scenes: Scenes) -> torch.Tensor:
    """The colour-shape pairs (as in worlds.py) of all objects of all scenes."""
    return (scenes.colour * len(SHAPES) + scenes.shape)[scenes.present]


def test_training_never_shows_a_held_out_pair():
    assert len(set(HELD_OUT_PAIRS)) == 8 == int(held_out().sum())
    shown = [pairs_of(sample_scenes(generator_for(0, "train", 0), 4000))]
    for step in range(4):
        source, edits, _ = EditSampler(0).plan(step, 2000)
        shown += [pairs_of(source), pairs_of(apply(source, edits))]
    counts = torch.cat(shown).bincount(minlength=48)
    assert torch.equal(counts == 0, held_out())  # and it shows every other pair


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
                held_out()[shown.colour * len(SHAPES) + shown.shape.clamp(min=0)] & shown.present
            ).any(1)
        else:
            about = held_out()[shown.colour[rows, slot] * len(SHAPES) + shown.shape[rows, slot]]
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


RECIPES = Path(__file__).parents[2] / "sama_core" / "training" / "recipes"


def test_what_is_drawn_unless_asked_is_what_the_recipes_train():
    trained = {
        kind
        for path in RECIPES.glob("shapes_stage*.toml")
        for kind in load_config(path).edits.split()
    }
    drawn = {KINDS[kind] for kind in EditSampler(6).plan(0, 500)[1].kind.tolist()}
    assert trained == drawn == set(TAUGHT) == set(KINDS) - {"add"} == set(TrainConfig.edits.split())


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
