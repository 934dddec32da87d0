"""Edits as pure functions on scenes, and the wrong edits that a right one is compared with.

What an instruction does not state is fixed here, so that source and instruction determine the
target completely: a named colour is the palette's own, a new background has its usual geometry, an
added object stands still and upright.

A wrong edit is of the same kind and possible in the same source: another colour, another shape,
the other object, another background. The accuracy of an edit is the share of results that are
nearer, in pixels, to the truth than to the source and to all wrong edits.

Shape legend: B scenes, F frames, H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .scene import (
    COLOURS,
    EMPTY,
    GROUNDS,
    SHAPES,
    STYLES,
    Rows,
    Scenes,
    contrasting_grounds,
    contrasting_pairs,
    join,
    usual_geometry,
)

KINDS = ("recolour", "remove", "replace", "background", "style", "add")
"""All kinds of edits. Their order matters: drawn pairs and held-out clips depend on it."""

TAUGHT = ("recolour", "remove", "replace", "background", "style")
"""The kinds that the recipes train; the default for drawing and measuring."""

POSITIONS = {
    "left": (0.05, 0.5),
    "right": (0.95, 0.5),
    "top": (0.5, 0.05),
    "bottom": (0.5, 0.95),
    "centre": (0.5, 0.5),
}
"""Where an added object stands, as `Scenes.place`."""

ADDED_RADIUS = 0.17
"""Radius of an added object, as `Scenes.radius`."""

NOT_ASKED = -1
"""In a field of `Edits` that the kind does not use."""


@dataclass(frozen=True)
class Edits(Rows):
    """B edits as tensors (B,) of indices; fields that a kind does not use are NOT_ASKED."""

    kind: Tensor
    """index into KINDS"""
    slot: Tensor
    """the object meant, or the empty slot that `add` fills"""
    colour: Tensor
    """new colour of `recolour`, colour of `add`"""
    shape: Tensor
    """new shape of `replace`, shape of `add`"""
    ground: Tensor
    """new kind of background"""
    ground_colour: Tensor
    """new colour of the background"""
    style: Tensor
    """new style"""
    position: Tensor
    """index into POSITIONS for `add`"""


def ask(kind: str, count: int, **asked: Tensor) -> Edits:
    """`count` edits of one kind, with the fields that this kind uses."""
    blank = torch.full((count,), NOT_ASKED)
    fields = dict.fromkeys(
        ("slot", "colour", "shape", "ground", "ground_colour", "style", "position"), blank
    )
    return Edits(kind=torch.full((count,), KINDS.index(kind)), **(fields | asked))


def apply(scenes: Scenes, edits: Edits) -> Scenes:
    """The scenes after their edits, in the same order."""
    parts, rows = [], []
    for number, kind in enumerate(KINDS):
        chosen = (edits.kind == number).nonzero()[:, 0]
        if len(chosen):
            rows.append(chosen)
            parts.append(OPERATIONS[kind](scenes[chosen], edits[chosen]))
    return join(parts)[torch.cat(rows).argsort()] if parts else scenes


def recolour(scenes: Scenes, edits: Edits) -> Scenes:
    """The object in the named colour, without its tint."""
    return _set_object(scenes, edits.slot, colour=edits.colour, tint=torch.zeros(len(edits), 3))


def remove(scenes: Scenes, edits: Edits) -> Scenes:
    """Without the object."""
    return _set_object(scenes, edits.slot, shape=torch.full((len(edits),), EMPTY))


def replace(scenes: Scenes, edits: Edits) -> Scenes:
    """Another shape with the same colour, size and motion."""
    return _set_object(scenes, edits.slot, shape=edits.shape)


def change_background(scenes: Scenes, edits: Edits) -> Scenes:
    """Another background in its usual geometry, without a tint."""
    return scenes.replace(
        ground=edits.ground,
        ground_colour=edits.ground_colour,
        ground_tint=torch.zeros_like(scenes.ground_tint),
        **usual_geometry(edits.ground),
    )


def change_style(scenes: Scenes, edits: Edits) -> Scenes:
    """Another look of the whole clip."""
    return scenes.replace(style=edits.style)


def add(scenes: Scenes, edits: Edits) -> Scenes:
    """A new object that stands still and upright at the named position."""
    nothing = torch.zeros(len(edits))
    still = dict.fromkeys(("angle", "spin", "pulse", "pulse_rate"), nothing)
    return _set_object(
        scenes,
        edits.slot,
        shape=edits.shape,
        colour=edits.colour,
        tint=torch.zeros(len(edits), 3),
        radius=nothing + ADDED_RADIUS,
        place=torch.tensor(list(POSITIONS.values()))[edits.position],
        velocity=torch.zeros(len(edits), 2),
        **still,
    )


OPERATIONS: dict[str, Callable[[Scenes, Edits], Scenes]] = {
    "recolour": recolour,
    "remove": remove,
    "replace": replace,
    "background": change_background,
    "style": change_style,
    "add": add,
}
"""The function of each kind."""


def edit_mask(source: Tensor, target: Tensor, threshold: float = 0.01) -> Tensor:
    """(B, F, H, W) bool: the pixels an edit may change, given both renders (B, F, H, W, 3)."""
    return ((source - target).abs() > threshold).any(-1)


def _set_object(scenes: Scenes, slot: Tensor, **values: Tensor) -> Scenes:
    """The scenes whose object in `slot` (B,) has the given values (B, ...)."""
    rows = torch.arange(len(scenes))
    changed = {}
    for name, value in values.items():
        changed[name] = getattr(scenes, name).clone()
        changed[name][rows, slot] = value
    return scenes.replace(**changed)


def wrong_scenes(source: Scenes, edit: Edits) -> Scenes:
    """All wrong edits of one scene, given one edit (batches of one).

    None of them equals the source or the truth.
    """
    return join(sort_wrong_scenes(source, edit).values())


def sort_wrong_scenes(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    """`wrong_scenes` by what is wrong in them, in the same order.

    colour      another colour (of the background, for `background`); a colour instead of `remove`
    shape       another shape; another shape instead of `remove`
    place       the added object stands elsewhere
    object      the edit is made on the other object, or on both
    ground      another pattern of the background
    style       another style
    """
    return WRONG[KINDS[int(edit.kind)]](source, edit)


def _wrong_recolour(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    return {
        "colour": _vary(source, edit, "colour", _new_colours(source, edit)),
        **_on_the_other(source, edit, "colour"),
    }


def _wrong_replace(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    return {
        "shape": _vary(source, edit, "shape", _new_shapes(source, edit)),
        **_on_the_other(source, edit, "shape"),
    }


def _wrong_remove(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    """The object changed instead of removed; the other one removed, or both."""
    recoloured = _vary(
        source, ask("recolour", 1, slot=edit.slot), "colour", _new_colours(source, edit)
    )
    replaced = _vary(source, ask("replace", 1, slot=edit.slot), "shape", _new_shapes(source, edit))
    changed = {"colour": recoloured, "shape": replaced}
    if not source.present.all():
        return changed
    other = edit.replace(slot=1 - edit.slot)
    removed = [remove(source, other), remove(remove(source, edit), other)]
    return {**changed, "object": join(removed)}


def _wrong_background(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    """The asked pattern in other colours, and other patterns in the asked colour."""
    colours = contrasting_grounds(source.colour, source.present)[0]
    grounds = torch.ones(len(GROUNDS), dtype=torch.bool)
    colours[source.ground_colour[edit.ground == source.ground]] = False
    grounds[source.ground[edit.ground_colour == source.ground_colour]] = False
    return {
        "colour": _vary(source, edit, "ground_colour", colours),
        "ground": _vary(source, edit, "ground", grounds),
    }


def _wrong_style(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    return {"style": _vary(source, edit, "style", torch.arange(len(STYLES)) != source.style)}


def _wrong_add(source: Scenes, edit: Edits) -> dict[str, Scenes]:
    everywhere = torch.ones(len(POSITIONS), dtype=torch.bool)
    return {
        "colour": _vary(source, edit, "colour", contrasting_pairs()[:, int(source.ground_colour)]),
        "shape": _vary(source, edit, "shape", torch.ones(len(SHAPES), dtype=torch.bool)),
        "place": _vary(source, edit, "position", everywhere),
    }


WRONG = {
    "recolour": _wrong_recolour,
    "remove": _wrong_remove,
    "replace": _wrong_replace,
    "background": _wrong_background,
    "style": _wrong_style,
    "add": _wrong_add,
}


def _vary(source: Scenes, edit: Edits, field: str, allowed: Tensor) -> Scenes:
    """The scene under every allowed value (mask) of one field of the edit, except the asked one."""
    values = allowed.nonzero()[:, 0]
    values = values[values != getattr(edit, field)]
    return apply(source.repeat(len(values)), edit.repeat(len(values)).replace(**{field: values}))


def _on_the_other(source: Scenes, edit: Edits, field: str) -> dict[str, Scenes]:
    """ "object": the edit made on the other object, where there is one that it would change."""
    other = 1 - edit.slot
    same = getattr(source, field)[0, other] == getattr(edit, field)
    if bool(same) or not source.present.all():
        return {}
    return {"object": apply(source, edit.replace(slot=other))}


def _new_colours(source: Scenes, edit: Edits) -> Tensor:
    """(K,) bool: colours that contrast with the background and are not the object's own."""
    own = source.colour[0, edit.slot]
    return contrasting_pairs()[:, int(source.ground_colour)] & (torch.arange(len(COLOURS)) != own)


def _new_shapes(source: Scenes, edit: Edits) -> Tensor:
    """(K,) bool: shapes that are not the object's own."""
    return torch.arange(len(SHAPES)) != source.shape[0, edit.slot]
