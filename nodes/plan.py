"""Planning: what an edit will need, before a weight is read."""

from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..sama_core.comfyui.loaders import WEIGHT_DTYPES
from ..sama_core.comfyui.plan import calibrations, named_machine
from ..sama_core.comfyui.video import video_size
from ..sama_core.geometry import DEFAULT_AREA, WAN_21, Lattice
from ..sama_core.plan.cards import list_cards
from ..sama_core.plan.in_minutes import plan_minutes
from ..sama_core.plan.minutes_text import list_choices, report_minutes
from ..sama_core.plan.planning import make_plan
from ..sama_core.plan.read_model import read_model
from ..sama_core.plan.request import MAX_FRAMES, MAX_SIDE, Request, encoder_sizes
from ..sama_core.plan.summary import report, verdict_first
from ..sama_core.plan.trade_offs import Wish
from ..sama_core.plan.whole_clip import AskedClip, ask_at_once, ask_in_segments
from ..sama_core.released_files import (
    DISTILLED_CFG,
    DISTILLED_STEPS,
    SAMA_14B,
    SAMA_SHAPES,
    release_of,
)
from .inputs import (
    CFG,
    NO_BASE,
    STEPS,
    ClipInfoType,
    base_model_input,
    check_listed,
    report_ui,
)

FOLDERS = ("diffusion_models", "unet_gguf")
AUTOMATIC, THIS_COMPUTER = "automatic", "this computer"


def _model_files() -> list[str]:
    """Models as ComfyUI lists them, and GGUF files where a loader for them is installed."""
    folders = [folder for folder in FOLDERS if folder in folder_paths.folder_names_and_paths]
    return list(
        dict.fromkeys(name for folder in folders for name in folder_paths.get_filename_list(folder))
    )


def _model_path(name: str) -> str | None:
    folders = [folder for folder in FOLDERS if folder in folder_paths.folder_names_and_paths]
    return next(
        (path for folder in folders if (path := folder_paths.get_full_path(folder, name))), None
    )


def _model_inputs(files: list[str]) -> list[io.Input]:
    """The file to plan for, and the form of its weights."""
    return [
        io.Combo.Input(
            "model_name",
            options=files,
            tooltip="The SAMA file to plan for: safetensors, or GGUF where a loader for "
            "it is installed. Only its header is read.",
        ),
        io.Combo.Input(
            "weight_dtype",
            options=list(WEIGHT_DTYPES),
            default=WEIGHT_DTYPES[0],
            tooltip="Type in which the weights are stored; use the same as in Load SAMA "
            "Model. Default keeps the file's type.",
        ),
    ]


def _size_inputs() -> list[io.Input]:
    """Size of the clip, where none is connected, see `_ask_clip`."""
    return [
        io.Int.Input(
            "frames",
            default=81,
            min=1,
            max=MAX_FRAMES,
            tooltip="Frames to edit at once; padded to 4k+1. Default 81, as SAMA was "
            "released. Not used with images, clip_info or video.",
        ),
        io.Int.Input(
            "width",
            default=832,
            min=WAN_21.side_multiple,
            max=MAX_SIDE,
            tooltip="Width of the model's frames in pixels. Default 832. A side that is "
            "not a multiple of 16 is fitted as in SAMA Source Video.",
        ),
        io.Int.Input(
            "height",
            default=480,
            min=WAN_21.side_multiple,
            max=MAX_SIDE,
            tooltip="Height of the model's frames in pixels. Default 480.",
        ),
    ]


def _clip_inputs() -> list[io.Input]:
    """A clip of SAMA Source Video."""
    return [
        io.Image.Input(
            "images",
            optional=True,
            tooltip="Fitted frames, instead of frames, width and height.",
        ),
        ClipInfoType.Input(
            "clip_info",
            optional=True,
            tooltip="From SAMA Source Video, instead of frames, width and height.",
        ),
    ]


def _time_inputs() -> list[io.Input]:
    """Optional and last, so that graphs saved by earlier versions load and run as before."""
    return [
        io.Float.Input(
            "minutes",
            default=0.0,
            min=0.0,
            max=100_000.0,
            step=0.5,
            optional=True,
            tooltip="The time you have, in minutes. Above 0 the node shows the best edit that is "
            "finished in time, and two quicker ones, each with a button that copies its settings "
            "to the edit node. Default 0: off.",
        ),
        io.Boolean.Input(
            "step_lora",
            default=True,
            optional=True,
            advanced=True,
            tooltip="With minutes: whether a step-distilled LoRA may be planned with. It saves "
            "most of the time; how it edits with SAMA is untested. Default on.",
        ),
        io.Combo.Input(
            "card",
            options=[THIS_COMPUTER, *list_cards()],
            default=THIS_COMPUTER,
            optional=True,
            advanced=True,
            tooltip="Plan for another graphics card in this computer, all of its memory free. "
            "Default this computer, as it is now.",
        ),
        io.Video.Input(
            "video",
            optional=True,
            tooltip="From Load Video, instead of frames, width and height: all of its frames, in "
            "the segments of SAMA Edit Whole Video.",
        ),
    ]


