"""Anchor frames: a still draft of the edit, at a small part of its cost."""

from comfy_api.latest import io, ui

from ..sama_core.comfyui.edit import EditSettings, anchor_frames, contact_sheet, edit_anchors
from .inputs import (
    check_instruction,
    instruction_input,
    model_inputs,
    sampling_inputs,
    say_during_run,
    tag_input,
    tiling_input,
)


class AnchorPreview(io.ComfyNode):
    """A few frames, each edited as a one-frame clip → a sheet of source above edit."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAAnchorPreview",
            display_name="SAMA Anchor Preview",
            category="SAMA/anchors",
            description="Edits only the anchor frames and shows source above edit in the node. "
            "Try instructions and seeds here before the full edit; one frame costs a small "
            "fraction of a clip.",
            search_aliases=["draft", "still preview", "seed test", "contact sheet"],
            is_output_node=True,
            inputs=[
                *model_inputs(),
                io.Image.Input(
                    "frames",
                    tooltip="Frames from SAMA Source Video, any number; its padding copies of "
                    "the last frame count too.",
                ),
                instruction_input(),
                io.Int.Input(
                    "anchors",
                    default=1,
                    min=1,
                    max=16,
                    tooltip="How many frames to edit, spread evenly over the clip. Default 1.",
                ),
                io.Int.Input(
                    "first_frame",
                    default=0,
                    min=0,
                    max=100_000,
                    tooltip="The first anchor, counted from 0. Default 0.",
                ),
                *sampling_inputs(),
                tag_input(),
                tiling_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output(
                    display_name="sheet", tooltip="Source above edit, one column per anchor."
                ),
                io.Image.Output(display_name="anchors", tooltip="The edited anchor frames alone."),
            ],
        )

    @classmethod
    def validate_inputs(cls, instruction) -> str | bool:
        return check_instruction(instruction)

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        frames,
        instruction,
        anchors,
        first_frame,
        seed,
        steps,
        cfg,
        shift,
        sampler_name,
        edit_tag,
        tiling,
    ) -> io.NodeOutput:
        settings = EditSettings(
            instruction, seed, steps, cfg, shift, sampler_name, edit_tag, tiling
        )
        indices = anchor_frames(len(frames), anchors, first_frame)
        with say_during_run(cls.hidden.unique_id) as say:
            edited = edit_anchors(model, clip, vae, frames, indices, settings, say)
        sheet = contact_sheet(frames[indices], edited)
        return io.NodeOutput(sheet, edited, ui=ui.PreviewImage(sheet, cls=cls))
