"""Wordings of an edit: many for training, some only for testing, from fewer than 120 words.

A wording is a template whose blanks are filled with phrases. The object to edit is named by its
shape, by its colour or by both, whichever identifies it among the objects of the scene.
"""

import itertools
import re
from collections.abc import Iterable, Iterator

import torch
from torch import Generator

from .edits import KINDS, TAUGHT, Edits
from .scene import COLOURS, EMPTY, GROUND_COLOURS, GROUNDS, SHAPES, STYLES, Scenes

Blanks = dict[str, tuple[str, ...]]
"""A template's blank → the phrases that may fill it, all of the same meaning."""

TRAINING = {
    "recolour": (
        "make {it} {colour}",
        "turn {it} {colour}",
        "change the colour of {it} to {colour}",
        "change {it}'s colour to {colour}",
        "recolour {it} to {colour}",
        "paint {it} {colour}",
        "{it} should be {colour}",
        "give {it} a new colour: {colour}",
        "make the colour of {it} {colour}",
        "{it}'s colour should be {colour}",
        "the new colour of {it} should be {colour}",
    ),
    "remove": (
        "remove {it}",
        "delete {it}",
        "erase {it} from the video",
        "take {it} away",
        "make {it} disappear",
        "get rid of {it}",
        "{it} should disappear",
        "delete {it} from the video",
    ),
    "replace": (
        "replace {it} with {a shape}",
        "turn {it} into {a shape}",
        "change {it} into {a shape}",
        "make {it} {a shape}",
        "swap {it} for {a shape}",
        "{it} should be {a shape}",
        "put {a shape} in place of {it}",
        "{it} should turn into {a shape}",
        "{a shape} should replace {it}",
    ),
    "background": (
        "change the background to {ground}",
        "make the background {ground}",
        "replace the background with {ground}",
        "set the background to {ground}",
        "turn the background into {ground}",
        "give the video a new background: {ground}",
        "swap the background for {ground}",
        "{ground} should be the background",
        "put {ground} in the background",
    ),
    "style": (
        "make the video {look}",
        "turn the video into {look}",
        "change the style to {look}",
        "show the video in {style} style",
        "give the video a {style} style",
        "apply a {style} style",
        "the video should be {look}",
        "change it to {look}",
    ),
    "add": (
        "add {a thing} {where}",
        "put {a thing} {where}",
        "place {a thing} {where}",
        "draw {a thing} {where}",
        "{where} add {a thing}",
        "there should be {a thing} {where}",
        "make {a thing} appear {where}",
    ),
}
HELD_OUT = {
    "recolour": (
        "change {it} to {colour}",
        "the colour of {it} should be {colour}",
        "make {it}'s colour {colour}",
    ),
    "remove": ("take away {it}", "remove {it} from the video"),
    "replace": ("swap {it} with {a shape}", "change {it} to {a shape}", "make {it} into {a shape}"),
    "background": ("the background should be {ground}", "change the background into {ground}"),
    "style": ("turn it into {look}", "change the video to a {style} style", "make it {look}"),
    "add": (
        "{where} put {a thing}",
        "draw {where} {a thing}",
        "there should appear {a thing} {where}",
    ),
}
"""Wordings that training never uses: new orders and combinations of words that it knows."""
SPLITS = {"train": TRAINING, "test": HELD_OUT}

DRAWN = {
    "train": (
        "replace {it} with a new shape",
        "swap {it} for a new shape",
        "turn {it} into a new shape",
        "change {it} into a new shape",
        "put a new shape in place of {it}",
        "{it} should be a new shape",
    ),
    "test": ("change {it} to a new shape", "swap {it} with a new shape"),
}
"""Wordings for an object that becomes what the first frame shows, in words that the model knows."""

GROUND_PHRASES = {
    "plain": ("plain {colour}", "{colour}"),
    "gradient": ("a {colour} gradient",),
    "stripes": ("{colour} stripes",),
    "checks": ("{colour} checks",),
    "dots": ("{colour} dots",),
}
LOOKS = {
    "greyscale": ("greyscale", "black and white"),
    "sepia": ("sepia", "an old photo"),
    "negative": ("a negative",),
    "sketch": ("a sketch", "a pencil drawing"),
}
PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "centre": "in the centre",
}


def instructions(source: Scenes, edits: Edits, split: str, generator: Generator) -> list[str]:
    """One instruction per edit: a random wording of `split` with random, unambiguous phrases."""
    draws = torch.randint(2**31, (len(edits), 2), generator=generator).tolist()
    return [
        _fill(_pick(SPLITS[split][kind], wording), blanks, phrase)
        for (kind, blanks), (wording, phrase) in zip(describe(source, edits), draws, strict=True)
    ]


def drawn_instructions(source: Scenes, edits: Edits, split: str, generator: Generator) -> list[str]:
    """One instruction of DRAWN per edit of kind `replace`, whose new shape is a drawing."""
    draws = torch.randint(2**31, (len(edits), 2), generator=generator).tolist()
    return [
        _fill(_pick(DRAWN[split], wording), blanks, phrase)
        for (_, blanks), (wording, phrase) in zip(describe(source, edits), draws, strict=True)
    ]


