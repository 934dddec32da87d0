"""One plan: the request, what comes of it on a machine, and the text an artist reads."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..geometry import LatentShape
from ..memory_law import sequence_tokens
from .advice import Option, options
from .budget import Budget, Load, budget
from .calibration import Calibration
from .flops import Flops, forward_flops
from .machine import Machine
from .request import Request
from .seconds import Seconds, seconds_per_step


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
    seconds = seconds_per_step(flops, request.calls, request.config, tokens, request.storage, placed, machine,
                               calibrations)
    nearest = [] if placed.fits else options(request, machine, lambda result: result.fits)
    resident = []
    if placed.fits and placed.streamed and (seconds is None or seconds.streaming_counts):
        resident = options(request, machine, lambda result: result.fits and not result.streamed)
    return Plan(request, machine, tokens, flops, load, placed, seconds, nearest, resident)
