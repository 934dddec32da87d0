"""A VIDEO that is restored while it is saved: as long as the source, never held whole."""

import io
import json
import logging
import os
from fractions import Fraction

import comfy.model_management
import comfy.utils
from comfy_api.latest import Input, Types
from torch import Tensor

from ..clip import ClipInfo, check_frames, cut_audio, restore_frames, save_restored
from ..clip.save import Encoding
from ..errors import ClipError, needed

log = logging.getLogger(__name__)

# Seconds that come as floats are not to the tick.
SLACK = Fraction(1, 1000)


class RestoredVideo(Input.Video):
    """Edited frames at the source's size, count, times and sound, for every node that takes a VIDEO.

    It holds the fitted frames and the way back. Saving restores and encodes frame by frame; `get_components`
    alone needs all of them at once, 25 MB for each frame of 1080p.
    """

    def __init__(self, frames: Tensor, info: ClipInfo, audio: dict | None = None):
        """`frames` as SAMA Source Video gave them, edited. Raises ClipError if they are not that clip's."""
        check_frames(frames, info)
        self.frames, self.info, self.audio = frames, info, audio
        self._encoded: bytes | None = None

    def get_components(self) -> Types.VideoComponents:
        """All restored frames, float32 (frame_count, height, width, 3), with rate and sound."""
        images = restore_frames(self.frames, self.info, _progress())
        return Types.VideoComponents(images=images, audio=self.audio, frame_rate=self.info.fps)

    def save_to(self, path: str | os.PathLike | io.BytesIO, format: Types.VideoContainer = Types.VideoContainer.AUTO,
                codec: Types.VideoCodec = Types.VideoCodec.AUTO, metadata: dict | None = None,
                bit_depth: int | None = None, crf: float | None = None) -> None:
        """Write mp4 with H.264, see `save_restored`; `metadata` goes in as ComfyUI's own videos carry it.

        `bit_depth` and `crf` of None are the source's depth and a quality that looks like what went in.
        Raises ClipError for another format or codec, and with the cause if the file cannot be written.
        """
        _require("video format", format, Types.VideoContainer.MP4)
        _require("video codec", codec, Types.VideoCodec.H264)
        tags = {name: value if isinstance(value, str) else json.dumps(value)
                for name, value in (metadata or {}).items()}
        if self.info.width % 2 or self.info.height % 2:
            log.warning("SAMA: %dx%d does not fit H.264 4:2:0, which has even sides only; saved as 4:4:4, which some "
                        "televisions and phones do not play.", self.info.width, self.info.height)
        quality = {} if crf is None else {"crf": crf}
        save_restored(path, self.frames, self.info, self.audio, Encoding(bit_depth=bit_depth, metadata=tags, **quality),
                      _progress())

    def as_trimmed(self, start_time: float | None = None, duration: float | None = None,
                   strict_duration: bool = False) -> "RestoredVideo | None":
        """The part from `start_time` on, both in seconds; below 0 counts from the end, a duration of 0 is all.

        None if there is nothing to show then, or with `strict_duration` less than `duration`.
        """
        starts, whole = self.info.timing.starts, self.info.duration_seconds
        begin = Fraction(start_time or 0)
        begin = max(begin + whole, Fraction(0)) if begin < 0 else begin
        end = begin + Fraction(duration) if duration else whole
        kept = [number for number, time in enumerate(starts) if begin <= time < end]
        if not kept or (strict_duration and end > whole + SLACK):
            return None
        info = self.info.part(kept[0], len(kept))
        audio = cut_audio(self.audio, starts[kept[0]], info.duration_seconds)
        return RestoredVideo(self.frames[kept[0]:kept[-1] + 1], info, audio)

    def get_stream_source(self) -> io.BytesIO:
        """The encoded video in memory; it is encoded once."""
        if self._encoded is None:
            buffer = io.BytesIO()
            self.save_to(buffer)
            self._encoded = buffer.getvalue()
        return io.BytesIO(self._encoded)

    def get_dimensions(self) -> tuple[int, int]:
        """`(width, height)` in pixels."""
        return self.info.width, self.info.height

    def get_bit_depth(self) -> int:
        """8, or 10 for sources of more than 8 bits."""
        return 10 if self.info.facts.bit_depth > 8 else 8

    def get_duration(self) -> float:
        """Seconds."""
        return float(self.info.duration_seconds)

    def get_frame_count(self) -> int:
        """Frames, without padding."""
        return self.info.frame_count

    def get_frame_rate(self) -> Fraction:
        """Frames per second, on average."""
        return self.info.fps

    def get_container_format(self) -> str:
        """What it is saved as."""
        return Types.VideoContainer.MP4.value


def _require(what: str, got: str, only: str) -> None:
    if got not in ("auto", only.value):
        raise ClipError(needed(what, getattr(got, "value", got), f"auto or {only.value}",
                               "Set it to auto in Save Video."))


def _progress():
    """Shows the progress of the node that runs, and stops when the user interrupts."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)
    return report
