"""Planning: what an edit will need, before a weight is read."""

from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..sama_core.comfyui.loaders import WEIGHT_DTYPES
from ..sama_core.comfyui.plan import calibrations, this_machine
from ..sama_core.geometry import WAN_21
from ..sama_core.plan.planning import make_plan
from ..sama_core.plan.read_model import read_model
from ..sama_core.plan.request import MAX_FRAMES, MAX_SIDE, Request, encoder_sizes, fitted_clip
from ..sama_core.plan.summary import report, verdict_first
from ..sama_core.released_files import release_of
from .inputs import (
    CFG,
    CFG_OF_MODELS,
    NO_BASE,
    STEPS,
    STEPS_OF_MODELS,
    ClipInfoType,
    base_model_input,
    check_listed,
    report_ui,
)

FOLDERS = ("diffusion_models", "unet_gguf")
AUTOMATIC = "automatic"


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
    """Size of the clip, see `_clip_size`."""
    return [
        io.Int.Input(
            "frames",
            default=81,
            min=1,
            max=MAX_FRAMES,
            tooltip="Frames to edit at once; padded to 4k+1. Default 81, as SAMA was "
            "released. Not used with images or clip_info.",
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
            "that fits. No weight is read.",
            search_aliases=["vram", "memory", "how long", "estimate", "out of memory", "oom"],
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                *_model_inputs(files),
                *_size_inputs(),
                io.Int.Input(
                    "steps",
                    **STEPS,
                    tooltip=f"Sampling steps. {STEPS_OF_MODELS}",
                ),
                io.Float.Input(
                    "cfg",
                    **CFG,
                    tooltip=f"Guidance. {CFG_OF_MODELS}",
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
    ) -> io.NodeOutput:
        path = _model_path(model_name) or folder_paths.get_full_path_or_raise(
            FOLDERS[0], model_name
        )
        config, weights, _ = read_model(
            path, None if base_model == NO_BASE else _model_path(base_model)
        )
        steps, cfg, _ = release_of(config.text_dim).sampling.fill(steps, cfg)
        sizes = encoder_sizes(config)
        if text_encoder_name != AUTOMATIC:
            encoder = folder_paths.get_full_path_or_raise("text_encoders", text_encoder_name)
            sizes["text_encoder"] = Path(encoder).stat().st_size
        size = _clip_size(frames, width, height, images, clip_info)
        clip, remarks = fitted_clip(*size, lattice=config.lattice)
        request = Request(clip, config, weights, weight_dtype, steps, cfg, remarks=remarks, **sizes)
        found = make_plan(request, this_machine(), calibrations())
        text = report(found)
        return io.NodeOutput(text, found.fits, ui=report_ui(text, verdict_first(text)))


def _clip_size(frames: int, width: int, height: int, images, clip_info) -> tuple[int, int, int]:
    """Frames, width and height: a connected clip's before those that were typed."""
    if images is not None:
        return images.shape[0], images.shape[2], images.shape[1]
    if clip_info is not None:
        return clip_info.padded_count, clip_info.fitted_width, clip_info.fitted_height
    return frames, width, height
