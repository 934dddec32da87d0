"""The clips that the gate is measured on: split `test`, each a pure function of (seed, edit, index)."""

from ..training.data import KINDS, EditBatch, EditSampler, apply, join, render

FRAMES, SIDE = 17, 64
# Steps of the sampler kept for each kind, so that different edits are measured on different scenes.
_STEPS_PER_KIND = 1_000_000


def held_out(kind: str, seed: int, first: int, count: int, frames: int = FRAMES) -> EditBatch:
    """Clips `first` … `first + count − 1` of one kind of edit, at 64x64; the same however they are batched.

    Raises SamaError on an unknown kind.
    """
    sampler = EditSampler(seed, "test", [kind], frames, SIDE, SIDE)
    start = _STEPS_PER_KIND * KINDS.index(kind) + first
    plans = [sampler.plan(step, 1) for step in range(start, start + count)]
    source, edits = join(plan[0] for plan in plans), join(plan[1] for plan in plans)
    target = apply(source, edits)
    clips = render(join([source, target]), frames, SIDE, SIDE)
    words = [line for plan in plans for line in plan[2]]
    return EditBatch(clips[:count], clips[count:], words, [KINDS[number] for number in edits.kind.tolist()],
                     source, target, edits)
