"""Regions: which part of a clip an edit may change, or did change, and the way back in pixels."""

import logging

from comfy_api.latest import io

from ..sama_core.region import changed_mask, fit_mask, paste_back, require_pair, require_region
from ..sama_core.region.paste import DEFAULT_THRESHOLD
from .inputs import ClipInfoType

CATEGORY = "SAMA/region"
_NOTHING_CHANGED = "SAMA: the mask is black everywhere, so the result is the source."
_NO_CHANGE = (
    "SAMA: the edit differs from the source nowhere by more than the VAE's noise: the mask is "
    "black."
)

log = logging.getLogger(__name__)


def _soft_inputs(grow: int, feather: int) -> list[io.Input]:
    """Inputs for the edge of a mask, with these defaults in pixels."""
    return [
        io.Int.Input(
            "grow",
            default=grow,
            min=0,
            max=512,
            tooltip=f"Pixels by which the white part grows on each side. Default {grow}. Give "
            "room for shadows and outlines.",
        ),
        io.Int.Input(
            "feather",
            default=feather,
            min=0,
            max=512,
            tooltip=f"Pixels of soft edge around the white part. Default {feather}. Beyond them "
            "nothing changes.",
        ),
    ]


class RegionMask(io.ComfyNode):
    """A drawn or tracked MASK → one over the fitted frames, grown and feathered."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMARegionMask",
            display_name="SAMA Region Mask",
            category=CATEGORY,
            description="Fits a mask (one frame or one per frame) to the frames in the same way as "
            "their clip, grows it and gives it a soft edge. An edit may change what is white.",
            search_aliases=[
                "inpaint video",
                "inpaint mask",
                "grow mask",
                "feather mask",
                "resize mask",
                "roi",
            ],
            inputs=[
                io.Mask.Input(
                    "mask", tooltip="White is what may change. One frame stands for the whole clip."
                ),
                io.Image.Input("frames", tooltip="The frames to fit to, from SAMA Source Video."),
                *_soft_inputs(0, 8),
                ClipInfoType.Input(
                    "clip_info",
                    optional=True,
                    tooltip="From the same SAMA Source Video, for a mask made on the original "
                    "video: it is cropped or letterboxed in the same way.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="One mask per frame, of the frames' size."
                )
            ],
        )

    @classmethod
    def execute(cls, mask, frames, grow, feather, clip_info=None) -> io.NodeOutput:
        return io.NodeOutput(
            require_region(fit_mask(mask, *frames.shape[:3], clip_info, grow, feather))
        )


class PasteBack(io.ComfyNode):
    """Source, edit and mask → the edit inside the mask, the source outside of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAPasteBack",
            display_name="SAMA Paste Back",
            category=CATEGORY,
            description="Puts the edit into the source where the mask is white. Where it is black "
            "the source's pixels come through bit for bit, free of the VAE's changes.",
            search_aliases=["composite", "stitch", "blend", "keep background"],
            inputs=[
                io.Image.Input("source", tooltip="The frames that were edited."),
                io.Image.Input("edited", tooltip="The edit, as many frames of the same size."),
                io.Mask.Input(
                    "mask", tooltip="White takes the edit, black keeps the source, grey blends."
                ),
            ],
            outputs=[io.Image.Output(display_name="frames", tooltip="The blended frames.")],
        )

    @classmethod
    def execute(cls, source, edited, mask) -> io.NodeOutput:
        source, edited = require_pair(source, edited)
        mask = fit_mask(mask, *source.shape[:3])
        if not mask.any():
            log.warning(_NOTHING_CHANGED)
        return io.NodeOutput(paste_back(source, edited, mask))


class ChangedMask(io.ComfyNode):
    """Source and edit → a MASK of what the edit changed."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAChangedMask",
            display_name="SAMA Changed Mask",
            category=CATEGORY,
            description="Finds what an edit changed, above the noise of the VAE. With SAMA Paste "
            "Back the rest of the source is kept without a drawn mask.",
            search_aliases=["difference mask", "auto mask", "motion mask", "compare"],
            inputs=[
                io.Image.Input("source", tooltip="The frames that were edited."),
                io.Image.Input("edited", tooltip="The edit, as many frames of the same size."),
                io.Float.Input(
                    "threshold",
                    default=DEFAULT_THRESHOLD,
                    min=0.0,
                    max=100.0,
                    step=0.5,
                    tooltip="How strong a change must be, as a multiple of the VAE's noise. "
                    f"Default {DEFAULT_THRESHOLD:g}. A lower value finds fainter changes, "
                    "and mistakes more noise for changes.",
                ),
                *_soft_inputs(4, 8),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask",
                    tooltip="One mask per frame, white where the edit changed something.",
                )
            ],
        )

    @classmethod
    def execute(cls, source, edited, threshold, grow, feather) -> io.NodeOutput:
        mask = changed_mask(source, edited, threshold, grow, feather)
        if not mask.any():
            log.warning(_NO_CHANGE)
        return io.NodeOutput(mask)
