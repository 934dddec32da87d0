"""A plan as text for the user. Every figure says whether it was measured or computed."""

import math

from ..released_files import SAMA_14B
from ..weights.names import FP8_STORAGES
from .budget import Budget, for_weights, keeps_all
from .machine import CPU, GIB, MIB, MPS, Machine
from .planning import Option, Plan, options
from .request import is_small
from .seconds import CALIBRATE

OUT_OF_MEMORY = "Nothing is broken: change a setting and queue it again."
_LIGHTER = 0.75
"""Where memory ran out although it should have sufficed, aim for this fraction of it."""


def report(plan: Plan) -> str:
    """The whole plan: what, where, how long, and the verdict."""
    return "\n".join(
        [*_what(plan), *_where(plan), _time(plan), _beside_sampling(plan), *_verdict(plan)]
    )


def verdict_first(text: str) -> str:
    """A report with its verdict in front, for a node: until enlarged it shows only two lines."""
    figures, _, verdict = text.partition("\nVerdict: ")
    return f"Verdict: {verdict}\n{figures}"


def out_of_memory_text(plan: Plan) -> str:
    """The text above ComfyUI's own message when sampling ran out of memory.

    The plan may have said that the edit fits; then the advice is to use a quarter less.
    """
    return "\n".join(
        [
            f"SAMA ran out of memory. {OUT_OF_MEMORY}",
            *_what(plan),
            *_where(plan),
            *(_unforeseen(plan) if plan.fits else _verdict(plan)),
        ]
    )


def _unforeseen(plan: Plan) -> list[str]:
    """Advice where the figures said that it fits: settings that need a quarter less."""

    def lighter(placed: Budget) -> bool:
        return (
            placed.fits
            and placed.peak <= plan.machine.free_vram
            and placed.activations <= _LIGHTER * plan.placed.activations
        )

    lighter_options = options(
        plan.request,
        plan.machine,
        lighter
        if plan.machine.has_card
        else lambda placed: placed.fits and placed.ram <= _LIGHTER * plan.placed.ram,
    )
    lines = [
        (
            "By these figures it should have fitted: other programs or nodes used the rest, "
            "or the figures are too low. Try one of:"
        ),
        *(f"  - {_option_line(plan, option)}" for option in lighter_options),
    ]
    if plan.machine.has_card:
        lines.append("  - ComfyUI started with --reserve-vram 2, which streams more of the weights")
    return [*lines, "  - closing other programs"]


def size(count: float) -> str:
    """Bytes in GiB, or in MiB if there are few."""
    return f"{count / GIB:.1f} GiB" if count >= 0.1 * GIB else f"{count / MIB:.0f} MiB"


# --- lines -------------------------------------------------------------------------------------


def _clip(plan: Plan) -> str:
    clip = plan.request.clip
    return f"{clip.frames} frames of {clip.width}x{clip.height}"


def _what(plan: Plan) -> list[str]:
    request, weights, video = plan.request, plan.request.weights, plan.latent.tokens()
    stored_anew = request.storage in FP8_STORAGES and not weights.quantised
    storage = f"as {request.storage}" if stored_anew else f"file in {weights.format}"
    storage += ", computed in float32" if plan.machine.kind == CPU else ""
    calls = (
        "1 call a step (cfg 1)" if request.calls == 1 else f"2 calls a step (cfg {request.cfg:g})"
    )
    work = plan.flops.total * request.calls * request.steps
    return [
        f"SAMA plan: {_clip(plan)}, {request.steps} steps, cfg {request.cfg:g}",
        *request.remarks,
        (
            f"Model: {weights.name}, {_short(weights.parameters)} weights, {storage}: "
            f"{size(plan.load.weights)} in memory"
        ),
        (
            f"Tokens: {plan.tokens:,} = source {video:,} "
            f"+ semantic {request.config.semantic_tokens} + target {video:,}"
        ),
        (
            f"Work: {_flop(plan.flops.total)} a call, {plan.flops.attention_share:.0%} of it "
            f"attention; {calls}, {_flop(work)} in all"
        ),
    ]


def _where(plan: Plan) -> list[str]:
    machine, placed, load = plan.machine, plan.placed, plan.load
    pair = " for two samples at once" if placed.batched else ""
    activations = size(placed.activations)
    parts = [f"weights {size(load.weights)}", f"text encoder, VAE and frames {size(load.beside)}"]
    parts += [f"ComfyUI itself {size(machine.program)}"] if machine.program else []
    parts += [] if machine.has_card else [f"activations {activations}"]
    ram = f"RAM: {size(placed.ram)} ({', '.join(parts)}){_free_ram(machine)}"
    if not machine.has_card:
        where = {CPU: "CPU", MPS: "Apple GPU, which shares the computer's memory"}[machine.kind]
        return [f"Device: {machine.card or where}; nothing is streamed", ram]
    lines = [
        (
            f"Card: {machine.card or 'a card'}, {machine.free_vram / GIB:.1f} of "
            f"{machine.total_vram / GIB:.1f} GiB "
            f"{'assumed free' if machine.assumed_vram else 'free for this'}"
        ),
        f"On the card: {activations} activations{pair}, {size(machine.reserved)} left to others, "
        + (
            f"and all {size(load.weights)} of weights"
            if not placed.streamed
            else f"{size(placed.kept)} of weights; {size(placed.streamed)} of weights are "
            f"streamed from RAM in every call{_again(plan)}"
        ),
    ]
    if placed.streamed and machine.dynamic and load.moves:
        lines.append(
            "ComfyUI's dynamic VRAM finds the balance while it runs; these figures are computed."
        )
    return [*lines, ram, *_explain_ram(plan)]


