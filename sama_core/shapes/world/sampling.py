"""Batches of paired edits: a batch is a pure function of (seed, split, step, size).

The split `test` shares nothing with `train`: other random streams, edits about colour-shape pairs that training never
shows, and other wordings.

Shape legend: B pairs, F frames, H x W pixels, P colour-shape pairs as in worlds.py.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...errors import SamaError, needed
from .draw import choose, draw_scenes, one_pair, other_pairs, shaded, subject_pairs
from .edits import KINDS, POSITIONS, TAUGHT, Edits, apply, ask, remove, wrong_scenes
from .render import render
from .scene import COLOURS, GROUNDS, SHAPES, STYLES, Scenes, join, standing_out, swap
from .wordings import SPLITS, corpus, instructions

# How often there is a second object beside the one that is edited.
COMPANY = 0.6


@dataclass(frozen=True)
class EditBatch:
    """B paired edits: pixels, words, and the scenes that both were made from."""

    source: torch.Tensor
    """(B, F, H, W, 3) float32 in 0..1"""
    target: torch.Tensor
    """(B, F, H, W, 3)"""
    instructions: list[str]
    kinds: list[str]
    """of KINDS"""
    source_scenes: Scenes
    target_scenes: Scenes
    edits: Edits

    def __len__(self) -> int:
        return len(self.kinds)

    def wrong(self, row: int) -> Scenes:
        """All wrong edits of one pair, to be rendered."""
        return wrong_scenes(self.source_scenes[row], self.edits[row])


class EditSampler:
    """An unlimited supply of paired edits."""

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
    ):
        """`edits` are the kinds to draw from, equally often; only rendering happens on `device`. The sources have
        `shades`, see `shaded`.

        Raises SamaError on an unknown split or kind.
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
        self.seed, self.split, self.edits = seed, split, tuple(edits)
        self.frames, self.height, self.width, self.device, self.shades = (
            frames,
            height,
            width,
            device,
            shades,
        )

    def batch(self, step: int, size: int) -> EditBatch:
        """The batch of this step, rendered."""
        source, edits, words = self.plan(step, size)
        target = apply(source, edits)
        clips = render(join([source, target]).to(self.device), self.frames, self.height, self.width)
        return EditBatch(
            clips[:size],
            clips[size:],
            words,
            [KINDS[kind] for kind in edits.kind.tolist()],
            source,
            target,
            edits,
        )

    def plan(self, step: int, size: int) -> tuple[Scenes, Edits, list[str]]:
        """What `batch` renders: source scenes, their edits, and the instructions."""
        generator = generator_for(self.seed, self.split, step)
        kinds = torch.randint(len(self.edits), (size,), generator=generator)
        parts, rows = [], []
        for number, kind in enumerate(self.edits):
            chosen = (kinds == number).nonzero()[:, 0]
            if len(chosen):
                rows.append(chosen)
                parts.append(
                    propose(generator, kind, len(chosen), self.split, self.frames, self.shades)
                )
        order = torch.cat(rows).argsort()
        source, edits = (
            join(part[0] for part in parts)[order],
            join(part[1] for part in parts)[order],
        )
        return source, edits, instructions(source, edits, self.split, generator)


def world_fingerprint() -> str:
    """Changes when the scenes, their edits, how they are drawn or how they are told change: what a pool keeps depends
    on it.
    """
    batch = EditSampler(0, edits=KINDS, frames=5).batch(0, 32)
    pixels = (torch.stack([batch.source, batch.target]) * 255).round().byte().numpy()
    told = "\n".join([*batch.instructions, *corpus()])
    return hashlib.sha256(pixels.tobytes() + told.encode()).hexdigest()[:16]


def generator_for(seed: int, split: str, step: int) -> torch.Generator:
    """The random stream of one step; those of different splits never meet.

    The CPU generator keeps only the low 32 bits of a seed: one says the split, 31 are a hash of seed and step.
    """
    digest = hashlib.blake2s(f"{seed}:{step}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(
        int.from_bytes(digest, "big") >> 1 | (split == "test") << 31
    )


def propose(
    generator: torch.Generator, kind: str, count: int, split: str, frames: int, shades: float = 0.0
) -> tuple[Scenes, Edits]:
    """`count` source scenes and an edit of this kind for each.

    The subject is drawn first, as it will be after the edit (for `remove`: as it was), so that every asked pair is
    equally likely.
    """
    subject = choose(generator, subject_pairs(split).expand(count, -1))
    before = choose(generator, _pairs_before(kind)[subject] & other_pairs(split))
    other = choose(generator, other_pairs(split) & ~one_pair(subject) & ~one_pair(before))
    if kind == "add":
        return _propose_add(generator, subject, other, frames)
    present = torch.stack(
        [torch.ones(count), torch.rand(count, generator=generator) < COMPANY], 1
    ).bool()
    source = draw_scenes(
        generator, torch.stack([before, other], 1), present, frames, beside=subject
    )
    if shades:
        source = shaded(generator, source, shades)
    behind = present.all(1) & (torch.rand(count, generator=generator) < 0.5)
    source = swap(source, behind)
    return source, _propose_change(generator, kind, source, slot=behind.long(), subject=subject)


def _pairs_before(kind: str) -> torch.Tensor:
    """(P after, P before) bool: which pair may become which by an edit of this kind."""
    pair = torch.arange(len(COLOURS) * len(SHAPES))
    colour, shape = pair // len(SHAPES), pair % len(SHAPES)
    same_colour, same_shape = colour == colour[:, None], shape == shape[:, None]
    return {"recolour": same_shape & ~same_colour, "replace": same_colour & ~same_shape}.get(
        kind, same_colour & same_shape
    )


def _propose_change(
    generator: torch.Generator, kind: str, source: Scenes, slot: torch.Tensor, subject: torch.Tensor
) -> Edits:
    """An edit of what is there already."""
    count = len(source)
    if kind == "background":
        ground = torch.randint(len(GROUNDS), (count,), generator=generator)
        colours = standing_out(source.colour, source.present)
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
    generator: torch.Generator, subject: torch.Tensor, other: torch.Tensor, frames: int
) -> tuple[Scenes, Edits]:
    """Scenes with at most one object, and an edit that adds the subject where nothing is in the way.

    The centre is asked for in empty scenes only: a moving object cannot keep clear of it.
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
    after = draw_scenes(generator, torch.stack([other, subject], 1), present, frames, added=edits)
    return remove(after, edits), edits
