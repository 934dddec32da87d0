"""A plan for a number of minutes: as text, and as settings that can be copied."""

import math

from ..released_files import SAMA_14B, STEP_LORA
from .in_minutes import CHOICES, RESERVE, TimedPlan, TimedSettings
from .machine import CPU, GIB
from .request import is_small
from .seconds import CALIBRATE
from .summary import size, span
from .trade_offs import LORA_STEPS, STEP_SHARES

NAMES = {"full": "Full", "middle": "Middle", "draft": "Draft"}


def report_minutes(plan: TimedPlan, listed: bool = True) -> str:
    """The choices, what they give up, and where the times come from; or why there are none.

    Not `listed`: without those choices that are there, for where they stand beside it.
    """
    if not plan.choices:
        return "\n".join([*_head(plan), *_obstacle(plan)])
    return "\n".join([*_head(plan), *_choices(plan, listed), *_notes(plan)])


def list_choices(plan: TimedPlan, all_frames: int) -> list[dict[str, object]]:
    """The choices for the canvas: what each is in words, its time, and what to set.

    `all_frames` is what `frames` is set to where nothing of the length is given up.
    `frames`, `area`, `steps`, `cfg` and `segment_frames` are numbers; `model` is the file that is
    planned for; `lora` says whether a step-distilled LoRA belongs to it; `file` names the file that
    has to be written first, or is empty.
    """
    return [
        {
            "name": NAMES[name],
            "model": plan.wish.request.weights.name,
            "says": describe(way, plan),
            "time": span(way.low, way.high),
            **settings_of(way, plan),
            **({"frames": all_frames} if way.settings.frames == plan.wish.frames else {}),
        }
        for name, way in plan.choices.items()
    ]


def settings_of(way: TimedSettings, plan: TimedPlan) -> dict[str, object]:
    """What to set, by the names of the nodes' inputs, see `list_choices`."""
    request, clip, asked = way.settings.request, way.settings.request.clip, plan.wish.request
    return {
        "frames": way.settings.frames,
        "area": clip.width * clip.height,
        "steps": request.steps,
        "cfg": request.cfg,
        "segment_frames": clip.frames if way.segments > 1 else SAMA_14B.frames,
        "segments": way.segments,
        "weight_dtype": request.storage,
        "file": "" if request.weights == asked.weights else request.weights.format,
        "lora": way.settings.lora,
    }


def describe(way: TimedSettings, plan: TimedPlan) -> str:
    """The settings in words."""
    request, clip, asked = way.settings.request, way.settings.request.clip, plan.wish.request
    lora = " with a step-distilled LoRA" if way.settings.lora else ""
    parts = [
        f"{way.settings.frames} frames of {clip.width}x{clip.height}",
        f"{request.steps} steps, cfg {request.cfg:g}{lora}",
    ]
    if way.segments > 1:
        parts.insert(1, f"in {way.segments} segments of {clip.frames}")
    if request.weights != asked.weights:
        parts.append(f"{request.weights.name} ({size(request.weights.stored)})")
    elif request.storage != asked.storage:
        parts.append(f"weight_dtype {request.storage}")
    return ", ".join(parts)


def list_settings_by_node(way: TimedSettings, plan: TimedPlan) -> list[str]:
    """A line for each node whose inputs are to be set."""
    given = settings_of(way, plan)
    part = f"frames {given['frames']}, area {given['area']}"
    sampling = f"steps {given['steps']}, cfg {given['cfg']:g}"
    if way.segments > 1:
        cut = f"segment_frames {given['segment_frames']}"
        lines = [f"SAMA Edit Whole Video: {part}, {sampling}, {cut}"]
    else:
        lines = [
            f"SAMA Edit Whole Video: {part}, {sampling}",
            f"or SAMA Source Video: {part}, and SAMA Edit: {sampling}",
        ]
    if given["weight_dtype"] != plan.wish.request.storage:
        lines.append(f"Load SAMA Model: weight_dtype {given['weight_dtype']}")
    if given["file"]:
        lines.append(f"SAMA Convert Weights: {given['file']}, and load that file")
    if given["lora"]:
        lines.append("Load SAMA LoRA: a step-distilled LoRA, between model and edit")
    return lines


