"""Video in: a range of a clip, fitted to the model."""

import comfy.utils
from comfy_api.latest import io

from ..sama_core.clip import ClipRange
from ..sama_core.comfyui.video import read_source
from ..sama_core.geometry import DEFAULT_AREA

CATEGORY = "SAMA/video"
ClipInfoType = io.Custom("SAMA_CLIP_INFO")


class SourceVideo(io.ComfyNode):
    """VIDEO or IMAGE batch → frames as the model wants them, and what it takes to give the original back."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMASourceVideo", display_name="SAMA Source Video", category=CATEGORY,
            description="Takes a range of a clip, crops and resizes it to the nearest of SAMA's sizes, and pads it to "
                        "4k+1 frames. Only the frames asked for are decoded.",
            search_aliases=["load clip", "resize video", "source frames", "video to images"],
            inputs=[
                io.Video.Input("video", optional=True, tooltip="The clip, from Load Video. Its sound comes along."),
                io.Image.Input("images", optional=True, tooltip="Frames instead of a video."),
                io.Model.Input("model", optional=True,
                               tooltip="The SAMA model; its working area is used where area is 0."),
                io.Int.Input("frames", default=81, min=0, max=100_000,
                             tooltip="How many frames to edit, after the stride. Default 81, as SAMA was released; 0 "
                                     "takes all."),
                io.Int.Input("start", default=0, min=0, max=10_000_000,
                             tooltip="First frame, counted from 0. Default 0."),
                io.Int.Input("stride", default=1, min=1, max=1000,
                             tooltip="Take every n-th frame; the result plays at fps / n. Default 1."),
                io.Int.Input("area", default=0, min=0, max=4096 * 4096, advanced=True,
                             tooltip="Working area in pixels (width x height). 0 takes what the connected model was "
                                     f"made for, or 832x480 = {DEFAULT_AREA}. Fewer pixels mean less work and less "
                                     "detail."),
                io.Float.Input("fps", default=24.0, min=0.01, max=1000.0, step=0.01, advanced=True,
                               tooltip="Frames per second of an IMAGE batch; a video brings its own. Default 24."),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The fitted frames, 4k+1 of them."),
                ClipInfoType.Output(display_name="clip_info",
                                    tooltip="What SAMA Finish Video needs to give size, rate and count back."),
                io.Audio.Output(display_name="audio", tooltip="The sound of the range; nothing for silent clips."),
                io.Float.Output(display_name="source_fps", tooltip="Frames per second of the range."),
                io.Int.Output(display_name="frame_count", tooltip="Frames in the range, without padding."),
            ],
        )

    @classmethod
    def execute(cls, frames, start, stride, area, fps, video=None, images=None, model=None) -> io.NodeOutput:
        area = area or getattr(getattr(model, "model", None), "area", DEFAULT_AREA)
        bar = comfy.utils.ProgressBar(1)
        clip = read_source(video, images, fps, ClipRange(start, frames, stride), area,
                           lambda done, total: bar.update_absolute(done, max(done, total)))
        return io.NodeOutput(clip.images, clip.info, clip.audio, float(clip.info.fps), clip.info.frame_count)
