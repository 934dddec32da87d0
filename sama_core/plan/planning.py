"""The nearest settings that fit: one change at a time, the smallest that does it.

One plan: the request, what comes of it on a machine, and the text an artist reads.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..geometry import ClipShape, LatentShape, choose_bucket
from ..model.memory_law import sequence_tokens
from .budget import Budget, Load, budget
from .machine import Machine
from .request import Request
from .seconds import Calibration, Flops, Seconds, forward_flops, seconds_per_step
from .weight_bytes import SMALLER_FORMATS

# Areas tried, as parts of the wanted one.
_AREAS = [part / 20 for part in range(19, 0, -1)]


# Lengths tried where more than one thing has to change.
_LENGTHS = (81, 65, 49, 33, 17, 9, 5, 1)


@dataclass(frozen=True)
class Option:
    """A setting to change, in words, and what would come of it."""

    text: str
    request: Request
    placed: Budget


def options(request: Request, machine: Machine, good: Callable[[Budget], bool]) -> list[Option]:
    """The smallest change of each kind after which the plan is `good`; if no single one does it, several at once.

    Empty if nothing helps.
    """
    kinds = (_fewer_frames, _smaller_areas, _smaller_files)
    found = [option for kind in kinds if (option := _first(kind(request), machine, good))]
    if found:
        return found
    both = _first(_smaller_everything(request), machine, good)
    return [both] if both else []


def _first(
    candidates: Iterator[tuple[str, Request]],
    machine: Machine,
    good: Callable[[Budget], bool],
) -> Option | None:
    for text, request in candidates:
        placed = budget(request.load(machine), machine)
        if good(placed):
            return Option(text, request, placed)
    return None


def _fewer_frames(request: Request) -> Iterator[tuple[str, Request]]:
    clip = request.clip
    for frames in range(clip.frames - 4, 0, -4):
        yield f"{frames} frames", request.with_clip(ClipShape(frames, clip.height, clip.width))


def _smaller_areas(request: Request) -> Iterator[tuple[str, Request]]:
    for width, height in _sizes(request.clip):
        yield (
            f"frames of {width}x{height}",
            request.with_clip(ClipShape(request.clip.frames, height, width)),
        )


def _smaller_files(request: Request) -> Iterator[tuple[str, Request]]:
    for name, bits in SMALLER_FORMATS:
        smaller = request.weights.as_format(name, bits)
        if smaller.stored < request.weights.loaded(request.storage, 2):
            yield smaller.name, request.with_weights(smaller)


def _smaller_everything(request: Request) -> Iterator[tuple[str, Request]]:
    """All three at once, from the clip that keeps most pixels; each with the largest file first."""
    files = [("", request), *_smaller_files(request)]
    frames = [count for count in _LENGTHS if count <= request.clip.frames]
    clips = [
        ClipShape(count, height, width)
        for count in frames
        for width, height in _sizes(request.clip)
    ]
    for clip in sorted(clips, key=lambda clip: -clip.frames * clip.height * clip.width):
        for file, lighter in files:
            words = [
                word
                for word in (file, f"{clip.frames} frames of {clip.width}x{clip.height}")
                if word
            ]
            yield " and ".join(words), lighter.with_clip(clip)


def _sizes(clip: ClipShape) -> list[tuple[int, int]]:
    """Buckets of the clip's aspect with fewer pixels, largest first."""
    area = clip.width * clip.height
    found = dict.fromkeys(
        choose_bucket(clip.width, clip.height, int(part * area))
        for part in _AREAS
        if part * area >= 32 * 32
    )
    return sorted(
        (size for size in found if size[0] * size[1] < area), key=lambda size: -size[0] * size[1]
    )


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first weight is read."""

    request: Request
    machine: Machine
    tokens: int
    """Of the whole sequence: source, semantic, target."""
    flops: Flops
    """Of one call."""
    load: Load
    placed: Budget
    seconds: Seconds | None
    """Of one step."""
    nearest: list[Option]
    """If it does not fit: what would."""
    resident: list[Option]
    """If streaming costs time: what would keep all weights on the card."""

    @property
    def fits(self) -> bool:
        return self.placed.fits

    @property
    def latent(self) -> LatentShape:
        return self.request.clip.latent()


def make_plan(request: Request, machine: Machine, calibrations: Iterable[Calibration] = ()) -> Plan:
    """Counts, places and times one edit; nothing is read, nothing is run."""
    load, latent = request.load(machine), request.clip.latent()
    placed, flops = budget(load, machine), forward_flops(request.config, latent)
    tokens = sequence_tokens(request.config, latent)
    seconds = seconds_per_step(
        flops, request.calls, request.config, tokens, request.storage, placed, machine, calibrations
    )
    nearest = [] if placed.fits else options(request, machine, lambda result: result.fits)
    resident = []
    if placed.fits and placed.streamed and (seconds is None or seconds.streaming_counts):
        resident = options(request, machine, lambda result: result.fits and not result.streamed)
    return Plan(request, machine, tokens, flops, load, placed, seconds, nearest, resident)
