"""A whole video: VIDEO in, VIDEO out, in memory that does not grow with its length."""

import json
import uuid

from comfy_api.latest import io

from ..sama_core.clip import ClipRange, Fit
from ..sama_core.comfyui.edit import EditSettings
from ..sama_core.comfyui.long_edit import LongSettings
from ..sama_core.comfyui.model import area_of_model
from ..sama_core.comfyui.saving import check_saving_behind
from ..sama_core.comfyui.whole_result import count_losses, remember
from ..sama_core.comfyui.whole_share import PIECES, SEGMENTS, make_share, open_share
from ..sama_core.comfyui.whole_video import WholeEdit, WholeSettings, edit_whole
from .inputs import (
    area_input,
    check_instruction,
    fit_input,
    instruction_input,
    mask_input,
    model_inputs,
    range_inputs,
    sampling_inputs,
    say_during_run,
    segment_inputs,
    tag_input,
    tiling_input,
)

CATEGORY = "SAMA/edit"


def _result_inputs() -> list[io.Input]:
    """How the result is encoded, and what stays on disk."""
    return [
        io.Float.Input(
            "crf",
            default=17.0,
            min=0.0,
            max=40.0,
            step=0.5,
            advanced=True,
            tooltip="Quality of the H.264 result: lower is better and larger. Default 17, which "
            "looks like the edited frames. Save Video copies it where its format and codec are "
            "auto, and encodes it again where they are not: set 8 for that.",
        ),
        io.Boolean.Input(
            "keep_segments",
            default=False,
            advanced=True,
            tooltip="Keep the sampled segments on disk after the result is saved. Default off: "
            "they are kept only until then, so that a broken-off edit goes on.",
        ),
    ]


def _edit_inputs() -> list[io.Input]:
    """Everything that decides an edit."""
    return [
        *model_inputs(),
        io.Video.Input("video", tooltip="The video, from Load Video."),
        instruction_input(),
        *sampling_inputs(),
        *segment_inputs(),
        *range_inputs(0, "Default 0: all."),
        area_input(),
        fit_input(),
        tag_input(),
        tiling_input(),
        *_result_inputs(),
        mask_input(),
        io.Video.Input(
            "mask_video",
            optional=True,
            tooltip="A video that is white where the edit may change something, with as "
            "many frames as the video. Nearly black counts as black. For long videos, "
            "where a MASK of all frames does not fit into memory.",
        ),
    ]


class EditWholeVideo(io.ComfyNode):
    """Model, encoder, VAE, VIDEO, instruction → edited VIDEO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAEditWholeVideo",
            display_name="SAMA Edit Whole Video",
            category=CATEGORY,
            description="Edits a video of any length, from Load Video to Save Video: in segments, "
            "with memory that does not grow with the length, at the video's own size, times and "
            "sound. A run that was broken off anywhere goes on there when it is queued again.",
            search_aliases=["long video", "video to video", "any length", "resume", "hour", "v2v"],
            inputs=_edit_inputs(),
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="The edited video, for Save Video: H.264 with the video's sound.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return check_instruction(instruction)

    @classmethod
    def fingerprint_inputs(cls, **given) -> int:
        return count_losses(cls.hidden.unique_id, given)

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        video,
        instruction,
        seed,
        steps,
        cfg,
        shift,
        sampler_name,
        segment_frames,
        overlap_frames,
        anchor_colours,
        frames,
        start,
        stride,
        area,
        edit_tag,
        tiling,
        crf,
        keep_segments,
        fit=str(Fit.CROP),
        mask=None,
        mask_video=None,
    ) -> io.NodeOutput:
        prompt, node_id = cls.hidden.prompt, cls.hidden.unique_id
        settings = EditSettings(
            instruction, seed, steps, cfg, shift, sampler_name, edit_tag, tiling
        )
        cut = LongSettings(segment_frames, overlap_frames, anchor_colours)
        part = ClipRange(start, frames, stride)
        whole = WholeSettings(part, area or area_of_model(model), Fit(fit), crf, keep_segments)
        with say_during_run(node_id) as say:
            edited = edit_whole(
                model,
                clip,
                vae,
                video,
                settings,
                cut,
                whole,
                say,
                mask,
                mask_video,
                lambda info: check_saving_behind(prompt, node_id, info),
            )
        remember(node_id, edited)
        return io.NodeOutput(edited)


class VideoShare(io.ComfyNode):
    """The inputs of SAMA Edit Whole Video → some of its segments or pieces, on disk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAVideoShare",
            display_name="SAMA Video Share",
            category=CATEGORY,
            description="For programs that spread one video over several ComfyUIs: does a part of "
            "what SAMA Edit Whole Video does, and keeps it in the folder that they share. The same "
            "inputs on SAMA Edit Whole Video then give the result at once.",
            search_aliases=["distribute", "several machines", "segments", "cluster"],
            inputs=[
                *_edit_inputs(),
                io.Combo.Input(
                    "part",
                    options=[SEGMENTS, PIECES],
                    default=SEGMENTS,
                    tooltip="segments are sampled; pieces of the result are decoded, once all "
                    "segments are there. Default segments.",
                ),
                io.Int.Input(
                    "first",
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="Number of the first segment or piece, counted from 0. Default 0.",
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="How many segments or pieces. Default 0: none; it only says how many "
                    "there are.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="JSON: key of the edit, numbers of segments and pieces, how many "
                    "segments are kept, and the id of the folder.",
                )
            ],
            is_output_node=True,
            is_dev_only=True,
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return check_instruction(instruction)

    @classmethod
    def fingerprint_inputs(cls, **given) -> str:
        return uuid.uuid4().hex  # what is kept may have changed

    @classmethod
    def execute(
        cls, model, clip, vae, video, part, first, count, mask=None, mask_video=None, **given
    ) -> io.NodeOutput:
        edit = "instruction seed steps cfg shift sampler_name edit_tag tiling"
        settings = EditSettings(*(given[name] for name in edit.split()))
        long = "segment_frames overlap_frames anchor_colours"
        cut = LongSettings(*(given[name] for name in long.split()))
        frames = ClipRange(given["start"], given["frames"], given["stride"])
        area, fit = given["area"] or area_of_model(model), Fit(given.get("fit", Fit.CROP))
        with say_during_run(cls.hidden.unique_id) as say:
            whole = WholeSettings(frames, area, fit, given["crf"])
            shared = WholeEdit(model, clip, vae, settings, cut, whole, say)
            open_share(shared, video, mask, mask_video)
            report = json.dumps(make_share(shared, part, first, count))
        return io.NodeOutput(report, ui={"text": [report]})