def _explain_ram(plan: Plan) -> list[str]:
    """Why less RAM is needed than the sum, where the sum is more than is free."""
    placed, free = plan.placed, plan.machine.free_ram
    if free is None or placed.ram <= free or not placed.spared:
        return []
    needed = size(placed.ram - placed.spared)
    return [
        (
            f"The model file is mapped, not copied: the {size(placed.spared)} of weights on the "
            f"card take no RAM, so the edit needs {needed} of it."
        )
    ]


def _again(plan: Plan) -> str:
    """What is streamed more than once in a call."""
    placed = plan.placed
    return (
        f", the feed-forward layers twice: about {size(placed.traffic)} in all"
        if placed.again
        else ""
    )


def _free_ram(machine: Machine) -> str:
    if machine.free_ram is None:
        return ""
    return f", {size(machine.free_ram)} {'assumed free' if machine.assumed_ram else 'free'}"


def _time(plan: Plan) -> str:
    seconds, steps = plan.seconds, plan.request.steps
    work = plan.flops.total * plan.request.calls
    if seconds is None and plan.machine.kind == CPU and not is_small(plan.request.config):
        return (
            f"Time: not known; SAMA-14B was never run on a CPU. Each step would be {_flop(work)}."
        )
    if seconds is None:
        return f"Time: not known for {plan.machine.card or 'this device'}. {CALIBRATE}."
    step, whole = span(seconds.low, seconds.high), span(seconds.low * steps, seconds.high * steps)
    packed = " Unpacking a GGUF file comes on top." if plan.request.weights.gguf else ""
    return f"Time: {step} a step, {whole} of sampling ({seconds.source}).{packed}"


def _beside_sampling(plan: Plan) -> str:
    amount = (
        ""
        if is_small(plan.request.config)
        else f", {size(plan.request.vae_bytes(plan.machine))} to decode these frames by "
        "ComfyUI's rule,"
    )
    return (
        f"This is sampling only: the VAE needs memory of its own{amount} "
        "and works in tiles where that is not free."
    )


def _verdict(plan: Plan) -> list[str]:
    lines = _if_it_fits(plan) if plan.fits else _if_it_does_not_fit(plan)
    if plan.request.clip.frames > SAMA_14B.frames:
        lines.append(
            f"SAMA was released for {SAMA_14B.frames} frames: SAMA Long Edit works through longer "
            f"clips in segments, and needs the memory of {SAMA_14B.frames}."
        )
    return lines


def _if_it_fits(plan: Plan) -> list[str]:
    streamed = plan.placed.streamed
    if not streamed:
        return ["Verdict: it fits."]
    lines = [f"Verdict: it fits, with {size(streamed)} of the weights streamed."]
    if plan.resident:
        lines += [
            "To keep all weights on the card, one of:",
            *(f"  - {option.text}" for option in plan.resident),
        ]
    elif plan.seconds and not plan.seconds.streaming_counts:
        share = math.ceil(100 * plan.seconds.streaming / plan.seconds.low)
        lines.append(f"Streaming adds at most {share} % to the time.")
    return lines


def _if_it_does_not_fit(plan: Plan) -> list[str]:
    lines = [f"Verdict: it does not fit: {_lacking(plan)}."]
    if plan.nearest:
        lines += [
            "What would fit, one of:",
            *(f"  - {_option_line(plan, option)}" for option in plan.nearest),
        ]
    else:
        lines.append(
            "No frame count, area or file of this model fits: close what else uses memory, "
            "or use a larger machine."
        )
    machine = for_weights(plan.load, plan.machine)
    if machine.has_card and keeps_all(machine) and plan.placed.short_vram:
        lines.append("  - ComfyUI without --highvram or --gpu-only, so that it may stream weights")
    return lines


def _lacking(plan: Plan) -> str:
    placed, machine = plan.placed, plan.machine
    parts = []
    if placed.short_vram and not machine.free_vram:
        parts.append("the card has no free memory")
    elif placed.short_vram:
        parts.append(f"{size(placed.short_vram)} of card memory are missing")
    if placed.short_ram:
        parts.append(f"{size(placed.short_ram)} of RAM are missing")
    return " and ".join(parts)


def _option_line(plan: Plan, option: Option) -> str:
    weights = option.request.weights
    text = (
        option.text
        if weights is plan.request.weights
        else f"{option.text} ({size(weights.stored)}, from SAMA Convert Weights)"
    )
    streamed = option.placed.streamed
    return f"{text}, with {size(streamed)} of the weights streamed" if streamed else text


def _short(count: int) -> str:
    return f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"


def _flop(count: float) -> str:
    for unit, scale in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12)):
        if count >= scale:
            return (
                f"{count / scale:.3g} {unit}"
                if count < 1000 * scale
                else f"{count / scale:,.0f} {unit}"
            )
    return f"{count / 1e9:.3g} GFLOP"


def span(low: float, high: float) -> str:
    """Two durations in the unit that suits the longer one."""
    unit, scale = ("s", 1) if high < 300 else ("min", 60) if high < 100 * 60 else ("h", 3600)
    first, last = (_two_digits(value / scale) for value in (low, high))
    return f"about {last} {unit}" if first == last else f"{first} to {last} {unit}"


def _two_digits(value: float) -> str:
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"
