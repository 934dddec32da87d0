"""Drafts: which seed and which words, before the full edit is paid for."""

import torch
from comfy_api.latest import io

from ..sama_core.comfyui.draft_board import DraftBoard
from ..sama_core.comfyui.drafts import draw_drafts
from ..sama_core.comfyui.edit import EditSettings
from ..sama_core.comfyui.kept_drafts import restore_files
from ..sama_core.drafts import ask, draw_sheet
from ..sama_core.drafts.asked import MOST_DRAFTS, MOST_SEEDS
from ..sama_core.errors import InputError
from .inputs import model_inputs, sampling_inputs, say_during_run, tag_input, tiling_input


def _list_inputs() -> list[io.Input]:
    """What is drafted: instructions x seeds x frames."""
    return [
        io.String.Input(
            "instructions",
            multiline=True,
            default="",
            placeholder="replace the seal with a crab\nreplace the seal with a red crab",
            tooltip="What to change, in plain words: one instruction a line. Empty lines are left "
            "out, and lines that are given twice count once. Default empty.",
        ),
        io.String.Input(
            "seeds",
            default="1-4",
            tooltip="Seeds to try: numbers and ranges, such as 1, 5, 7-9. Default 1-4; at most "
            f"{MOST_SEEDS}. They stay as they are between runs, so that a picked draft keeps its "
            "seed.",
        ),
        io.String.Input(
            "anchor_frames",
            default="0",
            tooltip="Frames to draft, counted from 0: numbers and ranges, such as 0, 8, 16. "
            "Default 0, where the full edit gives nearly what a draft shows; drafts of later "
            "frames show whether the words are understood, not the details. At most "
            f"{MOST_DRAFTS} drafts in all.",
        ),
    ]


class Drafts(io.ComfyNode):
    """Model, encoder, VAE, frames, instructions x seeds → a sheet of drafts, and the picked one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMADrafts",
            display_name="SAMA Drafts",
            category="SAMA/anchors",
            description="Edits single frames with many seeds and instructions, and shows them in "
            "the node as they are drawn. Click one: its seed and instruction are the outputs, for "
            "the full edit. What is drawn once is not drawn again while ComfyUI runs.",
            search_aliases=[
                "draft",
                "seed picker",
                "try seeds",
                "choose seed",
                "contact sheet",
                "prompt grid",
                "xy plot",
            ],
            is_output_node=True,
            inputs=[
                *model_inputs(),
                io.Image.Input(
                    "frames",
                    tooltip="The clip that the full edit gets: frames from SAMA Source Video. Only "
                    "the anchor frames are edited, but each starts from the noise that the full "
                    "edit of this clip has there.",
                ),
                *_list_inputs(),
                *(given for given in sampling_inputs() if given.id != "seed"),
                tag_input(),
                tiling_input(),
                io.String.Input(
                    "pick",
                    default="",
                    optional=True,
                    tooltip="The chosen draft as seed and instruction, such as 7: make it red. A "
                    "click on a draft writes it. Default empty: the first draft.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            outputs=[
                io.Image.Output(
                    display_name="sheet",
                    tooltip="All drafts in one labelled picture: a band for each instruction and "
                    "frame, the source first; the pick is framed.",
                ),
                io.Image.Output(
                    display_name="drafts",
                    tooltip="The drafts alone, by instruction, then frame, then seed.",
                ),
                io.String.Output(
                    display_name="instruction",
                    tooltip="Of the picked draft; connect it to SAMA Edit.",
                ),
                io.Int.Output(
                    display_name="seed", tooltip="Of the picked draft; connect it to SAMA Edit."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, instructions, seeds, anchor_frames) -> str | bool:
        try:  # None comes over a link: then it is checked when the node runs
            ask(
                "x" if instructions is None else instructions,
                "1" if seeds is None else seeds,
                "0" if anchor_frames is None else anchor_frames,
            )
        except InputError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> int:
        """Always the same: a run that changes nothing gets the sheet's lost pictures back."""
        restore_files()
        return 0

    @classmethod
    def execute(
        cls,
        model,
        clip,
        vae,
        frames,
        instructions,
        seeds,
        anchor_frames,
        steps,
        cfg,
        shift,
        sampler_name,
        edit_tag,
        tiling,
        pick="",
    ) -> io.NodeOutput:
        asked = ask(instructions, seeds, anchor_frames, len(frames))
        picked, remark = asked.find(pick)
        settings = EditSettings("", 0, steps, cfg, shift, sampler_name, edit_tag, tiling)
        board = DraftBoard(cls.hidden.unique_id, _workflow_id(cls.hidden), asked, picked, remark)
        with say_during_run(cls.hidden.unique_id) as say:
            sources, drafts = draw_drafts(model, clip, vae, frames, asked, settings, board, say)
        sheet = draw_sheet(asked, sources, drafts, picked)
        pictures = torch.stack(drafts).float() / 255
        return io.NodeOutput(
            sheet, pictures, picked.instruction, picked.seed, ui={"sama_drafts": [board.finish()]}
        )


def _workflow_id(hidden) -> str | None:
    """The id that the frontend gave the workflow; other clients send none."""
    sent = hidden.extra_pnginfo
    workflow = sent.get("workflow") if isinstance(sent, dict) else None
    return workflow.get("id") if isinstance(workflow, dict) else None