def _head(plan: TimedPlan) -> list[str]:
    machine, request, clip = plan.machine, plan.wish.request, plan.wish.request.clip
    memory = f", {machine.free_vram / GIB:.1f} GiB free" if machine.has_card else ""
    return [
        f"SAMA in {_minutes(plan.minutes)} on {machine.card or 'this device'}{memory}",
        *request.remarks,
        (
            f"Asked for: {plan.wish.frames} frames of {clip.width}x{clip.height}, "
            f"{request.steps} steps, cfg {request.cfg:g}{_time_of_wish(plan)}"
        ),
    ]


def _minutes(count: float) -> str:
    return f"{count:g} minute{'' if count == 1 else 's'}"


def _time_of_wish(plan: TimedPlan) -> str:
    if plan.asked is not None:
        return f"; {span(plan.asked.low, plan.asked.high)}"
    return "; more memory than is free" if plan.fastest is not None else ""


def _choices(plan: TimedPlan, listed: bool) -> list[str]:
    lines = []
    for name, share in CHOICES:
        way = plan.choices.get(name)
        if way is None:
            lines.append(f"{NAMES[name]}: nothing else that is finished in {share:.0%} of the time")
        elif listed:
            lines.append(f"{NAMES[name]}: {describe(way, plan)}; {span(way.low, way.high)}")
    return lines


def _notes(plan: TimedPlan) -> list[str]:
    chosen = list(plan.choices.values())
    lines = [
        (
            f"Times are of sampling, the longest one counts, and {RESERVE:.0%} of the minutes are "
            f"left for everything else; loading the model comes on top ({chosen[0].source})."
        ),
        _order(plan),
    ]
    if any(way.settings.lora for way in chosen):
        lines.append(
            f"The LoRA is, for example, {STEP_LORA.filename} of {STEP_LORA.repo}. How it edits "
            "with SAMA is untested; without it such few steps give a poor edit."
        )
    if any(way.settings.request.weights.gguf for way in chosen):
        lines.append("Unpacking a GGUF file comes on top.")
    full = plan.choices.get("full")
    if any(_has_other_noise(way, full) for way in chosen):
        lines.append(
            "A draft of another size or length starts from other noise: it shows whether the words "
            "are understood, not what the seed gives. SAMA Drafts shows that."
        )
    return lines


def _order(plan: TimedPlan) -> str:
    steps = f"steps (down to {STEP_SHARES[-1]:.0%}"
    if plan.wish.takes_lora:
        steps += f", then a step-distilled LoRA with {LORA_STEPS[0]} to {LORA_STEPS[-1]}"
    measured = (
        ""
        if is_small(plan.wish.request.config)
        else " On SAMA-14B nobody has measured what each costs."
    )
    return (
        f"Given up in this order: the form of the weights, {steps}), size (to half the sides), "
        f"length.{measured}"
    )


def _has_other_noise(way: TimedSettings, full: TimedSettings | None) -> bool:
    return full is not None and way.settings.request.clip != full.settings.request.clip


def _obstacle(plan: TimedPlan) -> list[str]:
    """Why there are no choices, and what helps."""
    if plan.machine.kind == CPU and not is_small(plan.wish.request.config):
        return [
            (
                "Time: not known; SAMA-14B was never run on a CPU. Name the card that you will "
                "use, such as RTX 4090."
            )
        ]
    if not plan.fits:
        return [
            (
                "Nothing of this model fits into the memory that is free, however small: close "
                "what else uses memory, or use a larger machine."
            )
        ]
    if plan.fastest is None:
        return [
            (
                f"Time: not known for {plan.machine.card or 'this device'}, so that nothing can be "
                f"chosen by it. {CALIBRATE}. Or name a card whose speed is known, such as RTX 4090."
            )
        ]
    fastest = plan.fastest
    minutes = math.ceil(fastest.high / 60 / (1 - RESERVE) * 10) / 10
    return [
        (
            f"Nothing is certain to be finished in {_minutes(plan.minutes)}. The fastest of all is "
            f"{describe(fastest, plan)}: {span(fastest.low, fastest.high)} ({fastest.source})."
        ),
        f"Set {_minutes(minutes)} or more, or name a faster card.",
    ]
