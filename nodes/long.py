"""Long clips: an edit in overlapping segments that continues where it was interrupted."""

from comfy_api.latest import io

from ..sama_core.comfyui.edit import EditSettings
from ..sama_core.comfyui.long_edit import (
    SEGMENT_SEEDS,
    STORE_GIB,
    LongSettings,
    edit_long,
    segment_store,
)
from ..sama_core.comfyui.saving import check_saving_of
from ..sama_core.comfyui.whole_video import jobs_folder
from ..sama_core.long.store import show_or_clear
from ..sama_core.long.whole_job import show_or_clear_jobs
from .inputs import (
    check_instruction,
    instruction_input,
    mask_input,
    model_inputs,
    report_ui,
    sampling_inputs,
    say_during_run,
    segment_inputs,
    tag_input,
    tiling_input,
)

CATEGORY = "SAMA/edit"


class LongEdit(io.ComfyNode):
    """Model, encoder, VAE, frames of any length, instruction → edited frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMALongEdit",
            display_name="SAMA Long Edit",
            category=CATEGORY,
            description="Edits a clip of any length in overlapping segments, blended as latents, "
            "with colours held to the source. Finished segments are kept on disk: after a crash "
            "or an interruption the same edit continues where it stopped.",
            search_aliases=["long video", "segments", "resume", "chunked edit", "sliding window"],
            inputs=[
                *model_inputs(),
                io.Image.Input(
                    "frames",
                    tooltip="Fitted frames from SAMA Source Video: 4k+1 of them, sides are "
                    "multiples of 16; set its frames to 0 for the whole clip.",
                ),
                instruction_input(),
                *sampling_inputs(),
                *segment_inputs(),
                io.Boolean.Input(
                    "keep_segments",
                    default=True,
                    tooltip="Keep finished segments on disk and use those of an earlier run. "
                    "Default on.",
                ),
                tag_input(),
                tiling_input(),
                mask_input(),
                io.Combo.Input(
                    "segment_seeds",
                    options=list(SEGMENT_SEEDS),
                    default=SEGMENT_SEEDS[0],
                    optional=True,
                    advanced=True,
                    tooltip="Where the noise of the later segments comes from. Independent: no "
                    "other seed has the same noise. Consecutive: as in version 0.1.0, to "
                    "repeat an edit that was made with it.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            outputs=[
                io.Image.Output(
                    display_name="frames", tooltip="The edited frames, as many as the input."
                )
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
        seed,
        steps,
        cfg,
        shift,
        sampler_name,
        segment_frames,
        overlap_frames,
        anchor_colours,
        keep_segments,
        edit_tag,
        tiling,
        mask=None,
        segment_seeds=SEGMENT_SEEDS[0],
    ) -> io.NodeOutput:
        check_saving_of(cls.hidden.prompt, cls.hidden.unique_id)
        settings = EditSettings(
            instruction, seed, steps, cfg, shift, sampler_name, edit_tag, tiling
        )
        cut = LongSettings(segment_frames, overlap_frames, anchor_colours, segment_seeds)
        store = segment_store() if keep_segments else None
        with say_during_run(cls.hidden.unique_id) as say:
            edited = edit_long(model, clip, vae, frames, settings, cut, store, say, mask)
        return io.NodeOutput(edited)


class SegmentStore(io.ComfyNode):
    """What the store of segments holds → text; asked for twice, it is emptied."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMASegmentStore",
            display_name="SAMA Segment Store",
            category=CATEGORY,
            description="Shows what SAMA Long Edit and SAMA Edit Whole Video keep on disk, and "
            "clears it. Segments of SAMA Long Edit that were unused for longest are removed by "
            f"themselves over {STORE_GIB} GiB; whole videos that are not finished stay.",
            search_aliases=["clear cache", "resume", "disk space"],
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Combo.Input(
                    "action",
                    options=["show", "clear"],
                    default="show",
                    tooltip="Show what is kept, or remove all of it. Default show.",
                ),
                io.String.Input(
                    "confirm",
                    default="",
                    optional=True,
                    tooltip="The four characters that the report names, to remove what it lists. "
                    "Default empty: nothing is removed.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="How many segments, their size, and where."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> float:
        return float("nan")  # equal to nothing: the store changes between runs

    @classmethod
    def execute(cls, action, confirm="") -> io.NodeOutput:
        clear = action == "clear"
        jobs, cleared = show_or_clear_jobs(jobs_folder(), clear, confirm)
        segments = show_or_clear(segment_store(), clear and not cleared, confirm)
        report = "\n\n".join(filter(None, (segments, jobs)))
        return io.NodeOutput(report, ui=report_ui(report))
