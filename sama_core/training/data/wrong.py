"""Wrong edits: what a result must not resemble more than the truth.

Each is an edit of the same kind that the same source allows: another colour, another shape, the other object, another
background. The accuracy of an edit is the share of results that are nearer, in pixels, to the truth than to the source
and to all of these.
"""

import torch

from .edits import KINDS, POSITIONS, Edits, apply, ask, remove
from .scene import COLOURS, GROUNDS, SHAPES, STYLES, Scenes, contrasting, join, standing_out


def wrong_scenes(source: Scenes, edit: Edits) -> Scenes:
    """Every wrong edit for one scene and one edit (batches of one); none equals the source or the truth."""
    return join(WRONG[KINDS[int(edit.kind)]](source, edit))


def _wrong_recolour(source: Scenes, edit: Edits) -> list[Scenes]:
    return [_vary(source, edit, "colour", _new_colours(source, edit)), *_on_the_other(source, edit, "colour")]


def _wrong_replace(source: Scenes, edit: Edits) -> list[Scenes]:
    return [_vary(source, edit, "shape", _new_shapes(source, edit)), *_on_the_other(source, edit, "shape")]


def _wrong_remove(source: Scenes, edit: Edits) -> list[Scenes]:
    """The object changed and not removed; the other one removed, or both."""
    recoloured = _vary(source, ask("recolour", 1, slot=edit.slot), "colour", _new_colours(source, edit))
    replaced = _vary(source, ask("replace", 1, slot=edit.slot), "shape", _new_shapes(source, edit))
    if not source.present.all():
        return [recoloured, replaced]
    other = edit.replace(slot=1 - edit.slot)
    return [recoloured, replaced, remove(source, other), remove(remove(source, edit), other)]


def _wrong_background(source: Scenes, edit: Edits) -> list[Scenes]:
    """The asked pattern in other colours, and other patterns in the asked colour."""
    colours, grounds = standing_out(source.colour, source.present)[0], torch.ones(len(GROUNDS), dtype=torch.bool)
    colours[source.ground_colour[edit.ground == source.ground]] = False
    grounds[source.ground[edit.ground_colour == source.ground_colour]] = False
    return [_vary(source, edit, "ground_colour", colours), _vary(source, edit, "ground", grounds)]


def _wrong_style(source: Scenes, edit: Edits) -> list[Scenes]:
    return [_vary(source, edit, "style", torch.arange(len(STYLES)) != source.style)]


def _wrong_add(source: Scenes, edit: Edits) -> list[Scenes]:
    return [_vary(source, edit, "colour", contrasting()[:, int(source.ground_colour)]),
            _vary(source, edit, "shape", torch.ones(len(SHAPES), dtype=torch.bool)),
            _vary(source, edit, "position", torch.ones(len(POSITIONS), dtype=torch.bool))]


WRONG = {"recolour": _wrong_recolour, "remove": _wrong_remove, "replace": _wrong_replace,
         "background": _wrong_background, "style": _wrong_style, "add": _wrong_add}


def _vary(source: Scenes, edit: Edits, field: str, allowed: torch.Tensor) -> Scenes:
    """The scene under every allowed value (mask) of one field of the edit, except the asked one."""
    values = allowed.nonzero()[:, 0]
    values = values[values != getattr(edit, field)]
    return apply(source.repeat(len(values)), edit.repeat(len(values)).replace(**{field: values}))


def _on_the_other(source: Scenes, edit: Edits, field: str) -> list[Scenes]:
    """The edit made on the other object, where there is one that it would change."""
    other = 1 - edit.slot
    same = getattr(source, field)[0, other] == getattr(edit, field)
    return [] if bool(same) or not source.present.all() else [apply(source, edit.replace(slot=other))]


def _new_colours(source: Scenes, edit: Edits) -> torch.Tensor:
    """(K,) bool: colours that stand out from the background and are not the object's own."""
    own = source.colour[0, edit.slot]
    return contrasting()[:, int(source.ground_colour)] & (torch.arange(len(COLOURS)) != own)


def _new_shapes(source: Scenes, edit: Edits) -> torch.Tensor:
    """(K,) bool: shapes that are not the object's own."""
    return torch.arange(len(SHAPES)) != source.shape[0, edit.slot]
