"""Instructions that identify their object, in wordings of which some are held out."""

import re

from sama_core.shapes.world import (
    KINDS,
    TAUGHT,
    EditSampler,
    corpus,
    unknown_words,
    vocabulary,
)
from sama_core.shapes.world.scene import (
    COLOURS,
    EMPTY,
    SHAPES,
)
from sama_core.shapes.world.wordings import HELD_OUT, TRAINING, describe, name_object


def test_words_that_training_never_used():
    asked = "Replace the Seal with a crab, then make the circle RED: 2 seals"
    assert unknown_words(asked) == ["Seal", "crab", "then", "2", "seals"]
    assert unknown_words("change the circle's colour to red") == []


def test_words_of_an_edit_that_was_not_taught_are_unknown():
    assert unknown_words("add a red star on the left") == ["add", "on", "left"]
    assert set(vocabulary()) - set(vocabulary(TAUGHT)) == {
        *("add", "appear", "at", "bottom", "centre", "draw", "left", "on", "right", "there", "top"),
    }


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
    words = {word.strip(":") for word in " ".join(train | test).split()}
    assert {word.removesuffix("'s") for word in words} | {"s"} == set(vocabulary())
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
