"""Video out: the edit at the clip's own size, rate and length, with its sound."""

from comfy_api.latest import io

from ..sama_core.clip.sound import fitting_sound
from ..sama_core.comfyui.restored_video import RestoredVideo
from .inputs import ClipInfoType, remark_in

CATEGORY = "SAMA/video"


class FinishVideo(io.ComfyNode):
    """Edited frames + clip info + audio → VIDEO."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SAMAFinishVideo",
            display_name="SAMA Finish Video",
            category=CATEGORY,
            description="Gives the edit the source's frame count, size, time stamps and sound: "
            "padding removed, resized back, cropped borders taken from the source. Save it with "
            "Save Video.",
            search_aliases=["export video", "create video", "restore size", "images to video"],
            inputs=[
                io.Image.Input(
                    "frames", tooltip="Edited frames, as many as SAMA Source Video gave."
                ),
                ClipInfoType.Input("clip_info", tooltip="From the same SAMA Source Video."),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="The sound; do not connect it for a silent video. Directly from SAMA "
                    "Source Video it is copied without loss where mp4 supports its codec; "
                    "a number of channels that no file supports is mixed to stereo.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Video.Output(tooltip="To Save Video, which stores the workflow inside.")],
        )

    @classmethod
    def execute(cls, frames, clip_info, audio=None) -> io.NodeOutput:
        _, remark = fitting_sound(clip_info, audio)
        remark_in(cls.hidden.unique_id)([remark])
        return io.NodeOutput(RestoredVideo(frames, clip_info, audio))
