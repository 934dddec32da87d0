"""A VIDEO of ComfyUI as the file it shows, with everything that nodes have done to it since.

where all methods are ComfyUI's own:
  VideoFromFile with nothing pending, and its size, rate and length are the file's
                                        ──▶ the file, and the trim window
  VideoFromFile with a crop or resize   ──▶ written without loss to a file of its own
  VideoFromList (Concatenate Video)     ──▶ its packets joined, or written without loss where the
                                            parts were changed
anything else, and where this fails     ──▶ None: `get_components` gives all frames at once
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
from .made_video import MadeVideo

log = logging.getLogger(__name__)

Window = tuple[float, float]
"""Seconds of a trim: start, and length or 0 for all of the rest."""
WHOLE: Window = (0.0, 0.0)
"""The window of a video that is not trimmed."""
SLACK_SECONDS = 0.05
"""Rounding between a container's duration and ComfyUI's."""


def file_shown(video: Input.Video) -> tuple[FileSource, Window] | None:
    """The file whose frames are the video's, and the window that is shown of it; else None."""
    if isinstance(video, MadeVideo):
        video = video.file()
    if _is_cores(video, InputImpl.VideoFromFile):
        source = FileSource(video.get_stream_source())
        window = video.get_active_trim_window()
        return (source, window) if _is_whole_file(video, source, window) else _without_loss(video)
    joined = getattr(InputImpl, "VideoFromList", None)
    if joined is not None and _is_cores(video, joined):
        return _join(video)
    return None


def _is_cores(video: Input.Video, kind: type) -> bool:
    """Whether it is a `kind` with all of ComfyUI's own methods.

    A subclass of another pack may show something else.
    """
    own = {
        name: value for name, value in vars(kind).items() if callable(value) and name != "__init__"
    }
    return (
        isinstance(video, kind)
        and not own.keys() & vars(video).keys()
        and all(inspect.getattr_static(type(video), name) is value for name, value in own.items())
    )


def _is_edited(video: Input.Video) -> bool:
    """Whether frames are cropped or resized as they are read, which older ComfyUIs cannot do."""
    return bool(getattr(video, "has_pending_frame_edits", lambda: False)())


def _is_whole_file(video: Input.Video, source: FileSource, window: Window) -> bool:
    """Whether no edit is pending, and size, rate and length are the file's.

    Size is compared as stored, which is what ComfyUI states of rotated clips that are not cropped.
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
        return True  # no usable video: reading it raises the error


def _join(video: Input.Video) -> tuple[FileSource, Window] | None:
    """Clips in sequence. Unchanged ones of one kind are joined packet by packet, without loss."""
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
    """What two clips must share to be joined packet by packet; None if edited or trimmed."""
    if _is_edited(part) or part.get_active_trim_window() != WHOLE:
        return None
    stream = part.get_stream_source()
    with open_video(stream, display_name(stream)) as container:
        context = container.streams.video[0].codec_context
        if part.get_dimensions() != (context.width, context.height):
            return None
        return context.name, context.extradata, context.width, context.height, context.pix_fmt


def _without_loss(video: Input.Video) -> tuple[FileSource, Window] | None:
    """`video` written by ComfyUI to a file that is removed with its source object.

    None where that would change what it shows: ComfyUI makes sides even for its encoders, and older
    versions cannot write losslessly.
    """
    folder = tempfile.mkdtemp(dir=_temp(), prefix="sama_")
    path, kept = os.path.join(folder, "edited.mp4"), False
    try:
        video.save_to(path, format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264, crf=0)
        source = FileSource(path)
        facts = source.facts()
        if (facts.width, facts.height) == tuple(_shown_size(video)):
            weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
            kept = True
            return source, WHOLE
        log.info("SAMA: ComfyUI wrote %dx%d of a video of another size", facts.width, facts.height)
    except (SamaError, ValueError, OSError, TypeError) as failed:
        log.info("SAMA: ComfyUI did not write the edited video: %s", failed)
    finally:  # also when the user interrupts
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    return None


def _shown_size(video: Input.Video) -> tuple[int, int]:
    """The size as shown, where this ComfyUI distinguishes it from the stored one."""
    return getattr(video, "get_display_dimensions", video.get_dimensions)()


def _temp() -> str:
    folder = folder_paths.get_temp_directory()
    os.makedirs(folder, exist_ok=True)
    return folder
