"""A VIDEO of ComfyUI as the file it shows. What nodes have done to it since must not be lost.

whose methods are ComfyUI's own?
  VideoFromFile, nothing pending, and what it says of itself is what the file says ──▶ the file, and the trim window
  VideoFromFile with a crop or resize pending ──▶ written without loss to a file of its own
  VideoFromList (Concatenate Video) ──▶ its packets joined; written without loss where the parts were changed
anything else, and what none of this works for ──▶ None: its components tell, all frames at once
"""

import inspect
import logging
import os
import shutil
import tempfile
import weakref
from fractions import Fraction

import av
import folder_paths
from comfy_api.latest import Input, InputImpl, Types

from ..clip import FileSource
from ..clip.decode import display_name, open_video
from ..errors import SamaError

log = logging.getLogger(__name__)

Window = tuple[float, float]
WHOLE: Window = (0.0, 0.0)
# A container's duration and ComfyUI's are the same number, but for its rounding.
SLACK_SECONDS = 0.05


def file_shown(video: Input.Video) -> tuple[FileSource, Window] | None:
    """The file whose frames are the video's, and the seconds (start, length or 0) that are shown of it; else None."""
    if _is_cores(video, InputImpl.VideoFromFile):
        source = FileSource(video.get_stream_source())
        window = video.get_active_trim_window()
        return (source, window) if _shows(video, source, window) else _without_loss(video)
    joined = getattr(InputImpl, "VideoFromList", None)
    if joined is not None and _is_cores(video, joined):
        return _joined(video)
    return None


def _is_cores(video: Input.Video, kind: type) -> bool:
    """Whether it is a `kind` with all of ComfyUI's own methods; a pack's subclass may show something else."""
    own = {
        name: value for name, value in vars(kind).items() if callable(value) and name != "__init__"
    }
    return (
        isinstance(video, kind)
        and not own.keys() & vars(video).keys()
        and all(inspect.getattr_static(type(video), name) is value for name, value in own.items())
    )


def _is_edited(video: Input.Video) -> bool:
    """Whether frames are cropped or resized as they are read; older ComfyUIs cannot, and have no such question."""
    return bool(getattr(video, "has_pending_frame_edits", lambda: False)())


def _shows(video: Input.Video, source: FileSource, window: Window) -> bool:
    """Whether the video is the file and nothing else: no edit pending, and size, rate and length are the file's.

    Size is compared as stored: so ComfyUI states it of turned clips, unless they are cropped.
    """
    if _is_edited(video):
        return False
    try:
        with open_video(source.stream, source.name) as container:
            stream = container.streams.video[0]
            size, rate, length = (
                (stream.width, stream.height),
                stream.average_rate,
                container.duration,
            )
        if video.get_dimensions() != size or (rate and Fraction(video.get_frame_rate()) != rate):
            return False
        if length is None:
            return True
        left = length / av.time_base - window[0]
        return (
            abs(video.get_duration() - (min(left, window[1]) if window[1] else left))
            < SLACK_SECONDS
        )
    except (SamaError, IndexError, ValueError, OSError):
        return True  # no usable video: reading it says so


def _joined(video: Input.Video) -> tuple[FileSource, Window] | None:
    """Clips one after the other. Unchanged ones of one kind are joined packet by packet, which loses nothing."""
    kinds = {_kind(part) for part in getattr(video, "videos", ())}
    if len(kinds) == 1 and None not in kinds and not _is_edited(video):
        try:
            source = FileSource(video.get_stream_source())
            source.facts()
            return source, WHOLE
        except (SamaError, ValueError, OSError) as failed:
            log.info("SAMA: the joined video cannot be read from its packets: %s", failed)
    return _without_loss(video)


def _kind(part: Input.Video) -> tuple | None:
    """What two clips must share to be joined packet by packet; None for one that is edited or trimmed."""
    if _is_edited(part) or part.get_active_trim_window() != WHOLE:
        return None
    stream = part.get_stream_source()
    with open_video(stream, display_name(stream)) as container:
        context = container.streams.video[0].codec_context
        if part.get_dimensions() != (context.width, context.height):
            return None
        return context.name, context.extradata, context.width, context.height, context.pix_fmt


def _without_loss(video: Input.Video) -> tuple[FileSource, Window] | None:
    """`video` written by ComfyUI to a file that goes when its reader does. None where that changes what it shows.

    ComfyUI makes sides even for its encoders, and has not always offered all of this.
    """
    folder = tempfile.mkdtemp(dir=_temp(), prefix="sama_")
    path = os.path.join(folder, "edited.mp4")
    try:
        video.save_to(path, format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264, crf=0)
        source = FileSource(path)
        facts = source.facts()
        if (facts.width, facts.height) == tuple(_shown_size(video)):
            weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
            return source, WHOLE
        log.info("SAMA: ComfyUI wrote %dx%d of a video of another size", facts.width, facts.height)
    except (SamaError, ValueError, OSError, TypeError) as failed:
        log.info("SAMA: ComfyUI did not write the edited video: %s", failed)
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _shown_size(video: Input.Video) -> tuple[int, int]:
    """As shown, where ComfyUI tells that apart from the size as stored."""
    return getattr(video, "get_display_dimensions", video.get_dimensions)()


def _temp() -> str:
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    return folder
