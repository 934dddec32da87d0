"""Comparing: an edit and its source in one synced player, and as one film."""

from comfy_api.latest import io

from ..sama_core.clip.comparison import Layout
from ..sama_core.comfyui.compare import (
    comparison_video,
    count_lost_films,
    films_for_player,
    pair,
    progress,
)

CLIP_TYPES = [io.Video, io.Image]


class Compare(io.ComfyNode):
    """Edit and source → a player in the node, and a film of both.

    What does not fit is compared all the same, and said in the node:

    lengths  the part that both have
    rates    by time; equal ones, 23.976 and 24 too, frame by frame
    sizes    the edit is scaled to the source; odd sides become even
    4K       the player shows it with 1920 pixels on the long side, the film at full size
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMACompare",
            display_name="SAMA Compare",
            category="SAMA/video",
            description="Plays an edit and its source in step, in the node: wipe, side by side, "
            "difference and flip, with frame steps, loop, speed and either sound. Also gives the "
            "comparison as a video.",
            search_aliases=[
                "video comparer",
                "before after",
                "before and after",
                "wipe",
                "side by side",
                "difference",
                "compare videos",
            ],
            is_output_node=True,
            inputs=[
                io.MultiType.Input(
                    "edit",
                    CLIP_TYPES,
                    tooltip="The edited clip: a VIDEO, best the one of SAMA Edit Whole Video or "
                    "SAMA Finish Video, or IMAGE frames.",
                ),
                io.MultiType.Input(
                    "source",
                    CLIP_TYPES,
                    optional=True,
                    tooltip="The clip before the edit, VIDEO or IMAGE. Not needed where edit comes "
                    "from SAMA Edit Whole Video or SAMA Finish Video, which remember it.",
                ),
                io.Combo.Input(
                    "layout",
                    options=list(map(str, Layout)),
                    default=str(Layout.SIDE_BY_SIDE),
                    advanced=True,
                    tooltip="How the output video shows both clips; the player has buttons of its "
                    "own. A moving wipe goes across and back once. Difference is a heat map: "
                    "black where nothing changed, white from 64 of 255 levels on. "
                    "Default side by side.",
                ),
                io.Float.Input(
                    "position",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Where the line of the wipe stands in the output video, as a part of "
                    "the width; left of it is the source. Default 0.5, the middle.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Frames per second of IMAGE frames; a video has its own. Default 0: "
                    "the rate of the other clip, or 24 where both are frames.",
                ),
            ],
            outputs=[
                io.Video.Output(
                    display_name="comparison",
                    tooltip="Both clips in one video, as layout says, with the edit's sound or "
                    "else the source's. To Save Video.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs) -> int:
        """Runs again where what the player showed is gone."""
        return count_lost_films()

    @classmethod
    def execute(cls, edit, layout, position, fps, source=None) -> io.NodeOutput:
        pairs = pair(edit, source, fps)
        shown = films_for_player(pairs, progress())
        return io.NodeOutput(
            comparison_video(pairs, layout, position), ui={"sama_compare": [shown]}
        )
