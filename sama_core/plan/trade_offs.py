"""What an edit gives up to be finished sooner, and in which order.

An edit keeps as much as it can of, most important first,

    1. the clip's length
    2. the size of its frames, down to half the sides
    3. its steps: first without a LoRA, down to 40 % of them, then with a step-distilled LoRA
    4. the form of its weights: as they are, then fp8; GGUF only where memory needs it

so the form of the weights is given up first and the length last. Why in this order:

- fp8 weights are nearest to the edit of the original ones, of all that is tried here: 49 dB (45 at
  worst), six clips of SAMA-Shapes (docs/formats.md).
- Fewer steps change little for long: 50.9 dB with 14 of 20 steps, 42.4 dB with 7, and as many right
  edits, 64 clips of SAMA-Shapes with older weights (docs/lab/fewer_steps.md).

Unverified: all of it on SAMA-14B. What a step-distilled LoRA, smaller frames or a Q4 file cost an
edit there has been measured by nobody; that the LoRA comes before smaller frames is a choice, since
SAMA was trained at one size, and such LoRAs are made for full size.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..geometry import ClipShape, Lattice, choose_bucket, pad_frame_count
from ..released_files import DISTILLED_CFG, MANY_STEPS, SAMA_14B
from ..weights.names import FP8_STORAGES
from .budget import budget
from .machine import Machine
from .planning import list_sizes
from .request import Request, is_small
from .weight_bytes import SMALLER_FORMATS
from .whole_clip import OVERLAP_FRAMES

STEP_SHARES = (1, 0.8, 0.6, 0.5, 0.4)
"""Steps without a LoRA, as fractions of those that are asked for."""
LORA_STEPS = (8, 6, 4)
"""Steps with a step-distilled LoRA, as their authors and guides give them."""
LEAST_AREA = 0.25
"""The smallest frames, as a fraction of the pixels that are asked for."""
SHORTER = 0.7
"""Of a clip of several segments, each shorter length is this part of the one before."""
LENGTHS = (81, 65, 49, 33, 17)
"""Lengths of a clip of one segment, in frames, and of the segments of a longer one."""


@dataclass(frozen=True)
class Wish:
    """The edit that is asked for, and what may be changed."""

    request: Request
    """The edit of the clip, or of its first segment."""
    frames: int
    """Frames of the whole clip, without padding."""
    size: tuple[int, int]
    """Width and height of the clip before it is fitted; smaller frames keep their aspect."""
    lora: bool = True
    """Whether a step-distilled LoRA may be used."""

    @classmethod
    def of(cls, request: Request, frames: int, size: tuple[int, int], lora: bool = True) -> "Wish":
        """The wish for an edit of `frames` frames, of which `request` may hold all at once."""
        lattice = request.clip.lattice
        clip = replace(request.clip, frames=list_segments(frames, lattice)[0])
        return cls(replace(request, clip=clip), frames, size, lora)

    @property
    def takes_lora(self) -> bool:
        """Whether a step-distilled LoRA would help: there are none for SAMA-Shapes."""
        return self.lora and not is_small(self.request.config)


@dataclass(frozen=True)
class Settings:
    """One way to make the edit."""

    frames: int
    """Frames of the clip that are edited, without padding."""
    request: Request
    """The edit of them, or of one of their segments."""
    lora: bool
    """Whether a step-distilled LoRA is used."""


def list_settings(wish: Wish, machine: Machine) -> Iterator[Settings]:
    """All ways to make the edit that fit into the machine's memory, the best first."""
    for frames in list_lengths(wish):
        for width, height in list_frame_sizes(wish):
            for steps, cfg, lora in list_samplings(wish):
                asked = replace(wish.request, steps=steps, cfg=cfg)
                for request in _list_requests(asked, frames, width, height, machine):
                    yield Settings(frames, request, lora)


def _list_requests(
    asked: Request, frames: int, width: int, height: int, machine: Machine
) -> Iterator[Request]:
    """The forms of the weights that fit, with the longest segments with which one does."""
    for segment in list_segments(frames, asked.clip.lattice):
        clip = ClipShape(segment, height, width, asked.clip.lattice)
        fitting = list(list_forms(asked.with_clip(clip), machine))
        if fitting:
            yield from fitting
            return


def list_segments(frames: int, lattice: Lattice) -> list[int]:
    """Lengths of the segments of a clip, longest first: the clip's own where it needs no other."""
    if frames <= SAMA_14B.frames:
        return [pad_frame_count(frames, lattice)]
    return [pad_frame_count(length, lattice) for length in LENGTHS if length > 2 * OVERLAP_FRAMES]


def list_lengths(wish: Wish) -> list[int]:
    """Frames of the whole clip, then of shorter beginnings of it."""
    lengths, shorter = [wish.frames], SHORTER * wish.frames
    while shorter > SAMA_14B.frames:
        lengths.append(round(shorter))
        shorter *= SHORTER
    return [*lengths, *(frames for frames in LENGTHS if frames < wish.frames)]


def list_frame_sizes(wish: Wish) -> list[tuple[int, int]]:
    """Width and height as asked for, then smaller ones; each is what its own area gives."""
    clip = wish.request.clip
    area = clip.width * clip.height
    smaller = [
        size
        for size in list_sizes(clip)
        if size[0] * size[1] >= LEAST_AREA * area
        and choose_bucket(*wish.size, size[0] * size[1]) == size
    ]
    return [(clip.width, clip.height), *smaller]


def list_samplings(wish: Wish) -> list[tuple[int, float, bool]]:
    """Steps, cfg, and whether a step-distilled LoRA is needed, the best first.

    Few steps at cfg 1 that are asked for are taken as those of a LoRA that is there.
    """
    steps, cfg = wish.request.steps, wish.request.cfg
    if wish.takes_lora and cfg == DISTILLED_CFG and steps <= MANY_STEPS:
        return [
            (count, cfg, True) for count in dict.fromkeys((steps, *LORA_STEPS)) if count <= steps
        ]
    counts = dict.fromkeys(max(1, round(share * steps)) for share in STEP_SHARES)
    plain = [(count, cfg, False) for count in counts]
    if not wish.takes_lora:
        return plain
    return plain + [(count, DISTILLED_CFG, True) for count in LORA_STEPS if count < steps]


def list_forms(request: Request, machine: Machine) -> Iterator[Request]:
    """The forms of the weights that fit: as they are, and as fp8; if neither does, the largest GGUF
    file that SAMA Convert Weights writes.
    """
    weights, found = request.weights, False
    for asked in (request, *_as_fp8(request)):
        if budget(asked.load(machine), machine).fits:
            found = True
            yield asked
    smaller = (weights.as_format(name, bits) for name, bits in SMALLER_FORMATS)
    for file in smaller:
        asked = request.with_weights(file)
        small = file.gguf and file.stored < weights.memory_bytes(FP8_STORAGES[0], 2)
        if not found and small and budget(asked.load(machine), machine).fits:
            found = True
            yield asked


def _as_fp8(request: Request) -> Iterator[Request]:
    weights = request.weights
    if not weights.quantised and weights.format != "fp8" and request.storage not in FP8_STORAGES:
        yield replace(request, storage=FP8_STORAGES[0])
