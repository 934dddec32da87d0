"""What ComfyUI will keep on the card and what it will stream: core's own rule, in numbers.

Restated from ComfyUI 0.30.0: `comfy.model_management.load_models_gpu`, `comfy.sampler_helpers.estimate_memory`,
`ModelPatcher.load` and the batching in `comfy.samplers`. In words:

    estimate-based   Room for the activations of one sample and a reserve is kept free; what is left goes to weights.
                     The rest of the weights stays in RAM and comes over, layer by layer, in every forward.
    dynamic VRAM     (core's default on NVIDIA) Weights take what is free and give way when the activations grow. The
                     balance is the same, but found while the model runs instead of estimated.
    CPU, MPS         Everything is in the computer's memory; nothing is streamed.

Core keeps the largest modules on the card first: those are the feed-forwards, which long sequences call twice.

Unverified: on a card. Every figure here is computed.
"""

from dataclasses import dataclass, replace

from .machine import GIB, NVIDIA, Machine

# `minimum_inference_memory` without the reserve.
_LEAST_FREE = round(0.8 * GIB)
_OTHER_CARDS_SHARE = 0.4


@dataclass(frozen=True)
class Load:
    """What has to be somewhere. Bytes."""

    weights: int
    layer: int
    """The largest layer."""
    activations: int
    """Peak of one call with one sample."""
    guided: bool
    """Whether every step needs two calls (cfg other than 1)."""
    beside: int
    """What else is in RAM: text encoder, VAE, frames."""
    feed_forward: int = 0
    """Part of `weights`: the feed-forwards."""
    slices: int = 1
    """How often one call runs each feed-forward."""
    moves: bool = True
    """Whether core's dynamic VRAM may move the weights: GGUF loaders bring a patcher of their own, which has none."""


@dataclass(frozen=True)
class Budget:
    """Where it goes. Bytes."""

    kept: int
    """Weights that stay on the card."""
    streamed: int
    """Weights that cross to the card in every forward."""
    batched: bool
    """Whether both calls of a guided step run as one."""
    activations: int
    """Peak of one call as core runs it: of both samples where it is batched."""
    peak: int
    """Memory for the work at its highest: kept weights, layers on their way, activations, reserve."""
    ram: int
    """RAM that is needed."""
    short_vram: int = 0
    """What the work memory lacks; 0 if it suffices."""
    short_ram: int = 0
    """What RAM lacks."""
    again: int = 0
    """What crosses more than once in a forward, beyond the first time: feed-forwards that are not kept."""

    @property
    def traffic(self) -> int:
        """All that crosses to the card in a forward."""
        return self.streamed + self.again

    @property
    def fits(self) -> bool:
        return not (self.short_vram or self.short_ram)


def budget(load: Load, machine: Machine) -> Budget:
    """Core's decision for this load on this machine."""
    machine = replace(machine, dynamic=machine.dynamic and load.moves)
    return _on_card(load, machine) if machine.has_card else _in_ram(load, machine)


def _on_card(load: Load, machine: Machine) -> Budget:
    keep_free = max(_LEAST_FREE, load.activations) + machine.reserved
    kept = _weights_on_card(load, machine, keep_free)
    streamed = load.weights - kept
    passing = load.layer * (machine.streams + 1) if streamed else 0
    batched = load.guided and _batches(load, machine, kept)
    activations = load.activations * (2 if batched else 1)
    if batched and machine.dynamic:
        # The weights give way to the larger activations.
        kept = min(kept, max(0, machine.free_vram - activations - machine.reserved - passing))
        streamed = load.weights - kept
    peak = kept + passing + activations + machine.reserved
    ram = load.weights + load.beside + machine.program
    # With dynamic VRAM the file is mapped, and what lies on the card need not be in RAM too.
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
    )


def _weights_on_card(load: Load, machine: Machine, keep_free: int) -> int:
    if machine.vram_mode == "no":
        return 0
    if machine.vram_mode == "high":
        return load.weights
    room = max(0, machine.free_vram - keep_free)
    if machine.kind != NVIDIA:
        least = min(
            _OTHER_CARDS_SHARE * machine.free_vram,
            machine.free_vram - _LEAST_FREE - machine.reserved,
        )
        room = max(room, int(least))
    if room >= load.weights:
        return load.weights
    return max(0, room - load.layer * (machine.streams + 1))


def _batches(load: Load, machine: Machine, kept: int) -> bool:
    """Core runs both calls at once where half as much again would fit; dynamic VRAM counts weights as free."""
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
