"""Which frames each segment of a long clip covers, and how neighbours become one latent.

    global latents   0 │ 1 2 3 4 5 │ 6 7 8 │ …     a latent frame is 4 frames, the first one 1
    segment 0        0 │ 1 2 3 4 5 │ 6 7 8 │
    segment 1                    s │ 6 7 8 │ 9 …    s, its own first latent, is not used

A segment starts at a multiple of 4 frames (with Wan 2.1's VAE; of another `Lattice` by its own
factor), so all its latents but the first cover the very frames that the whole clip's latents do,
and neighbours can be blended as latents.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GeometryError, needed
from ..geometry import WAN_21, Lattice


@dataclass(frozen=True)
class Segment:
    """A run of latent frames of the whole clip, sampled as a clip of its own."""

    first: int
    """Number of its first latent frame in the whole clip."""
    latents: int
    """How many latent frames it has."""
    lattice: Lattice = WAN_21
    """The model's division of a clip."""

    @property
    def end(self) -> int:
        """The latent frame after its last one."""
        return self.first + self.latents

    @property
    def frames(self) -> slice:
        """Its 4k+1 frames in the whole clip."""
        start = self.first * self.lattice.temporal
        return slice(start, start + self.lattice.frames_of(self.latents))


def plan_segments(
    latents: int, length: int, overlap: int, lattice: Lattice = WAN_21
) -> list[Segment]:
    """Segments of `length` latent frames that cover `latents`, neighbours sharing `overlap` or, at
    the end, more.

    The last one is moved back to be as long as the others. A clip that fits into one segment is
    one. Raises GeometryError where segments would not advance.
    """
    if overlap < 1 or length < overlap + 2:
        time, least = lattice.temporal, lattice.frames_of(overlap + 2)
        raise GeometryError(
            needed(
                "segments",
                f"{lattice.frames_of(length)} frames with an overlap of {overlap * time}",
                f"an overlap of {time} or more, and segments at least {time + 1} frames longer "
                "than it",
                f"Set the segment to {least} frames or more, or the overlap lower.",
            )
        )
    if latents <= length:
        return [Segment(0, latents, lattice)]
    segments = [Segment(0, length, lattice)]
    while segments[-1].end < latents:
        first = min(segments[-1].end - 1 - overlap, latents - length)
        segments.append(Segment(first, length, lattice))
    return segments


def blend_segments(segments: Iterable[tuple[Segment, Tensor]], latents: int) -> Tensor:
    """Sampled latents (B, C, segment.latents, H, W) in order → one latent (B, C, latents, H, W).

    Over the latent frames that two neighbours share, the later one fades in linearly. Kept latents
    may lie on another device than sampled ones; the blend lies where the first does.
    """
    whole = torch.cat(list(blend_in_order(segments)), 2)
    assert whole.shape[2] == latents, "the segments cover the clip"
    return whole


def blend_in_order(
    segments: Iterable[tuple[Segment, Tensor]], reached: int = 0
) -> Iterator[Tensor]:
    """`blend_segments` a stretch at a time: each holds the latent frames that no later segment
    changes, and follows the one before.

    Only the part that the next segment may change is held. The segments may begin in the middle of
    a clip: `reached` is the `end` of the one before the first. What comes out then begins with the
    first one's latent frame 1, and is right from `reached` on.
    """
    held: Tensor | None = None
    for segment, sampled in segments:
        start = segment.first + 1 if segment.first else 0
        usable = sampled[:, :, start - segment.first :]
        usable = usable if held is None else usable.to(held.device)
        shared = max(0, reached - start)
        if held is None:
            held = usable.new_zeros(*usable.shape[:2], shared, *usable.shape[3:])
        elif settled := held.shape[2] - shared:
            yield held[:, :, :settled]
            held = held[:, :, settled:]
        before = torch.cat([held, usable.new_zeros(usable[:, :, shared:].shape)], 2)
        held = torch.lerp(before, usable, _fade(shared, segment.end - start).to(usable))
        reached = segment.end
    if held is None:
        raise ValueError("no segment to blend")
    yield held


def _fade(shared: int, length: int) -> Tensor:
    """(length, 1, 1): rises over the first `shared` latent frames, then 1."""
    rising = (torch.arange(length) + 1) / (max(shared, 0) + 1)
    return rising.clamp(max=1)[:, None, None]


def segment_seed(seed: int, number: int, consecutive: bool = False) -> int:
    """The seed of segment `number` of a clip edited with `seed`: the first one's is `seed`, so that
    it is a plain edit.

    The others' are drawn from both, so no two seeds share noise. `consecutive`: seed + number, as
    up to version 0.1.0; there seed 2 started a segment from the noise that seed 1 had given to the
    next one.
    """
    if number == 0 or consecutive:
        return (seed + number) % 2**64
    return int.from_bytes(
        hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest(), "little"
    )


def segment_noise(segments: list[Segment], number: int, draw: Callable[[int], Tensor]) -> Tensor:
    """The noise (B, C, latents, H, W) that segment `number` starts from: its part of one tape for
    the whole clip, so that neighbours start from the same noise where they overlap.

    `draw(number)` gives a segment its own noise (B, C, segment.latents, H, W); the tape has of it
    what no earlier segment covers. A clip that gets longer keeps the noise of the segments it had.
    """
    wanted, pieces = segments[number], []
    reached = wanted.first
    for index in range(number + 1):
        segment = segments[index]
        if segment.end > reached:
            pieces.append(draw(index)[:, :, reached - segment.first :])
            reached = segment.end
    return torch.cat(pieces, 2)
