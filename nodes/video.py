"""Video in: a range of a clip, fitted to the model."""

import comfy.utils
from comfy_api.latest import io

from ..sama_core.clip import ClipRange, Fit, Seconds, check_one_start
from ..sama_core.comfyui.model import area_of_model, lattice_of_model
from ..sama_core.comfyui.saving import check_saving
from ..sama_core.comfyui.video import read_source
from ..sama_core.errors import ClipError
from .inputs import ClipInfoType, area_input, fit_input, range_inputs, remark_in

CATEGORY = "SAMA/video"


def _newer_inputs() -> list[io.Input]:
    """Optional and last, so that graphs saved by earlier versions load and run as before."""
    return [
        fit_input(),
        _seconds("start_seconds", "Begin at this time instead of a frame number."),
        _seconds("duration_seconds", "Length of the part, instead of a number of frames."),
        _seconds(
            "every_seconds",
            "Take one frame per this many seconds instead of every n-th frame, rounded to whole "
            "frames.",
        ),
    ]


def _seconds(name: str, effect: str) -> io.Float.Input:
    """An input in seconds that is off at 0."""
    return io.Float.Input(
        name,
        default=0.0,
        min=0.0,
        max=100_000.0,
        step=0.001,
        advanced=True,
        optional=True,
        tooltip=f"{effect} In seconds, to the nearest frame. Default 0: off.",
    )


class SourceVideo(io.ComfyNode):
    """VIDEO or IMAGE batch → frames that the model takes, and what restores the original."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMASourceVideo",
            display_name="SAMA Source Video",
            category=CATEGORY,
            description="Takes a range of a clip, in frames or seconds, fits it to the nearest of "
            "SAMA's sizes, and pads it to 4k+1 frames. Only the selected frames are decoded.",
            search_aliases=["load clip", "resize video", "source frames", "video to images"],
            inputs=[
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="The clip, from Load Video. Its default sound track is used too.",
                ),
                io.Image.Input("images", optional=True, tooltip="Frames instead of a video."),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The SAMA model; its working area is used where area is 0.",
                ),
                *range_inputs(81, "Default 81, as SAMA was released; 0 takes all."),
                area_input(),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Frames per second of an IMAGE batch; a video has its own. Default 24.",
                ),
                *_newer_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The fitted frames, 4k+1 of them."),
                ClipInfoType.Output(
                    display_name="clip_info",
                    tooltip="What SAMA Finish Video needs to give size, rate and count back.",
                ),
                io.Audio.Output(
                    display_name="audio",
                    tooltip="The sound of the range; nothing for silent clips.",
                ),
                io.Float.Output(
                    display_name="source_fps", tooltip="Frames per second of the range."
                ),
                io.Int.Output(
                    display_name="frame_count", tooltip="Frames in the range, without padding."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, start=0, start_seconds=0.0) -> bool | str:
        """Linked inputs arrive as None, and are checked when they are known."""
        try:
            check_one_start(ClipRange(start or 0), Seconds(start_seconds or 0))
        except ClipError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        frames,
        start,
        stride,
        area,
        fps,
        video=None,
        images=None,
        model=None,
        fit=str(Fit.CROP),
        start_seconds=0.0,
        duration_seconds=0.0,
        every_seconds=0.0,
    ) -> io.NodeOutput:
        area = area or area_of_model(model)
        bar = comfy.utils.ProgressBar(1)
        images, info = read_source(
            video,
            images,
            fps,
            ClipRange(start, frames, stride),
            area,
            lambda done, total: bar.update_absolute(done, max(done, total)),
            fit,
            Seconds(start_seconds, duration_seconds, every_seconds),
            remark_in(cls.hidden.unique_id),
            lattice_of_model(model),
        )
        check_saving(cls.hidden.prompt, cls.hidden.unique_id, info)
        return io.NodeOutput(images, info, info.audio, float(info.fps), info.frame_count)
