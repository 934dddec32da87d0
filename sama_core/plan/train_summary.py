"""A training's plan as text. Every figure is computed, and the text says so."""

from .machine import CPU
from .summary import size, span
from .train_plan import Remedy, TrainPlan, list_steps
from .train_request import TrainRequest

DISK_BYTES = 2
"""Of a number of a teacher's targets, which are kept in half precision."""


def report_training(plan: TrainPlan, note: str = "") -> str:
    """The whole plan: what, where, how long, and the verdict; `note` is told first."""
    request = plan.request
    lines = [note, *_what(request), *_where(plan), *_align(request), _disk(request), _time(plan)]
    return "\n".join([*(line for line in lines if line), *_verdict(plan)])


def advise_memory(request: TrainRequest) -> str:
    """The setting that helps next, for a run that is out of memory whatever the law says."""
    for step in _next_steps(request):
        return step.settings
    smaller = "smaller frames or fewer of them"
    return f"{smaller}, or a smaller lora_rank" if request.lora_rank else f"a LoRA, or {smaller}"


def _next_steps(request: TrainRequest) -> list[Remedy]:
    return [Remedy(*changes[0]) for step in list_steps() if (changes := step(request))]


def _what(request: TrainRequest) -> list[str]:
    clip = request.clip
    trained = f"a LoRA of rank {request.lora_rank}" if request.lora_rank else "all weights"
    base = ""
    if request.lora_rank:
        base = f" over {'fp8' if request.fp8_base else 'bfloat16' if request.bf16 else 'float32'}"
    passes = f"{request.accumulation} pass{'es' if request.accumulation > 1 else ''} a step"
    return [
        f"SAMA training plan: {clip.frames} frames of {clip.width}x{clip.height}, {trained}{base}",
        (
            f"Model: {request.weights.name}, "
            f"{_million(request.weights_to_train)} million weights trained; "
            f"{passes}, {request.samples} sample{'s' if request.samples > 1 else ''} a pass"
        ),
    ]


def _million(count: int) -> str:
    return f"{count / 1e6:.2g}" if count < 10**7 else f"{count / 1e6:,.0f}"


def _where(plan: TrainPlan) -> list[str]:
    request, machine = plan.request, plan.machine
    parts = [f"{size(request.base_on_card)} frozen weights"] if request.lora_rank else []
    parts += [
        f"{size(request.state)} trained ones with gradients, moments and average",
        f"{size(request.activations)} activations",
    ]
    if request.align:
        parts.append(f"{size(request.align_bytes)} of [align]")
    if not request.cached:
        parts.append(f"{size(request.encoders)} encoders")
    ram = []
    if request.base_in_ram:
        ram.append(f"{size(request.base_in_ram)} of {request.block_swap} streamed blocks")
    if request.inputs:
        ram.append(f"{size(request.inputs)} of block inputs")
    inside = f" ({', '.join(ram)}; the base is read through it)" if ram else ""
    free = "" if machine.free_ram is None else f", {size(machine.free_ram)} free"
    if not machine.has_card:
        device = machine.card or ("CPU" if machine.kind == CPU else "Apple GPU")
        return [
            f"Device: {device}, no memory of its own: {', '.join(parts)}",
            f"RAM: {size(plan.ram)}{free}",
        ]
    return [
        f"Card: {machine.card or 'a card'}, {size(machine.free_vram)} free",
        (
            f"On the card: {size(plan.card)} = {', '.join(parts)}, "
            f"{size(machine.reserved)} left to others"
        ),
        f"RAM: {size(plan.ram)}{inside}{free}",
    ]


def _align(request: TrainRequest) -> list[str]:
    """What an alignment takes, and what is taken for granted of its teacher."""
    align = request.align
    if align is None:
        return []
    projector = f"{_million(align.weights)} million weights of the projector"
    parts = [
        f"{size(request.align_state)} for {projector}",
        f"{size(request.align_activations)} activations",
        f"{size(request.align_targets)} targets",
    ]
    lines = [f"Of [align]: {', '.join(parts)}"]
    if align.teacher:
        lines.append(
            f"Teacher: not on the card, as its features are made ahead (train features RECIPE); "
            f"its {size(align.teacher)} of weights are if training makes them"
        )
    one = DISK_BYTES * align.targets
    rows = "" if request.rows is None else f", {size(request.rows * one)} for {request.rows} rows"
    return [*lines, f"Disk of the features: {size(one)} a clip{rows}"]


def _disk(request: TrainRequest) -> str:
    if not request.cached:
        return ""
    whole = "" if request.rows is None else f", {size(request.rows * request.row_bytes)} for "
    rows = "" if request.rows is None else f"{request.rows} rows"
    return f"Disk of the cache: {size(request.row_bytes)} a pair at most{whole}{rows}"


def _time(plan: TrainPlan) -> str:
    if plan.seconds is None:
        return f"Time: not known for {plan.machine.card or 'this device'}."
    low, high = plan.seconds
    steps = plan.request.steps
    whole = f", {span(low * steps, high * steps)} for {steps} steps" if steps else ""
    return (
        f"Time: {span(low, high)} a step{whole} (computed, not measured: 35 to 60 % of the card's "
        "published peak)"
    )


def _verdict(plan: TrainPlan) -> list[str]:
    if plan.fits:
        return ["Verdict: it fits. All figures are computed; none was measured on a card."]
    parts = [
        f"{size(short)} of {what} are missing"
        for short, what in ((plan.short_card, "card memory"), (plan.short_ram, "RAM"))
        if short
    ]
    lines = [f"Verdict: it does not fit: {' and '.join(parts)}."]
    if plan.remedies:
        lines += ["What would fit, all of:", *(f"  - {one.settings}" for one in plan.remedies)]
    else:
        smaller = "use smaller frames or fewer of them"
        lines.append(
            f"No setting of [memory] suffices: {smaller}, or a smaller lora_rank."
            if plan.request.lora_rank
            else f"[memory] is for a LoRA: set lora_rank, or {smaller}."
        )
    return lines