class Plan(io.ComfyNode):
    """Model file + size of a clip → what it needs, how long it takes, and what would fit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        files = _model_files()
        return io.Schema(
            node_id="SAMAPlan",
            display_name="SAMA Plan",
            category="SAMA/load",
            description="Computes from a model file's header and a clip's size what an edit will "
            "need: tokens, work, memory on the card and in RAM, time, and the nearest setting "
            "that fits; and what is finished in the minutes that you have. No weight is read.",
            search_aliases=[
                "vram",
                "memory",
                "how long",
                "estimate",
                "out of memory",
                "oom",
                "minutes",
                "faster",
            ],
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                *_model_inputs(files),
                *_size_inputs(),
                io.Int.Input(
                    "steps",
                    **STEPS,
                    tooltip=f"Sampling steps. Default 0, the model's own: {SAMA_14B.steps} for "
                    f"SAMA-14B, {SAMA_SHAPES.steps} for SAMA-Shapes. For a step-distilled LoRA, "
                    f"which a plan does not see, set {DISTILLED_STEPS}.",
                ),
                io.Float.Input(
                    "cfg",
                    **CFG,
                    tooltip=f"Guidance. Default -1, the model's own: {SAMA_14B.cfg:g} for "
                    f"SAMA-14B, {SAMA_SHAPES.cfg:g} for SAMA-Shapes. For a step-distilled LoRA, "
                    f"which a plan does not see, set {DISTILLED_CFG:g}. At 1 each step runs the "
                    "model once, not twice.",
                ),
                base_model_input(files),
                io.Combo.Input(
                    "text_encoder_name",
                    optional=True,
                    advanced=True,
                    default=AUTOMATIC,
                    options=[AUTOMATIC, *folder_paths.get_filename_list("text_encoders")],
                    tooltip="The text encoder, which stays in RAM. Default automatic: the size of "
                    "the released one in fp8.",
                ),
                *_clip_inputs(),
                *_time_inputs(),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="The plan as text; the node shows it, too."
                ),
                io.Boolean.Output(
                    display_name="fits", tooltip="Whether it fits into the memory that is free."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name) -> str | bool:
        return bool(model_name and _model_path(model_name)) or check_listed(FOLDERS[0], model_name)

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> float:
        return float("nan")  # equal to nothing: free memory changes between runs

    @classmethod
    def execute(
        cls,
        model_name,
        weight_dtype,
        frames,
        width,
        height,
        steps,
        cfg,
        base_model=NO_BASE,
        text_encoder_name=AUTOMATIC,
        images=None,
        clip_info=None,
        minutes=0.0,
        step_lora=True,
        card=THIS_COMPUTER,
        video=None,
    ) -> io.NodeOutput:
        path = _model_path(model_name) or folder_paths.get_full_path_or_raise(
            FOLDERS[0], model_name
        )
        config, weights, area = read_model(
            path, None if base_model == NO_BASE else _model_path(base_model)
        )
        steps, cfg, _ = release_of(config.text_dim).sampling.fill(steps, cfg)
        sizes = encoder_sizes(config)
        if text_encoder_name != AUTOMATIC:
            encoder = folder_paths.get_full_path_or_raise("text_encoders", text_encoder_name)
            sizes["text_encoder"] = Path(encoder).stat().st_size
        typed = (frames, width, height)
        asked = _ask_clip(typed, images, clip_info, video, area or DEFAULT_AREA, config.lattice)
        request = Request(
            asked.clip, config, weights, weight_dtype, steps, cfg, remarks=asked.remarks, **sizes
        )
        machine = named_machine(None if card == THIS_COMPUTER else card)
        found = make_plan(request, machine, calibrations())
        text, in_node, choices = report(found), verdict_first(report(found)), []
        if minutes:
            wish = Wish.of(request, asked.frames, asked.size, step_lora)
            timed = plan_minutes(wish, minutes, machine, calibrations())
            text = f"{report_minutes(timed)}\n{text}"
            in_node = f"{report_minutes(timed, listed=False)}\n{in_node}"
            choices = list_choices(timed, _all_frames(asked, clip_info, video))
        ui = {**report_ui(text, in_node), "sama_choices": choices}
        return io.NodeOutput(text, found.fits, ui=ui)


def _all_frames(asked: AskedClip, clip_info, video) -> int:
    """What `frames` of the edit is to be for all that is asked: 0, where it takes what is there."""
    if clip_info is not None:
        return clip_info.clip_range.frames
    return asked.frames if video is None else 0


def _ask_clip(
    typed: tuple[int, int, int], images, clip_info, video, area: int, lattice: Lattice
) -> AskedClip:
    """A connected clip before the frames, width and height that were `typed`.

    A video is fitted to `area`, as SAMA Edit Whole Video would.
    """
    if images is not None:
        return ask_at_once(images.shape[0], (images.shape[2], images.shape[1]), lattice=lattice)
    if clip_info is not None:
        size = clip_info.fitted_width, clip_info.fitted_height
        asked = ask_at_once(clip_info.padded_count, size, lattice=lattice)
        return replace(asked, size=(clip_info.width, clip_info.height))
    if video is not None:
        frames, width, height = video_size(video)
        return ask_in_segments(frames or typed[0], (width, height), area, lattice)
    return ask_at_once(typed[0], typed[1:], lattice=lattice)
