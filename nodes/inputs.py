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
    """The sampling settings of all nodes that edit."""
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


def segment_inputs() -> list[io.Input]:
    """How a long clip is cut into segments, for the nodes that edit one."""
    from ..sama_core.comfyui.long_edit import OVERLAP_FRAMES, SEGMENT_FRAMES
    from ..sama_core.geometry import WAN_21

    return [
        io.Int.Input(
            "segment_frames",
            default=SEGMENT_FRAMES,
            min=WAN_21.frames_of(3),
            max=4097,
            step=WAN_21.temporal,
            tooltip="Frames that the model sees at once, 4k+1. Default 81, as SAMA was "
            "released; fewer need less memory.",
        ),
        io.Int.Input(
            "overlap_frames",
            default=OVERLAP_FRAMES,
            min=WAN_21.temporal,
            max=1024,
            step=WAN_21.temporal,
            tooltip="Frames that neighbouring segments share and that fade from one to "
            "the next. Default 16; more make joins softer and take longer.",
        ),
        io.Boolean.Input(
            "anchor_colours",
            default=True,
            tooltip="Hold brightness and colour to the source where the edit changed "
            "nothing, so that segments do not drift; a clip of one segment is left as it is. "
            "Default on; turn it off for edits that change the light of the whole picture a "
            "little.",
        ),
    ]


def range_inputs(frames: int, which: str) -> list[io.Input]:
    """Which frames of a clip are edited; `frames` is the default, and `which` says it."""
    return [
        io.Int.Input(
            "frames",
            default=frames,
            min=0,
            max=10_000_000,
            tooltip=f"How many frames to edit, after the stride. {which}",
        ),
        io.Int.Input(
            "start",
            default=0,
            min=0,
            max=10_000_000,
            tooltip="First frame, counted from 0. Default 0.",
        ),
        io.Int.Input(
            "stride",
            default=1,
            min=1,
            max=1000,
            tooltip="Take every n-th frame; the result plays at fps / n. Default 1.",
        ),
    ]


def area_input() -> io.Int.Input:
    """The working area in pixels."""
    from ..sama_core.geometry import DEFAULT_AREA

    return io.Int.Input(
        "area",
        default=0,
        min=0,
        max=4096 * 4096,
        advanced=True,
        tooltip="Working area in pixels (width x height). 0 uses the area that the connected "
        f"model was made for, or 832x480 = {DEFAULT_AREA}. Fewer pixels mean less "
        "work and less detail.",
    )


def fit_input() -> io.Combo.Input:
    """How the picture is fitted to the model."""
    from ..sama_core.clip import Fit

    return io.Combo.Input(
        "fit",
        options=list(map(str, Fit)),
        default=str(Fit.CROP),
        optional=True,
        tooltip="How the picture is fitted to a size that the model accepts. Crop to bucket: "
        "the sides are cut off, as in the SAMA release. Letterbox: the whole picture, "
        "with black bars. Stretch: the whole picture, stretched to the size. Keep "
        "size: every pixel as it is, area is not used; large clips need much memory. "
        "Default crop to bucket.",
    )


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
