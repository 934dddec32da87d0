"""One plan: what a request needs on a machine, and the nearest settings that would fit.

The nearest settings are found by changing one thing at a time: the smallest change that suffices.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ..geometry import ClipShape, LatentShape, choose_bucket, pad_frame_count
from ..model.memory_law import sequence_tokens
from .budget import Budget, Load, budget
from .machine import Machine
from .request import Flops, Request, forward_flops
from .seconds import Calibration, Seconds, seconds_per_step
from .weight_bytes import SMALLER_FORMATS

_AREAS = [part / 20 for part in range(19, 0, -1)]
"""Areas that are tried, as fractions of the requested one."""
_LENGTHS = (81, 65, 49, 33, 17, 9, 5, 1)
"""Frame counts that are tried where more than one setting has to change, padded for the model."""


@dataclass(frozen=True)
class Option:
    """A change of settings and its effect."""

    text: str
    """The new settings, in words."""
    request: Request
    """The request with the new settings."""
    placed: Budget
    """Where ComfyUI would put the memory of that request."""


def options(request: Request, machine: Machine, good: Callable[[Budget], bool]) -> list[Option]:
    """The smallest change of each kind after which the budget is `good`.

    If no single change suffices, one option that changes several settings; empty if nothing helps.
    """
    kinds = (_fewer_frames, _smaller_areas, _smaller_files)
    single = [option for kind in kinds if (option := _first(kind(request), machine, good))]
    if single:
        return single
    several = _first(_smaller_everything(request), machine, good)
    return [several] if several else []


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
    clip, step = request.clip, request.clip.lattice.temporal
    for frames in range(clip.frames - step, 0, -step):
        yield f"{frames} frames", request.with_clip(replace(clip, frames=frames))


def _smaller_areas(request: Request) -> Iterator[tuple[str, Request]]:
    for width, height in list_sizes(request.clip):
        yield (
            f"frames of {width}x{height}",
            request.with_clip(replace(request.clip, height=height, width=width)),
        )


def _smaller_files(request: Request) -> Iterator[tuple[str, Request]]:
    for name, bits in SMALLER_FORMATS:
        smaller = request.weights.as_format(name, bits)
        if smaller.stored < request.weights.memory_bytes(request.storage, 2):
            yield smaller.name, request.with_weights(smaller)


def _smaller_everything(request: Request) -> Iterator[tuple[str, Request]]:
    """All three at once: clips with the most pixels first, each with the largest file first."""
    files = [("", request), *_smaller_files(request)]
    whole = request.clip
    frames = dict.fromkeys(pad_frame_count(count, whole.lattice) for count in _LENGTHS)
    clips = [
        replace(whole, frames=count, height=height, width=width)
        for count in frames
        if count <= whole.frames
        for width, height in list_sizes(whole)
    ]
    for clip in sorted(clips, key=lambda clip: -clip.frames * clip.height * clip.width):
        for file, lighter in files:
            words = [
                word
                for word in (file, f"{clip.frames} frames of {clip.width}x{clip.height}")
                if word
            ]
            yield " and ".join(words), lighter.with_clip(clip)


def list_sizes(clip: ClipShape) -> list[tuple[int, int]]:
    """Width and height of buckets of the clip's aspect with fewer pixels, largest first."""
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
    """The edit."""
    machine: Machine
    """The machine it would run on."""
    tokens: int
    """Tokens of the whole sequence: source, semantic, target."""
    flops: Flops
    """Work of one call of the model with one sample."""
    load: Load
    """Memory that is needed."""
    placed: Budget
    """Where ComfyUI will put it."""
    seconds: Seconds | None
    """Time of one step; None where it is not known."""
    nearest: list[Option]
    """If it does not fit: settings that would fit."""
    resident: list[Option]
    """If streaming costs time: settings that would keep all weights on the card."""

    @property
    def fits(self) -> bool:
        """Whether the memory suffices."""
        return self.placed.fits

    @property
    def latent(self) -> LatentShape:
        """Shape of the clip's latent."""
        return self.request.clip.latent()


def make_plan(request: Request, machine: Machine, calibrations: Iterable[Calibration] = ()) -> Plan:
    """Plans one edit by arithmetic alone: no file is read, no model is run.

    `calibrations` are measured speeds, the preferred ones last, see `read_calibrations`.
    """
    load, latent = request.load(machine), request.clip.latent()
    placed, flops = budget(load, machine), forward_flops(request.config, latent)
    tokens = sequence_tokens(request.config, latent)
    seconds = time_step(request, placed, machine, calibrations)
    nearest = [] if placed.fits else options(request, machine, lambda result: result.fits)
    resident = []
    if placed.fits and placed.streamed and (seconds is None or seconds.streaming_counts):
        resident = options(request, machine, lambda result: result.fits and not result.streamed)
    return Plan(request, machine, tokens, flops, load, placed, seconds, nearest, resident)


def time_step(
    request: Request, placed: Budget, machine: Machine, calibrations: Iterable[Calibration]
) -> Seconds | None:
    """Time of one step of a request whose memory is `placed` so; None where it is not known."""
    config, latent = request.config, request.clip.latent()
    return seconds_per_step(
        forward_flops(config, latent),
        request.calls,
        config,
        sequence_tokens(config, latent),
        request.storage,
        placed,
        machine,
        calibrations,
    )
