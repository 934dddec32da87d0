"""Whether a training fits a machine, how long its steps take, and which setting helps next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .cards import EFFICIENCY, TRANSFER, peak
from .machine import Machine
from .train_request import TrainRequest


@dataclass(frozen=True)
class Remedy:
    """A change of settings, and the training with it."""

    settings: str
    """As the recipe has them."""
    request: TrainRequest
    """With the change."""


@dataclass(frozen=True)
class TrainPlan:
    """Everything that is known before anything is loaded. Memory in bytes."""

    request: TrainRequest
    """The training."""
    machine: Machine
    """The machine it would run on."""
    card: int
    """The most card memory in use at once; without a card, RAM."""
    ram: int
    """RAM that is needed."""
    short_card: int
    """Card memory that is missing."""
    short_ram: int
    """RAM that is missing."""
    seconds: tuple[float, float] | None
    """Shortest and longest time of an optimiser step; None for an unknown card."""
    remedies: tuple[Remedy, ...]
    """If it does not fit: what to set, one after the other; empty where nothing suffices."""

    @property
    def fits(self) -> bool:
        """Whether neither card memory nor RAM is missing."""
        return not (self.short_card or self.short_ram)


def plan_training(request: TrainRequest, machine: Machine) -> TrainPlan:
    """Plans one training by arithmetic alone."""
    card, ram = _needs(request, machine)
    short_card, short_ram = _missing(request, machine)
    remedies = () if not (short_card or short_ram) else find_remedies(request, machine)
    return TrainPlan(
        request, machine, card, ram, short_card, short_ram, _time(request, machine), remedies
    )


def _needs(request: TrainRequest, machine: Machine) -> tuple[int, int]:
    card = request.card_bytes(machine)
    return (card, request.ram) if machine.has_card else (card, card + request.ram)


def _missing(request: TrainRequest, machine: Machine) -> tuple[int, int]:
    card, ram = _needs(request, machine)
    short_ram = 0 if machine.free_ram is None else max(0, ram - machine.free_ram)
    return max(0, card - machine.free_vram) if machine.has_card else 0, short_ram


def _time(request: TrainRequest, machine: Machine) -> tuple[float, float] | None:
    published = peak(machine.card)
    if published is None:
        return None
    work = request.flops.total / published.bf16
    slow, fast = TRANSFER
    low, high = work / EFFICIENCY[1], work / EFFICIENCY[0]
    return max(low, request.traffic / fast), high + request.traffic / slow


# --- what helps --------------------------------------------------------------------------------


def find_remedies(request: TrainRequest, machine: Machine) -> tuple[Remedy, ...]:
    """The settings after which it fits, in the order in which they cost least; each builds on those
    before. Empty where all of them together do not suffice.
    """

    def fits(changed: TrainRequest) -> bool:
        return not any(_missing(changed, machine))

    found: list[Remedy] = []
    for step in list_steps():
        for settings, changed in step(request):
            candidate = Remedy(settings, changed)
            if fits(changed):
                return (*found, candidate)
            best = candidate
        if step(request):
            found.append(best)
            request = best.request
    return ()


Step = Callable[[TrainRequest], list[tuple[str, TrainRequest]]]
"""Changes of one setting, the least first; none where it is as far as it goes."""


def list_steps() -> tuple[Step, ...]:
    """What can be set, in the order in which it costs least."""
    return (_cache, _checkpoint, _shrink_base, _halve_states, _accumulate, _move_inputs, _swap)


def _cache(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    return [] if request.cached else [("[clips] cache = true", replace(request, cached=True))]


def _checkpoint(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    changed = replace(request, checkpointing=True)
    return [] if request.checkpointing else [("gradient_checkpointing = true", changed)]


def _shrink_base(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    if request.fp8_base or not request.lora_rank:
        return []
    return [('[memory] base = "fp8"', replace(request, fp8_base=True))]


def _halve_states(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    if request.half_states or not request.lora_rank:
        return []
    return [
        (
            '[memory] states = "bf16" with precision = "bf16"',
            replace(request, half_states=True, bf16=True),
        )
    ]


def _accumulate(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    if request.samples == 1:
        return []
    count = request.batch_size
    return [(f"accumulation = {count}", replace(request, accumulation=count))]


def _move_inputs(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    if request.inputs_in_ram or not (request.lora_rank and request.checkpointing):
        return []
    return [("[memory] activations_in_ram = true", replace(request, inputs_in_ram=True))]


def _swap(request: TrainRequest) -> list[tuple[str, TrainRequest]]:
    if not (request.lora_rank and request.checkpointing):
        return []
    return list(_more_blocks(request))


def _more_blocks(request: TrainRequest) -> Iterator[tuple[str, TrainRequest]]:
    for count in range(request.block_swap + 1, request.config.num_layers + 1):
        if count >= 3:  # two places on the card make less of no use
            yield f"[memory] block_swap = {count}", replace(request, block_swap=count)
