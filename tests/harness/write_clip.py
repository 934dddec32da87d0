"""Writing an mp4 for tests. Users' results are written by `sama_core.clip.save_restored`."""

import os
import uuid
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from sama_core.errors import ClipError, needed

# Visually lossless, and small.
QUALITY = {"crf": "14", "preset": "veryfast"}

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def write_clip(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: Fraction,
    audio: dict | None = None,
) -> None:
    """Write uint8 (H, W, 3) RGB `frames` as H.264 mp4, with ComfyUI AUDIO as AAC if given.

    Even sizes become yuv420p, which plays everywhere. Odd sizes become yuv444p, which some browsers
    refuse, because padding would change the size and a clip could no longer be given back exactly.
    `path` appears only when the file is complete; until then, and after any failure, an older file
    of that name stays as it was. Raises ClipError for wrong frames, wrong audio and a full disk.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.mp4")
    try:
        _encode(unfinished, _check_frames(frames), Fraction(fps), audio)
        os.replace(unfinished, path)
    except (av.error.FFmpegError, OSError) as error:
        raise ClipError(
            needed(
                f"video '{path.name}'",
                f"an error while writing ({error.strerror})",
                "a folder that can be written to, with free space",
                "Free some disk space or choose another folder.",
            )
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(path: Path, frames: Iterator[np.ndarray], fps: Fraction, audio: dict | None) -> None:
    first = next(frames)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("h264", rate=fps, options=QUALITY)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv444p" if video.width % 2 or video.height % 2 else "yuv420p"
        track = _audio_stream(container, audio) if audio is not None else None
        for number, frame in enumerate(chain([first], frames)):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if track is not None:
            container.mux(track.encode(_audio_frame(audio)))
            container.mux(track.encode(None))


def _check_frames(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same frames; raises ClipError unless there is one, and all are uint8 RGB of one size."""
    shape = None
    for frame in frames:
        shape = shape or frame.shape
        if (
            frame.dtype != np.uint8
            or frame.ndim != 3
            or frame.shape[-1] != 3
            or frame.shape != shape
        ):
            raise ClipError(
                needed(
                    "frame",
                    f"{frame.dtype} {frame.shape}",
                    "uint8 (height, width, 3), all of one size",
                    "Give every frame the size of the first.",
                )
            )
        yield frame
    if shape is None:
        raise ClipError(needed("video", "0 frames", "at least 1 frame", "Give it a frame."))


def _audio_stream(container: av.container.OutputContainer, audio: dict) -> av.AudioStream:
    waveform = audio["waveform"]
    if waveform.dim() != 3 or waveform.shape[0] != 1 or waveform.shape[1] not in LAYOUTS:
        raise ClipError(
            needed(
                "audio",
                f"shape {tuple(waveform.shape)}",
                "(1, channels, samples) with 1, 2 or 6 channels",
                "Convert it to stereo.",
            )
        )
    return container.add_stream("aac", rate=audio["sample_rate"], layout=LAYOUTS[waveform.shape[1]])


def _audio_frame(audio: dict) -> av.AudioFrame:
    waveform = audio["waveform"][0].float().cpu().contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(waveform, format="fltp", layout=LAYOUTS[len(waveform)])
    frame.sample_rate, frame.pts = audio["sample_rate"], 0
    return frame