def describe(source: Scenes, edits: Edits) -> Iterator[tuple[str, Blanks]]:
    """Per edit its kind and, for each blank of its wordings, all phrases of equal meaning."""
    table = zip(*(value.tolist() for value in edits.tensors().values()), strict=True)
    for asked, colours, shapes in zip(
        table, source.colour.tolist(), source.shape.tolist(), strict=True
    ):
        edit = dict(zip(edits.tensors(), asked, strict=True))
        objects = [
            (list(COLOURS)[colour], SHAPES[shape])
            for colour, shape in zip(colours, shapes, strict=True)
            if shape != EMPTY
        ]
        yield KINDS[edit["kind"]], _blanks(edit, objects)


def name_object(objects: list[tuple[str, str]], slot: int) -> tuple[str, ...]:
    """All phrases that fit the object in `slot` but no other of `objects`, (colour, shape) each."""
    colour, shape = objects[slot]
    others = objects[:slot] + objects[slot + 1 :]
    phrases = [f"the {colour} {shape}"] if (colour, shape) not in others else []
    if shape not in [other[1] for other in others]:
        phrases.append(f"the {shape}")
    if colour not in [other[0] for other in others]:
        phrases.append(f"the {colour} shape")
    return tuple(phrases) if others else (*phrases, "the shape")


def corpus(split: str = "train") -> Iterator[str]:
    """Every instruction of the wordings of `split`, for the training of the vocabulary."""
    anything = _anything()
    for wordings in SPLITS[split].values():
        for wording in wordings:
            blanks = [name for name in anything if f"{{{name}}}" in wording]
            for phrases in itertools.product(*(anything[name] for name in blanks)):
                yield wording.format(**dict(zip(blanks, phrases, strict=True)))


def vocabulary(kinds: Iterable[str] = KINDS) -> list[str]:
    """Every word of every instruction of these kinds of edits, training and testing, sorted."""
    found, anything = set(), _anything()
    for kind, split in itertools.product(kinds, SPLITS.values()):
        for wording in split[kind]:
            blanks = re.findall(r"{([^}]*)}", wording)
            texts = [re.sub(r"{[^}]*}", " ", wording)]
            texts += [phrase for name in blanks for phrase in anything[name]]
            found.update(re.findall(r"[a-z]+", " ".join(texts)))
    return sorted(found)


def unknown_words(text: str) -> list[str]:
    """The words of an instruction that training never used, as they are written there.

    Those of edits that were not taught are unknown, too.
    """
    known, words = set(vocabulary(TAUGHT)), re.findall(r"\w+", text)
    return [word for word in dict.fromkeys(words) if word.lower() not in known]


def known_words() -> str:
    """What an instruction can name, for people: short, since it stands in a node."""
    return (
        f"the shapes {', '.join(SHAPES)}; its colours, backgrounds and styles are listed in "
        "docs/shapes.md"
    )


def _anything() -> Blanks:
    """All phrases for each blank."""
    things = ("shape", *SHAPES)
    its = (
        *(f"the {thing}" for thing in things),
        *(f"the {colour} {thing}" for colour in COLOURS for thing in things),
    )
    return {
        "it": its,
        "colour": tuple(COLOURS),
        "a shape": tuple(map(_with_article, SHAPES)),
        "a thing": tuple(
            _with_article(f"{colour} {shape}") for colour in COLOURS for shape in SHAPES
        ),
        "where": tuple(PLACES.values()),
        "style": STYLES[1:],
        "look": tuple(phrase for name in STYLES[1:] for phrase in LOOKS[name]),
        "ground": tuple(
            phrase.format(colour=colour)
            for name in GROUNDS
            for phrase in GROUND_PHRASES[name]
            for colour in GROUND_COLOURS
        ),
    }


def _blanks(edit: dict[str, int], objects: list[tuple[str, str]]) -> Blanks:
    """The blanks of one edit; `objects` are the source's, (colour, shape) each."""
    kind = KINDS[edit["kind"]]
    colour, shape = list(COLOURS)[edit["colour"]], SHAPES[edit["shape"]]
    if kind == "background":
        ground, behind = GROUNDS[edit["ground"]], list(GROUND_COLOURS)[edit["ground_colour"]]
        return {"ground": tuple(phrase.format(colour=behind) for phrase in GROUND_PHRASES[ground])}
    if kind == "style":
        return {"look": LOOKS[STYLES[edit["style"]]], "style": (STYLES[edit["style"]],)}
    if kind == "add":
        return {
            "a thing": (_with_article(f"{colour} {shape}"),),
            "where": (list(PLACES.values())[edit["position"]],),
        }
    return {
        "it": name_object(objects, edit["slot"]),
        "colour": (colour,),
        "a shape": (_with_article(shape),),
    }


def _fill(wording: str, blanks: Blanks, draw: int) -> str:
    return wording.format(**{name: _pick(phrases, draw) for name, phrases in blanks.items()})


def _pick(options: tuple[str, ...], draw: int) -> str:
    return options[draw % len(options)]


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
