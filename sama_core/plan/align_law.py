"""How much card memory an alignment adds to a step of a training, in numbers of its shapes.

With N tokens of the target, P positions of the projector's inner layers, w their widths, and all of
it in 16 bit where autocast is on:

    VideoREPA's projector    P = N, 4 bytes · P · Σ w: before and behind SiLU
    SAM2VideoX's             P = tokens of all frames, 10 bytes · P · Σ w: GroupNorm and SiLU in
                             float32, and what the next layer takes; 2 bytes · 4 N · 768 in time
    both                     their output on the cells, and a 16-bit copy of their weights
    hidden states            2 bytes · N · width where they are float32; the whole sequence where
                             the blocks' inputs are in RAM: a projector keeps its own
    targets of the teacher   float32
    the loss at work         pairs: 3.05 to 4.3 float32 numbers for each pair of a frame's n cells
                             with all T · n, and 5 times the tokens; flow: 5 times the flow and
                             2 times the student. It counts only where it is more than a block takes

What is kept lives from the aligned block on until the backward pass comes back to it, so that it
adds to the blocks' peak. Counted tensor by tensor (`benchmarks/align_memory.py`, a test counts
again) it is off by 7 % at most, mostly by nothing. Unverified: on a card.
"""

import math
from dataclasses import dataclass

from ..geometry import LatentShape

FLOAT, HALF = 4, 2
PAIRS_AT_WORK, TOKENS_AT_WORK = 3.05, 5
OR_AT_WORK, MARGIN_AT_WORK = 3.8, 4.3
"""Of pairs with the router "or", and with a margin."""
FLOW_AT_WORK, STUDENT_AT_WORK = 5, 2


@dataclass(frozen=True)
class AlignShapes:
    """What an alignment computes with."""

    weights: int
    """Of the projectors and what else is trained along."""
    widths: tuple[int, ...]
    """Of a projector's inner layers."""
    out: int
    """Channels that its last layer gives a token: those of all cells in it."""
    cells: int
    """Cells of a frame."""
    slices: int
    """Frames of the teacher's features."""
    width: int
    """Channels that are compared."""
    targets: int
    """Numbers of the teacher's targets of a clip, with a saliency if there is one."""
    resampled: bool = False
    """Whether what is projected is brought to the cells in float32."""
    tracks: bool = False
    """Whether the projector is SAM2VideoX's, which goes to every frame."""
    projectors: int = 1
    """How many there are."""
    relation: str = "pairs"
    """"pairs", "flow" or "tokens"."""
    window: int = 7
    """Side of a flow's neighbourhood."""
    pair_rows: float = PAIRS_AT_WORK
    """Numbers at once for each pair of a frame's cell with any cell of the clip."""
    teacher: int = 0
    """Bytes of the teacher's weights in memory; 0 where they are not known, or not needed."""

    def target_bytes(self, samples: int) -> int:
        """Bytes of the teacher's targets of `samples` on the card."""
        return FLOAT * samples * self.targets

    def kept_bytes(self, latent: LatentShape, samples: int, half: bool) -> int:
        """Bytes that the projectors keep for the backward pass, with their output.

        `half`: whether autocast computes in 16 bit.
        """
        size, positions = HALF if half else FLOAT, self._positions(latent)
        each = (2 * FLOAT + size if self.tracks else 2 * size) * sum(self.widths)
        made = (FLOAT if self.resampled else size) * self._frames(latent) * self.cells * self.width
        longer = size * latent.lattice.temporal * latent.tokens() * self.widths[0]
        copies = HALF * self.weights if half else 0
        one = each * positions + made + (longer if self.tracks else 0)
        return samples * self.projectors * one + copies

    def work_bytes(self, latent: LatentShape, samples: int) -> int:
        """Bytes of the loss, or of the projector's backward pass, while it is at work.

        Pairs are compared one sample after the other.
        """
        tokens = FLOAT * samples * self.slices * self.cells * self.width
        loss: float = TOKENS_AT_WORK * tokens
        if self.relation == "pairs":
            loss += self.pair_rows * FLOAT * self.slices * self.cells**2
        elif self.relation == "flow":
            flow = FLOAT * samples * self.slices * self.cells * self.window**2
            loss = FLOW_AT_WORK * flow + STUDENT_AT_WORK * tokens
        back = 3 * FLOAT * samples * self._positions(latent) * max(*self.widths, self.out)
        return round(max(loss, back))

    def flops(self, latent: LatentShape) -> int:
        """Operations of projectors and loss of one sample, forward and backward.

        Those of pairs: both similarities, and twice the student's for its gradient, of half of all
        pairs.
        """
        projected = 3 * 2 * self.weights * self._positions(latent)
        pairs = 0
        if self.relation == "pairs":
            pairs = 4 * (self.slices * self.cells) ** 2 * self.width
        elif self.relation == "flow":
            pairs = 3 * 2 * self.slices * self.cells * self.window**2 * self.width
        return projected + pairs

    def _positions(self, latent: LatentShape) -> int:
        return self._frames(latent) * math.prod(latent.grid()[1:])

    def _frames(self, latent: LatentShape) -> int:
        return latent.lattice.frames_of(latent.frames) if self.tracks else latent.grid()[0]
