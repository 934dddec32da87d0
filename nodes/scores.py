"""Scores: what an edit leaked, whether it flickers, whether it moves as its source."""

from comfy_api.latest import io, ui

from ..sama_core.region import fit_mask, require_region
from ..sama_core.scores import draw, measure, report
from .inputs import report_ui


class Scores(io.ComfyNode):
    """Source, edit and perhaps a mask → numbers, a table and a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAScores",
            display_name="SAMA Scores",
            category="SAMA/scores",
            description="Measures an edit: how much of its change lies in the region, what "
            "flicker it adds, and how well it moves with the source. Use it to compare seeds and "
            "settings.",
            search_aliases=[
                "metrics",
                "quality",
                "psnr",
                "temporal consistency",
                "compare",
                "evaluate",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input("source", tooltip="The frames that were edited."),
                io.Image.Input("edited", tooltip="The edit, as many frames of the same size."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The region that was to change, white. Without it exclusivity is not "
                    "measured.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="The scores as a short table in words."
                ),
                io.Image.Output(display_name="plot", tooltip="The scores per frame."),
                io.Float.Output(
                    display_name="exclusivity",
                    tooltip="Share of the change that lies in the region, 0 to 1; 1 is best, nan "
                    "without a mask.",
                ),
                io.Float.Output(
                    display_name="flicker",
                    tooltip="Grey levels of 255 that the edit adds from frame to frame; 0 is "
                    "best, nan for one frame.",
                ),
                io.Float.Output(
                    display_name="motion_follow",
                    tooltip="Agreement of the motion with the source's, 0 to 1; 1 is best, nan "
                    "for one frame.",
                ),
            ],
        )

    @classmethod
    def execute(cls, source, edited, mask=None) -> io.NodeOutput:
        if mask is not None:
            mask = require_region(fit_mask(mask, *source.shape[:3]))
        scores = measure(source, edited, mask)
        text, plot = report(scores), draw(scores)
        exclusive = scores.exclusivity.share if scores.exclusivity else float("nan")
        shown = {**ui.PreviewImage(plot, cls=cls).as_dict(), **report_ui(text)}
        return io.NodeOutput(
            text, plot, exclusive, scores.flicker.levels, scores.motion.follow, ui=shown
        )
