"""A folder of clips in, one after the other: any graph runs over all of them."""

import comfy.utils
from comfy_api.latest import InputImpl, io

from ..sama_core.comfyui.clip_folder import (
    WHOLE_INPUT,
    describe,
    find_clips,
    fingerprint,
    list_folders,
    sort_out,
    take_part,
)
from ..sama_core.errors import SamaError
from .inputs import report_ui


class ClipFolder(io.ComfyNode):
    """A folder of the input folder → lists of VIDEOs and of names for their results."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAClipFolder",
            display_name="SAMA Clip Folder",
            category="SAMA/video",
            description="The clips of a folder, one after the other: the nodes behind it run once "
            "for each clip. The names make Save Video call each result after its clip.",
            search_aliases=["load videos from folder", "batch", "directory", "video list", "loop"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=list_folders(),
                    default=WHOLE_INPUT,
                    tooltip="A folder inside ComfyUI's input folder; the dot is the input folder "
                    "itself. Press R to see new folders. Default the input folder.",
                ),
                io.Int.Input(
                    "start",
                    default=0,
                    min=0,
                    max=1_000_000,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="The first clip, counted from 0 in the order of the names. With count "
                    "1 and its control on increment, every queued run takes the next clip. "
                    "Default 0.",
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=1_000_000,
                    tooltip="How many clips. All results of a run are held in memory together, so "
                    "take a large folder in parts. Default 0: all of the rest.",
                ),
                io.Boolean.Input(
                    "subfolders",
                    default=False,
                    tooltip="Take the clips of all folders below it, too; their names begin with "
                    "the folder. Default off.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="videos",
                    is_output_list=True,
                    tooltip="The clips, in natural order: clip2 before clip10.",
                ),
                io.String.Output(
                    display_name="names",
                    is_output_list=True,
                    tooltip="The name of each clip without its ending, for filename_prefix of Save "
                    "Video.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="Which clips these are, and what was left out; the node shows it, too.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder=None, subfolders=None) -> bool | str:
        """A folder without clips is told before anything runs.

        Linked inputs arrive as None, and are checked when they are known.
        """
        if folder is None or subfolders is None:
            return True
        try:
            find_clips(folder, subfolders)
        except SamaError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder=None, start=None, count=None, subfolders=None) -> str:
        """So that a new or changed clip is seen when the graph is queued again."""
        try:
            listing = find_clips(folder or WHOLE_INPUT, bool(subfolders))
            return fingerprint(take_part(listing, start or 0, count or 0))
        except SamaError as error:
            return str(error)

    @classmethod
    def execute(cls, folder, start, count, subfolders) -> io.NodeOutput:
        part = take_part(find_clips(folder, subfolders), start, count)
        bar = comfy.utils.ProgressBar(len(part.clips))
        good, bad = sort_out(part, bar.update_absolute)
        report = describe(part, good, bad)
        videos = [InputImpl.VideoFromFile(str(clip.path)) for clip in good]
        return io.NodeOutput(videos, [clip.name for clip in good], report, ui=report_ui(report))
