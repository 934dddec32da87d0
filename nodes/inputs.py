"""Inputs, checks and messages that several nodes share: no node imports another node's file.

What only some families need of ComfyUI and of SAMA is imported inside the functions: where it is
missing, the other families still load.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import folder_paths
from comfy_api.latest import io

from ..sama_core.comfyui import node_progress
from ..sama_core.model.schedule import DEFAULT_SHIFT
from ..sama_core.released_files import (
    DISTILLED_CFG,
    DISTILLED_STEPS,
    MODEL_FILES,
    OWN_CFG,
    OWN_STEPS,
    SAMA_14B,
    SAMA_SHAPES,
)

ClipInfoType = io.Custom("SAMA_CLIP_INFO")
"""The socket of `clip.ClipInfo`."""
NO_BASE = "none"
"""The entry of `base_model_input` that stands for no base model."""
STEPS = {"default": OWN_STEPS, "min": OWN_STEPS, "max": 1000}
"""Default and limits of every input for sampling steps."""
CFG = {"default": OWN_CFG, "min": OWN_CFG, "max": 100.0, "step": 0.1}
"""Default and limits of every input for the guidance strength."""
STEPS_OF_MODELS = (
    f"Default 0, the model's own: {SAMA_14B.steps} for SAMA-14B, {DISTILLED_STEPS} with a "
    f"step-distilled LoRA, {SAMA_SHAPES.steps} for SAMA-Shapes, the small model inside the pack."
)
"""For tooltips: the sampling steps that each model needs."""
CFG_OF_MODELS = (
    f"Default -1, the model's own: {SAMA_14B.cfg:g} for SAMA-14B, {DISTILLED_CFG:g} with a "
    f"step-distilled LoRA, {SAMA_SHAPES.cfg:g} for SAMA-Shapes. At 1 each step runs the model "
    "once, not twice."
)
"""For tooltips: the guidance strength that each model needs."""
SHIFT = {"default": DEFAULT_SHIFT, "min": 0.01, "max": 100.0, "step": 0.01}
"""Default and limits of every input for the schedule shift."""
_EMPTY = 'The instruction is empty. Say what to change, for example "replace the seal with a crab".'


# --- inputs --------------------------------------------------------------------------------------
def model_inputs() -> list[io.Input]:
    """The three parts of the model, for the nodes that do a whole edit."""
    return [
        io.Model.Input("model", tooltip="From Load SAMA Model."),
        io.Clip.Input("clip", tooltip="umT5, from Load SAMA Text Encoder."),
        io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
    ]


def instruction_input() -> io.String.Input:
    """The instruction; `check_instruction` validates it."""
    return io.String.Input(
        "instruction",
        multiline=True,
        default="",
        placeholder="replace the seal with a crab",
        tooltip="What to change, in plain words. Parentheses are ordinary text here; up to 511 "
        "tokens are read.",
    )


def sampling_inputs() -> list[io.Input]:
    """The sampling settings that SAMA Edit, SAMA Long Edit and SAMA Anchor Preview share."""
    import comfy.samplers

    return [
        io.Int.Input(
            "seed",
            default=1,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=True,
            tooltip="Seed of video and semantic noise. The same seed gives the same edit.",
        ),
        io.Int.Input(
            "steps",
            **STEPS,
            tooltip=f"Sampling steps. {STEPS_OF_MODELS}",
        ),
        io.Float.Input(
            "cfg",
            **CFG,
            tooltip=f"How strictly the instruction is followed. {CFG_OF_MODELS}",
        ),
        io.Float.Input(
            "shift",
            **SHIFT,
            advanced=True,
            tooltip="Shift of the noise schedule; higher spends more steps on the layout. "
            f"Default {DEFAULT_SHIFT:g}.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="euler",
            advanced=True,
            tooltip="Sampling method. Default euler, as SAMA was released.",
        ),
    ]


def tag_input() -> io.Boolean.Input:
    """Whether the trained tag stands before the instruction."""
    return io.Boolean.Input(
        "edit_tag",
        default=True,
        advanced=True,
        tooltip="Put [Video edit] before the instruction, as SAMA was trained. Default on.",
    )


def tiling_input() -> io.Combo.Input:
    """How the VAE tiles, one of `conditioning.TILINGS`."""
    from ..sama_core.comfyui.conditioning import TILINGS

    return io.Combo.Input(
        "tiling",
        options=list(TILINGS),
        default=TILINGS[0],
        advanced=True,
        tooltip="How the VAE processes the frames. Automatic: whole frames, tiles only when "
        "memory runs out. Reference tiles: the release's 416x240 tiles, always.",
    )


def mask_input() -> io.Mask.Input:
    """The region that an edit may change."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="The region that may change is white. Connect SAMA Region Mask or any other node "
        "with a mask. If nothing is connected, the whole picture may change.",
    )


def anchor_input() -> io.Image.Input:
    """The edited first frame that an edit carries through the clip."""
    return io.Image.Input(
        "anchor",
        optional=True,
        tooltip="One picture: the first frame as it should look. The edit carries it through the "
        "clip, with a model or LoRA that was trained for that; others keep it in the first frame "
        "alone. If nothing is connected, the instruction alone decides.",
    )


def base_model_input(files: list[str]) -> io.Combo.Input:
    """The base of a delta file, one of the listed `files` or NO_BASE."""
    return io.Combo.Input(
        "base_model",
        options=[NO_BASE, *files],
        default=NO_BASE,
        optional=True,
        advanced=True,
        tooltip="Base Wan 2.1 T2V weights, only for a SAMA delta file: any one of the shards. "
        "Default none.",
    )


# --- checks before a graph runs ------------------------------------------------------------------
# They return True, or the error as text. A value that comes over a link is None here; it is checked
# when the node runs.
def check_instruction(instruction: str | None) -> str | bool:
    """Whether anything is left of the instruction when it is cleaned."""
    from ..sama_core.text import clean_instruction

    return instruction is None or bool(clean_instruction(instruction)) or _EMPTY


def check_listed(folder: str, name: str | None) -> str | bool:
    """Whether a model folder holds `name`; else which file is needed, from where, and its place."""
    if name is None or folder_paths.get_full_path(folder, name) is not None:
        return True
    known = " or ".join(file.where() for file in MODEL_FILES if file.folder == folder)
    advice = f"SAMA needs {known}. " if known else ""
    return (
        f"'{name}' is not in models/{folder}. {advice}Put it there and press R in ComfyUI to see "
        "it in the list."
    )


# --- messages in the node ------------------------------------------------------------------------
def report_ui(text: str, in_node: str | None = None) -> dict:
    """What a node with a report returns as `ui`: its text, and what its box shows if that differs.

    The box is `web/nodes/reports.js`; `text` is also what clients of the API read.
    """
    return {"text": (text,), "sama_report": (in_node or text,)}


def say_during_run(node_id: str) -> AbstractContextManager[Callable[[str], bool]]:
    """Gives a function that shows one line of text in the node until the context is left."""
    return node_progress.show_during(node_id)


def remark_in(node_id: str | None) -> Callable[[Iterable[str | None]], None]:
    """A function that shows remarks in the node; an empty list removes those of an earlier run.

    None is the running node.
    """
    return lambda remarks: node_progress.show_remarks(remarks, node_id)
