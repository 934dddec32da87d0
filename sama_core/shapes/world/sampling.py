"""Batches of paired edits: a batch is a pure function of (seed, split, step, size).

The split `test` shares nothing with `train`: other random streams, edits of colour-shape pairs that
training never shows, and other wordings.

Shape legend: B edits, F frames, H x W pixels, P pairs of colour and shape as in draw.py.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...errors import SamaError, needed
from .draw import (
    USUAL,
    Movement,
    choose,
    draw_scenes,
    one_pair,
    other_pairs,
    shade_objects,
    subject_pairs,
)
from .edits import KINDS, POSITIONS, TAUGHT, Edits, apply, ask, remove, wrong_scenes
from .render import render
from .scene import COLOURS, GROUNDS, SHAPES, STYLES, Scenes, contrasting_grounds, join, swap
from .wordings import SPLITS, corpus, instructions

COMPANY = 0.6
"""How often a scene has a second object beside the one that is edited."""


@dataclass(frozen=True)
class EditBatch:
    """B paired edits: clips, instructions, and the scenes of both clips."""

    source: Tensor
    """(B, F, H, W, 3) float32 in 0..1"""
    target: Tensor
    """(B, F, H, W, 3) float32 in 0..1"""
    instructions: list[str]
    """one per edit"""
    kinds: list[str]
    """one of KINDS per edit"""
    source_scenes: Scenes
    """the scenes of `source`"""
    target_scenes: Scenes
    """the scenes of `target`"""
    edits: Edits
    """what changes the source's scenes into the target's"""

    def __len__(self) -> int:
        return len(self.kinds)

    def wrong(self, row: int) -> Scenes:
        """The scenes of all wrong edits of one row."""
        return wrong_scenes(self.source_scenes[row], self.edits[row])


class EditSampler:
    """Paired edits by step, without a limit."""

    def __init__(
        self,
        seed: int,
        split: str = "train",
        edits: Sequence[str] = TAUGHT,
        frames: int = 17,
        height: int = 64,
        width: int = 64,
        device: torch.device | str = "cpu",
        shades: float = 0.0,
        movement: Movement = USUAL,
    ):
        """All kinds of `edits` are equally likely; only rendering runs on `device`.

        `shades` is the share of source objects in other shades, see `shade_objects`. `movement`
        is that of the sources. Raises SamaError on an unknown split or kind.
        """
        if split not in SPLITS:
            raise SamaError(
                needed("Split", repr(split), " or ".join(SPLITS), "Set split to one of these.")
            )
        unknown = [kind for kind in edits if kind not in KINDS]
        if unknown or not edits:
            raise SamaError(
                needed(
                    "Edits", unknown or "none", "one or more of " + ", ".join(KINDS), "Set edits."
                )
            )
        self.seed, self.split, self.edits, self.shades = seed, split, tuple(edits), shades
        self.movement = movement
        self.frames, self.height, self.width, self.device = frames, height, width, device

    def batch(self, step: int, size: int) -> EditBatch:
        """The batch of this step, rendered."""
        source, edits, words = self.plan(step, size)
        target = apply(source, edits)
        clips = render(join([source, target]).to(self.device), self.frames, self.height, self.width)
        kinds = [KINDS[kind] for kind in edits.kind.tolist()]
        return EditBatch(clips[:size], clips[size:], words, kinds, source, target, edits)

    def plan(self, step: int, size: int) -> tuple[Scenes, Edits, list[str]]:
        """What `batch` renders: source scenes, their edits, and the instructions."""
        generator = generator_for(self.seed, self.split, step)
        kinds = torch.randint(len(self.edits), (size,), generator=generator)
        parts, rows = [], []
        for number, kind in enumerate(self.edits):
            chosen = (kinds == number).nonzero()[:, 0]
            if len(chosen):
                rows.append(chosen)
                parts.append(self._propose(generator, kind, len(chosen)))
        order = torch.cat(rows).argsort()
        source = join(part[0] for part in parts)[order]
        edits = join(part[1] for part in parts)[order]
        return source, edits, instructions(source, edits, self.split, generator)

    def _propose(self, generator: Generator, kind: str, count: int) -> tuple[Scenes, Edits]:
        return propose(generator, kind, count, self.split, self.frames, self.shades, self.movement)


def world_fingerprint(movement: Movement = USUAL) -> str:
    """A hash that changes with the scenes, their edits, their rendering and their wordings.

    A stored pool of clips is valid only for the fingerprint it was made with. Settings of
    `movement` are part of it only where they are not the usual ones.
    """
    batch = EditSampler(0, edits=KINDS, frames=5, movement=movement).batch(0, 32)
    pixels = (torch.stack([batch.source, batch.target]) * 255).round().byte().numpy()
    unusual = [] if movement == USUAL else [repr(movement)]
    texts = "\n".join([*batch.instructions, *corpus(), *unusual])
    return hashlib.sha256(pixels.tobytes() + texts.encode()).hexdigest()[:16]


def generator_for(seed: int, split: str, step: int) -> Generator:
    """The random stream of one step; streams of different splits are never the same.

    The CPU generator uses only the low 32 bits of a seed: one bit for the split, 31 bits of a hash
    of seed and step.
    """
    digest = hashlib.blake2s(f"{seed}:{step}".encode(), digest_size=4).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big") >> 1 | (split == "test") << 31)


def propose(
    generator: Generator,
    kind: str,
    count: int,
    split: str,
    frames: int,
    shades: float = 0.0,
    movement: Movement = USUAL,
) -> tuple[Scenes, Edits]:
    """`count` source scenes and an edit of this kind for each.

    The subject is drawn first, as it is after the edit (for `remove`: before it), so that all
    pairs that edits ask for are equally likely.
    """
    subject = choose(generator, subject_pairs(split).expand(count, -1))
    before = choose(generator, _pairs_before(kind)[subject] & other_pairs(split))
    other = choose(generator, other_pairs(split) & ~one_pair(subject) & ~one_pair(before))
    if kind == "add":
        return _propose_add(generator, subject, other, frames, movement)
    present = torch.stack(
        [torch.ones(count), torch.rand(count, generator=generator) < COMPANY], 1
    ).bool()
    pairs = torch.stack([before, other], 1)
    source = draw_scenes(generator, pairs, present, frames, subject, movement=movement)
    if shades:
        source = shade_objects(generator, source, shades)
    behind = present.all(1) & (torch.rand(count, generator=generator) < 0.5)
    source = swap(source, behind)
    return source, _propose_change(generator, kind, source, slot=behind.long(), subject=subject)


def _pairs_before(kind: str) -> Tensor:
    """(P after, P before) bool: which pairs an edit of this kind may change into which."""
    pair = torch.arange(len(COLOURS) * len(SHAPES))
    colour, shape = pair // len(SHAPES), pair % len(SHAPES)
    same_colour, same_shape = colour == colour[:, None], shape == shape[:, None]
    return {"recolour": same_shape & ~same_colour, "replace": same_colour & ~same_shape}.get(
        kind, same_colour & same_shape
    )


def _propose_change(
    generator: Generator, kind: str, source: Scenes, slot: Tensor, subject: Tensor
) -> Edits:
    """An edit of what the source contains, of any kind but `add`."""
    count = len(source)
    if kind == "background":
        ground = torch.randint(len(GROUNDS), (count,), generator=generator)
        colours = contrasting_grounds(source.colour, source.present)
        rows = (ground == source.ground).nonzero()[:, 0]
        colours[rows, source.ground_colour[rows]] = False
        return ask(kind, count, ground=ground, ground_colour=choose(generator, colours))
    if kind == "style":
        return ask(kind, count, style=torch.randint(1, len(STYLES), (count,), generator=generator))
    asked = {
        "recolour": {"colour": subject // len(SHAPES)},
        "replace": {"shape": subject % len(SHAPES)},
        "remove": {},
    }
    return ask(kind, count, slot=slot, **asked[kind])


def _propose_add(
    generator: Generator, subject: Tensor, other: Tensor, frames: int, movement: Movement
) -> tuple[Scenes, Edits]:
    """Scenes with at most one object, and an edit that adds the subject at a free place.

    The centre is asked for in empty scenes only: a moving object cannot keep away from it.
    """
    count = len(subject)
    edits = ask(
        "add",
        count,
        slot=torch.ones(count, dtype=torch.long),
        colour=subject // len(SHAPES),
        shape=subject % len(SHAPES),
        position=torch.randint(len(POSITIONS), (count,), generator=generator),
    )
    present = torch.stack(
        [edits.position != list(POSITIONS).index("centre"), torch.ones(count).bool()], 1
    )
    pairs = torch.stack([other, subject], 1)
    after = draw_scenes(generator, pairs, present, frames, added=edits, movement=movement)
    return remove(after, edits), edits
