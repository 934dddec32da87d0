"""What ComfyUI will keep on the card and what it will stream: ComfyUI's own rule, in numbers.

Restated from ComfyUI 0.30.0: `comfy.model_management.load_models_gpu`,
`comfy.sampler_helpers.estimate_memory`, `ModelPatcher.load` and the batching in `comfy.samplers`:

    estimate-based   Room for the activations of one sample and a reserve stays free; the remaining
                     room is for weights. Weights without room stay in RAM and are copied to the
                     card, layer by layer, in every forward pass.
    dynamic VRAM     (ComfyUI's default on NVIDIA) Weights take what is free and are removed when
                     the activations grow. The balance is the same, but it is found while the model
                     runs instead of being estimated. It knows no modes: --highvram, --gpu-only
                     and --novram switch it off, and where --enable-dynamic-vram switches it on
                     again, they no longer decide where weights lie (`ModelPatcherDynamic.load`).
    CPU, MPS         Everything is in the computer's memory; nothing is streamed.

ComfyUI keeps the largest modules on the card first: the feed-forwards. Long sequences call them
twice.

Unverified: on a card. Every figure here is computed.
"""

from dataclasses import dataclass, replace

from .machine import GIB, NVIDIA, Machine

_LEAST_FREE = round(0.8 * GIB)
"""ComfyUI's `minimum_inference_memory` without the reserve, in bytes."""
_OTHER_CARDS_SHARE = 0.4
"""Fraction of the free memory that ComfyUI gives to weights at least, on cards of other makers
than NVIDIA."""


@dataclass(frozen=True)
class Load:
    """The memory that one edit needs, in bytes, wherever it will be."""

    weights: int
    """All weights of the model, as they are held in memory."""
    layer: int
    """Weights of the largest layer."""
    activations: int
    """Peak of one call with one sample."""
    guided: bool
    """Whether every step needs two calls (cfg other than 1)."""
    beside: int
    """What else is in RAM: text encoder, VAE, frames."""
    feed_forward: int = 0
    """The part of `weights` that belongs to the feed-forwards."""
    slices: int = 1
    """How many slices of the sequence each feed-forward runs on, one after another, in one call."""
    moves: bool = True
    """Whether ComfyUI's dynamic VRAM may move the weights. It may not with GGUF files: their
    loaders bring a model patcher of their own, without dynamic VRAM."""


@dataclass(frozen=True)
class Budget:
    """Where ComfyUI will put that memory, in bytes."""

    kept: int
    """Weights that stay on the card."""
    streamed: int
    """Weights that are copied to the card in every forward pass."""
    batched: bool
    """Whether both calls of a guided step run as one."""
    activations: int
    """Peak of one call as ComfyUI runs it: with both samples where the calls are batched."""
    peak: int
    """The most card memory in use at once: kept weights, layers on their way to the card,
    activations, reserve. On a CPU or with MPS: the same as `ram`."""
    ram: int
    """RAM that is needed."""
    short_vram: int = 0
    """Bytes of card memory that are missing; 0 if it suffices."""
    short_ram: int = 0
    """Bytes of RAM that are missing; 0 if it suffices."""
    again: int = 0
    """Bytes streamed again: feed-forward weights that are not kept on the card are copied once per
    slice. The first copy counts in `streamed`, the others here."""
    spared: int = 0
    """The part of `ram` that is not needed at once: with dynamic VRAM the file is mapped, and what
    lies on the card need not be in RAM too."""

    @property
    def traffic(self) -> int:
        """All bytes that are copied to the card in one forward pass."""
        return self.streamed + self.again

    @property
    def fits(self) -> bool:
        """Whether neither card memory nor RAM is missing."""
        return not (self.short_vram or self.short_ram)


def budget(load: Load, machine: Machine) -> Budget:
    """ComfyUI's decision for this load on this machine, and the memory that is missing."""
    machine = for_weights(load, machine)
    return _on_card(load, machine) if machine.has_card else _in_ram(load, machine)


def for_weights(load: Load, machine: Machine) -> Machine:
    """The machine as it treats these weights: dynamic VRAM may not move them all."""
    return replace(machine, dynamic=machine.dynamic and load.moves)


def _on_card(load: Load, machine: Machine) -> Budget:
    keep_free = max(_LEAST_FREE, load.activations) + machine.reserved
    kept = _weights_on_card(load, machine, keep_free)
    streamed = load.weights - kept
    passing = load.layer * (machine.streams + 1) if streamed else 0
    batched = load.guided and _batches(load, machine, kept)
    activations = load.activations * (2 if batched else 1)
    if batched and machine.dynamic:
        # Weights are removed from the card to make room for the larger activations.
        kept = min(kept, max(0, machine.free_vram - activations - machine.reserved - passing))
        streamed = load.weights - kept
    peak = kept + passing + activations + machine.reserved
    ram = load.weights + load.beside + machine.program
    spared = kept if machine.dynamic else 0
    return Budget(
        kept,
        streamed,
        batched,
        activations,
        peak,
        ram,
        short_vram=max(0, peak - machine.free_vram),
        short_ram=_short_ram(ram - spared, machine),
        again=(load.slices - 1) * max(0, load.feed_forward - kept),
        spared=spared,
    )


def keeps_all(machine: Machine) -> bool:
    """Whether all weights lie on the card, also where they have no room: --highvram, --gpu-only."""
    return machine.vram_mode == "high" and not machine.dynamic


def _weights_on_card(load: Load, machine: Machine, keep_free: int) -> int:
    if machine.vram_mode == "no" and not machine.dynamic:
        return 0
    if keeps_all(machine):
        return load.weights
    room = max(0, machine.free_vram - keep_free)
    if machine.kind != NVIDIA and not machine.dynamic:
        least = min(
            _OTHER_CARDS_SHARE * machine.free_vram,
            machine.free_vram - _LEAST_FREE - machine.reserved,
        )
        room = max(room, int(least))
    if room >= load.weights:
        return load.weights
    return max(0, room - load.layer * (machine.streams + 1))


def _batches(load: Load, machine: Machine, kept: int) -> bool:
    """Whether ComfyUI runs both calls of a guided step at once.

    It does where one and a half times their activations would fit. With dynamic VRAM it counts the
    memory of weights as free.
    """
    free = machine.free_vram - (0 if machine.dynamic else kept)
    return 2 * load.activations * 1.5 < free


def _in_ram(load: Load, machine: Machine) -> Budget:
    free = machine.free_ram or 0
    batched = load.guided and 2 * load.activations * 1.5 < free - load.weights
    activations = load.activations * (2 if batched else 1)
    ram = load.weights + activations + load.beside + machine.program
    return Budget(
        load.weights, 0, batched, activations, peak=ram, ram=ram, short_ram=_short_ram(ram, machine)
    )


def _short_ram(needed: int, machine: Machine) -> int:
    return 0 if machine.free_ram is None else max(0, needed - machine.free_ram)
